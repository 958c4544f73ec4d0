"""Watches that requests really go through the proxies that they were leased.

A download handler may know no proxies, may ignore ``meta["proxy"]`` or lose it; another middleware may
write over it. Then a request goes out directly, or elsewhere, and the crawl would be none the wiser.
What the start can know is refused there (``proxy_checks.py``). Here it is noticed, and the crawl is
closed: of a handler that nothing is known of, a single request goes first.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any
from weakref import ref

from scrapy.utils.httpobj import urlparse_cached

from ...core import NoProxyAvailableError, Outcome
from ...core.verdict import UNSUPPORTED, Verdict
from .. import request_meta
from ..handlers.profiles import DEFAULT, PAGES, Handler, handler_of, is_set

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.http import Response
    from scrapy.settings import BaseSettings

    from ...core import Attempt, Proxy
    from ..context import CrawlContext

logger = logging.getLogger("scrapy_proxybalance")

#: Why a spider was closed.
REASON_BYPASSED = "proxybalance_bypassed"
REASON_UNSUPPORTED = "proxybalance_proxy_not_supported"

#: The failures of an attempt that went out directly, or through another proxy.
BYPASSED = "bypassed"
OVERWRITTEN = "overwritten"

# For so many seconds the others wait for the first answer through a handler that is not known.
_PATIENCE = 10.0
# After so many requests with a proxy that was set elsewhere, and none of ours, the log says so.
_WORTH_A_WORD = 50
# The most pairs of a proxy's name and an address that are looked up.
_LOOKUPS = 1000

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class UnprovenError(NoProxyAvailableError):
    """The first answer through a handler is awaited; nothing else goes through it before."""


class ProxyWatch:
    """Watches the requests of one crawl.

    :param context: closes the crawl.
    :param settings: Scrapy's, which name the handlers.
    :param proxies: those of the pool at the start.
    """

    def __init__(
        self, context: CrawlContext, settings: BaseSettings, proxies: tuple[Proxy, ...]
    ) -> None:
        self._context = context
        handlers = {page: handler_of(settings, page) for page in PAGES}
        self._partial = {
            page: handler for page, handler in handlers.items() if handler and handler.takes
        }
        self._beyond_default = {
            page: [proxy for proxy in proxies if proxy.scheme not in DEFAULT.proxies[page]]
            for page in PAGES
        }
        #: The schemes of pages whose handler has yet to show that it uses proxies.
        self.unproven = {
            page for page, handler in handlers.items() if handler is None and is_set(settings, page)
        }
        self._first: dict[str, tuple[ref[Request], float]] = {}
        self._peers: dict[tuple[str, str], _Peer] = {}
        self._looked_up: list[tuple[_Peer, Request, Attempt]] = []
        self.stopped = False
        self._warned = False
        self._leases = 0
        self._others = 0

    # On the way out

    def check(self, request: Request) -> None:
        """Raise if a request must not be sent through the pool now.

        :raises UnprovenError: while the first request through its handler is under way.
        :raises NoProxyAvailableError: if its handler cannot use the pool; the crawl is closed for it.
        """
        page = urlparse_cached(request).scheme
        if self._looked_up:
            self._settle()
        if not self.stopped and page in self._partial:
            self._check_taker(request, page, self._partial[page])
        if not self.stopped and page in self.unproven:
            self._check_first(page)
        if self.stopped:
            raise NoProxyAvailableError("nothing is sent past the proxies", None)

    def _check_taker(self, request: Request, page: str, handler: Handler) -> None:
        if handler.takes is None or handler.takes(request):
            if not handler.heeds_proxy:
                self._stop(
                    REASON_UNSUPPORTED,
                    "%s sends %s itself and ignores meta['proxy']: it would go out directly. "
                    "Set meta['proxy'] = None on such requests if that is what you want, and give the "
                    "browser's contexts proxies of their own otherwise",
                    handler.name,
                    request,
                )
        elif self._beyond_default[page]:
            proxy = self._beyond_default[page][0]
            self._stop(
                REASON_UNSUPPORTED,
                "%s leaves %s to Scrapy's default handler, which cannot use proxy %s (%s)",
                handler.name,
                request,
                proxy.name,
                proxy.scheme,
            )

    def _check_first(self, page: str) -> None:
        if page not in self._first:
            return
        first, started_at = self._first[page]
        request = first()
        under_way = request is not None and self._context.attempt_of(request) is not None
        awaited = under_way or self._looked_up
        if awaited and self._context.clock() - started_at < _PATIENCE:
            raise UnprovenError(f"the first answer through the handler of {page} is awaited", None)

    def departs(self, request: Request) -> None:
        """Take note that a request goes out with an attempt."""
        self._leases += 1
        page = urlparse_cached(request).scheme
        if page in self.unproven:
            self._first[page] = ref(request), self._context.clock()

    def departs_with_users(self, request: Request) -> None:
        """Take note that a request goes out directly, or through a proxy that was set elsewhere."""
        if self._leases or request_meta.is_direct(request):
            return
        self._others += 1
        if self._others == _WORTH_A_WORD:
            logger.warning(
                "%d requests went out, and none through the pool: meta['proxy'] was set before. If that "
                "is a middleware's doing, take it out of DOWNLOADER_MIDDLEWARES; a spider that wants "
                "the pool's proxies sets no meta['proxy'].",
                self._others,
                extra={"spider": self._context.crawler.spider},
            )

    # On the way back

    def verdict(self, request: Request, response: Response, attempt: Attempt) -> Verdict | None:
        """Return the verdict on a response that did not come through its attempt's proxy.

        ``None`` if it did, for all that can be known.
        """
        if "cached" in response.flags:
            return None
        if self._looked_up:
            self._settle()
        is_peer = self._is_peer(request, response.ip_address, attempt)
        if not request.meta.get(request_meta.PROXY) and not is_peer:
            self._bypassed(request, attempt, "meta['proxy'] is gone")
        elif is_peer is False:
            self._bypassed(request, attempt, f"the answer came from {response.ip_address}")
        elif request_meta.proxy_is_users(request):
            return self._overwritten(request)
        else:
            self._prove(request)
            return None
        return Verdict(outcome=Outcome.IGNORED, failure=BYPASSED)

    def failed(
        self, request: Request, exception: Exception, verdict: Verdict, attempt: Attempt
    ) -> None:
        """Take note that an attempt failed; a handler that cannot use the proxy never will."""
        page = urlparse_cached(request).scheme
        if verdict.failure == UNSUPPORTED and page in PAGES:
            self._stop(
                REASON_UNSUPPORTED,
                "The download handler of %s pages cannot use proxy %s (%s): %s. Set "
                "DOWNLOAD_HANDLERS[%r] to a handler that can",
                page,
                attempt.proxy.name,
                attempt.proxy.scheme,
                exception or type(exception).__name__,
                page,
            )

    def _prove(self, request: Request) -> None:
        if self.unproven and not self._looked_up:
            self.unproven.discard(urlparse_cached(request).scheme)

    def _overwritten(self, request: Request) -> Verdict:
        if not self._warned:
            self._warned = True
            logger.warning(
                "%s had a proxy of the pool and went out through another one: a middleware nearer to "
                "the downloader has overwritten meta['proxy']. The pool learns nothing from such "
                "requests. Take that middleware out of DOWNLOADER_MIDDLEWARES.",
                request,
                extra={"spider": self._context.crawler.spider},
            )
        return Verdict(outcome=Outcome.IGNORED, failure=OVERWRITTEN)

    def _bypassed(self, request: Request, attempt: Attempt, why: str) -> None:
        self._stop(
            REASON_BYPASSED,
            "%s did not go through proxy %s (%s), but directly: %s. A download handler, or a "
            "middleware nearer to the downloader, ignores meta['proxy'] or has removed it",
            request,
            attempt.proxy.name,
            attempt.proxy.gateway,
            why,
        )

    def _stop(self, reason: str, message: str, *args: object) -> None:
        if self.stopped:
            return
        self.stopped = True
        logger.error(
            f"{message}. Closing the spider (%s).",
            *args,
            reason,
            extra={"spider": self._context.crawler.spider},
        )
        self._context.close_spider(reason)
        self._context.recall_all()

    # Whose address it is

    def _is_peer(self, request: Request, address: Any, attempt: Attempt) -> bool | None:
        """Whether an address is the proxy's; ``None`` if that is not known."""
        if address is None:
            return None
        key = (attempt.proxy.host, str(address))
        peer = self._peers.get(key)
        if peer is None:
            if len(self._peers) >= _LOOKUPS:
                return None
            peer = self._peers[key] = _Peer(*key, urlparse_cached(request).hostname or "")
            if peer.is_pending:
                self._looked_up.append((peer, request, attempt))
        return peer.is_proxy

    def _settle(self) -> None:
        """Check the names that have been resolved meanwhile."""
        done = [entry for entry in self._looked_up if not entry[0].is_pending]
        self._looked_up = [entry for entry in self._looked_up if entry[0].is_pending]
        for peer, request, attempt in done:
            if peer.is_proxy is False:
                self._bypassed(request, attempt, f"the answer came from {peer.address}")


class _Peer:
    """An address that an answer came from, and whether it is the proxy's that it should be.

    An address is compared at once. A name is looked up, in a thread: an address that is the target's and
    not the proxy's is not the proxy's. One that is neither's says nothing: names have many addresses.

    ``is_proxy``: whether it is; ``None`` as long as, or if, nobody knows.
    """

    def __init__(self, proxy: str, address: str, target: str) -> None:
        self.address = _plain(address)
        self.is_proxy: bool | None = None
        literal = _plain(proxy)
        self.is_pending = literal is None
        if literal is None:
            threading.Thread(target=self._look_up, args=(proxy, target), daemon=True).start()
        elif not literal.is_unspecified:  # 0.0.0.0 is whatever the system makes of it
            self.is_proxy = literal == self.address

    def _look_up(self, proxy: str, target: str) -> None:
        try:
            if self.address in _addresses(proxy):
                self.is_proxy = True
            elif self.address in _addresses(target):
                self.is_proxy = False
        finally:
            self.is_pending = False


def _plain(text: str) -> _Address | None:
    """Return an IP address, without the IPv6 around an IPv4 one; ``None`` for a name."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _addresses(host: str) -> set[_Address | None]:
    try:
        return {_plain(str(info[4][0])) for info in socket.getaddrinfo(host, None)}
    except OSError:
        return set()
