"""What is refused when a crawl starts: proxies that its settings, or its download handlers, cannot use.

What a handler can do is known elsewhere (``handlers.py``). What cannot be known at the start shows in
the first request (``proxy_watch.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core import ConfigurationError
from ..handlers.profiles import DEFAULT, PAGES, Handler, handler_of, is_set

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings

    from ...core import Proxy
    from .settings import Settings


def refuse_unworkable(scrapy_settings: BaseSettings, settings: Settings) -> None:
    """Refuse what this crawl cannot use.

    :raises ConfigurationError: for the first proxy of which that is so.
    """
    encoding = scrapy_settings.get("HTTPPROXY_AUTH_ENCODING")
    with_credentials = [proxy for proxy in settings.proxies if proxy.username is not None]
    if with_credentials and not scrapy_settings.getbool("HTTPPROXY_ENABLED"):
        raise ConfigurationError(
            f"HTTPPROXY_ENABLED = False: proxy {with_credentials[0].name} has credentials, and "
            "HttpProxyMiddleware is what sends them; enable it"
        )
    for proxy in with_credentials:
        _refuse_unencodable(proxy, encoding)
    for page in PAGES:
        handler = handler_of(scrapy_settings, page)
        if handler is not None and is_set(scrapy_settings, page):
            for proxy in settings.proxies:
                _refuse_scheme(proxy, page, handler)
                _refuse_credentials(proxy, page, handler, encoding)


def _refuse_unencodable(proxy: Proxy, encoding: str) -> None:
    try:
        _credentials(proxy).encode(encoding)
    except UnicodeError:
        raise ConfigurationError(
            f"proxy {proxy.name}: its username or password has a character that "
            f"HTTPPROXY_AUTH_ENCODING = {encoding!r} does not have; set it to 'utf-8', or to what your "
            "provider says"
        ) from None


def _refuse_scheme(proxy: Proxy, page: str, handler: Handler) -> None:
    usable = handler.proxies[page]
    if proxy.scheme in usable:
        return
    if not usable:
        raise ConfigurationError(
            f"proxy {proxy.name} cannot be used for {page} pages: {handler.name}, which "
            f"DOWNLOAD_HANDLERS[{page!r}] names, knows no proxies; take it out, or set "
            "PROXYBALANCE_ENABLED = False"
        )
    raise ConfigurationError(
        f"proxy {proxy.name} speaks {proxy.scheme}, which {handler.name} cannot use for {page} pages "
        f"(it can use {', '.join(sorted(usable))}); set DOWNLOAD_HANDLERS[{page!r}] to a handler that "
        "can, such as the HttpxDownloadHandler of newer Scrapy versions, or to None if the crawl has "
        "no such pages"
    )


def _refuse_credentials(proxy: Proxy, page: str, handler: Handler, encoding: str) -> None:
    credentials = _credentials(proxy)
    breaks_on = handler.breaks_on
    if proxy.scheme.startswith("socks"):
        breaks_on += handler.breaks_on_with_socks
    parts = (proxy.username or "", proxy.password or "")
    for character in breaks_on:
        if any(character in part for part in parts):
            raise ConfigurationError(
                f"proxy {proxy.name}: {handler.name}, which DOWNLOAD_HANDLERS[{page!r}] names, cannot "
                f"send a username or password with {character!r} in it; ask your provider for other "
                f"credentials, or use {DEFAULT.name}"
            )
    sends_in = handler.sends_in
    if sends_in is None or credentials.isascii():
        return
    if _encoded(credentials, sends_in) != _encoded(credentials, encoding):
        raise ConfigurationError(
            f"proxy {proxy.name}: {handler.name}, which DOWNLOAD_HANDLERS[{page!r}] names, sends a "
            f"username and password in {sends_in!r} whatever HTTPPROXY_AUTH_ENCODING = {encoding!r} "
            f"says; if your provider takes {sends_in!r}, set that, or else use {DEFAULT.name}"
        )


def _credentials(proxy: Proxy) -> str:
    return "" if proxy.username is None else f"{proxy.username}:{proxy.password or ''}"


def _encoded(text: str, encoding: str) -> bytes | None:
    try:
        return text.encode(encoding)
    except UnicodeError:
        return None
