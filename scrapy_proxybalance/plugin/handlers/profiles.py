"""What is known of download handlers: which proxies each can use, and which connections it keeps open.

All of it was found by running them: ``docs/reference/handlers.md`` has the versions. A class that
overrides anything of a known one is a handler of its own, of which nothing is known: neither that it
cannot speak SOCKS, nor that it uses the proxy at all.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import attrs
from scrapy.utils.misc import load_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy import Request
    from scrapy.settings import BaseSettings

#: The schemes of pages that go over HTTP.
PAGES = ("http", "https")

_HTTP = frozenset(("http",))
_BOTH = frozenset(("http", "https"))
_SOCKS = frozenset(("socks4", "socks5", "socks5h"))


@attrs.frozen(kw_only=True)
class Handler:
    """What one class of handlers does.

    :param name: what it is called in messages.
    :param proxies: by the scheme of a page, the schemes of the proxies that it can use for that.
    :param takes: which requests it sends itself; all others it leaves to Scrapy's default handler.
        ``None`` for all.
    :param heeds_proxy: whether requests that it sends itself go through ``meta["proxy"]``.
    :param breaks_on: characters of a username or password that make every request fail.
    :param breaks_on_with_socks: the same for SOCKS proxies.
    :param sends_in: the only encoding in which it sends a username and password; ``None`` for any.
    :param idle_seconds: for how long a connection that it keeps is assumed open; 0 if it keeps none.
    :param limit: the setting that says how many it keeps.
    """

    name: str
    proxies: dict[str, frozenset[str]]
    takes: Callable[[Request], bool] | None = None
    heeds_proxy: bool = True
    breaks_on: str = ""
    breaks_on_with_socks: str = ""
    sends_in: str | None = None
    idle_seconds: float = 0.0
    limit: str = ""


def _with_httpx() -> frozenset[str]:
    return _BOTH | {"socks5", "socks5h"} if find_spec("socksio") is not None else _BOTH


def _no_proxies(name: str) -> Handler:
    return Handler(name=name, proxies={"http": frozenset(), "https": frozenset()})


# The default handler keeps a connection for 240 s (twisted.web.client.HTTPConnectionPool), but servers
# close theirs after 5 to 120 s of idleness. The others keep theirs for 15 and 5 s.
DEFAULT = Handler(
    name="Scrapy's default download handler",
    proxies={"http": _BOTH, "https": _HTTP},
    idle_seconds=60.0,
    limit="CONCURRENT_REQUESTS_PER_DOMAIN",
)
_AIOHTTP = Handler(
    name="AiohttpDownloadHandler",
    proxies={"http": _BOTH, "https": _BOTH},
    breaks_on="/",
    sends_in="latin-1",
    idle_seconds=12.0,
    limit="CONCURRENT_REQUESTS_PER_DOMAIN",
)
_HTTPX = Handler(
    name="HttpxDownloadHandler",
    proxies={"http": _with_httpx(), "https": _with_httpx()},
    breaks_on="/",
    sends_in="utf-8",
    idle_seconds=4.0,
    limit="CONCURRENT_REQUESTS",
)
_SCRAPY = "scrapy.core.downloader.handlers."
_INCUBATOR = "scrapy_download_handlers_incubator.handlers."
_KNOWN = {
    f"{_SCRAPY}http11.HTTP11DownloadHandler": DEFAULT,
    f"{_SCRAPY}http2.H2DownloadHandler": _no_proxies("H2DownloadHandler"),
    f"{_SCRAPY}_aiohttp.AiohttpDownloadHandler": _AIOHTTP,
    f"{_SCRAPY}_httpx.HttpxDownloadHandler": _HTTPX,
    f"{_INCUBATOR}aiohttp.AiohttpDownloadHandler": _AIOHTTP,
    f"{_INCUBATOR}httpx.HttpxDownloadHandler": _HTTPX,
    f"{_INCUBATOR}curl_cffi.CurlCffiDownloadHandler": Handler(
        name="CurlCffiDownloadHandler",
        proxies={"http": _BOTH | _SOCKS, "https": _BOTH | _SOCKS},
        breaks_on="/",
        sends_in="utf-8",
    ),
    "scrapy_impersonate.handler.ImpersonateDownloadHandler": Handler(
        name="ImpersonateDownloadHandler",
        proxies={"http": _BOTH | _SOCKS, "https": _BOTH | _SOCKS},
        takes=lambda request: bool(request.meta.get("impersonate")),
        breaks_on_with_socks=":",
    ),
    "scrapy_playwright.handler.ScrapyPlaywrightDownloadHandler": Handler(
        name="ScrapyPlaywrightDownloadHandler",
        proxies=DEFAULT.proxies,
        takes=lambda request: bool(request.meta.get("playwright")),
        heeds_proxy=False,
    ),
}
# Ours behaves as the one that it is derived from.
_OUR_PACKAGE = f"{__name__.partition('.')[0]}."


def is_set(settings: BaseSettings, scheme: str) -> bool:
    """Return whether there is a handler for a scheme of pages."""
    return settings.getwithbase("DOWNLOAD_HANDLERS").get(scheme) is not None


def handler_of(settings: BaseSettings, scheme: str) -> Handler | None:
    """Return what is known of the handler that requests of a scheme get; ``None`` if nothing is.

    :param settings: Scrapy's, of the crawl.
    :param scheme: of a page: one of :data:`PAGES`.
    """
    path = settings.getwithbase("DOWNLOAD_HANDLERS").get(scheme)
    if path is None:
        return None
    try:
        handler = load_object(path)
    except (ImportError, NameError, TypeError, ValueError):
        return None  # Scrapy says so itself, and better
    if getattr(handler, "supports_proxies", True) is False:
        return _no_proxies(handler.__name__)
    for kind in getattr(handler, "__mro__", ()):
        known = _KNOWN.get(f"{kind.__module__}.{kind.__qualname__}")
        if known is not None:
            return known
        if _overrides(kind) and not kind.__module__.startswith(_OUR_PACKAGE):
            return None
    return None


def _overrides(kind: type) -> bool:
    return any(
        callable(value) or isinstance(value, classmethod | staticmethod | property)
        for value in vars(kind).values()
    )
