"""Scrapy's default download handler, with what a pool of proxies needs in addition.

- A proxy that closes the connection instead of answering CONNECT is known at once, and no tunnel that
  was given up stays open: see ``tunnel.py``.
- A kept connection to a proxy carries http requests for one target, with one proxy's credentials, only.
  Some proxies pass all requests of a connection to the first one's host.
- Of a proxy that carries few connections at once, idle ones are closed before one more is opened.

The add-on installs it where the user has chosen no other handler. It touches what Scrapy and Twisted
do not promise, and ``tests/test_scrapy_internals.py`` guards that: the handler's pool and its policy for
TLS; that a download asks the pool for a connection before anything else has a turn; the pool's books.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from scrapy.core.downloader.handlers.http11 import HTTP11DownloadHandler
from scrapy.utils.httpobj import urlparse_cached
from twisted.web.client import HTTPConnectionPool

from .. import request_meta
from .tunnel import Tunnel

if TYPE_CHECKING:
    from collections.abc import Hashable

    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from twisted.internet.defer import Deferred
    from twisted.web._newclient import HTTP11ClientProtocol

_HTTPS_PORT = 443


class DownloadHandler(HTTP11DownloadHandler):
    """Downloads over http and https, through a proxy where ``meta["proxy"]`` names one."""

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._pool: _Connections = _Connections(self._pool)

    async def download_request(self, request: Request) -> Response:
        """Download a request.

        :raises ConnectFailedError: when a proxy answers CONNECT with something other than a tunnel.
        """
        tunnel = self._pool.prepare(request, self._contextFactory)
        try:
            return await super().download_request(request)
        except Exception as error:
            if tunnel is not None and (closed := tunnel.closed_early(error)) is not None:
                raise closed from error
            raise


class _Shared(NamedTuple):
    """What a kept connection to a proxy may be used again for, and through which proxy it goes."""

    address: str
    proxy: Hashable
    target: tuple[str, str]


class _Tunnelled(NamedTuple):
    """What a kept tunnel may be used again for, and the address of the proxy that it goes through."""

    address: str
    key: Hashable


class _Connections(HTTPConnectionPool):
    """The connections of a handler, those to proxies kept apart by target and credentials.

    For http targets it keeps as many idle connections to a proxy as Scrapy's own does, whatever the
    number of targets: ``maxPersistentPerHost``. The one that was idle for longest goes first.
    """

    def __init__(self, scrapys: HTTPConnectionPool) -> None:
        super().__init__(scrapys._reactor)  # type: ignore[no-untyped-call]  # noqa: SLF001
        vars(self).update(vars(scrapys))  # what this version of Scrapy has set
        self._next: Tunnel | tuple[tuple[str, str], bytes | None] | None = None
        self._address = ""  # of the proxy of what is next
        self._may_be_idle: int | None = None  # so many connections to it, besides
        self._idle: dict[Hashable, dict[HTTP11ClientProtocol, _Shared]] = {}

    def prepare(self, request: Request, tls: Any) -> Tunnel | None:
        """Take note which request asks for a connection next; return its tunnel, if it needs one."""
        self._next = None
        proxy = request.meta.get("proxy")
        if not proxy:
            return None
        self._address = urlsplit(proxy).netloc.rpartition("@")[2]
        self._may_be_idle = request_meta.idle_of(request)
        url = urlparse_cached(request)
        authorization = request.headers.get(b"Proxy-Authorization")
        if url.scheme != "https":
            self._next = ((url.scheme, url.netloc), authorization)
            return None
        tunnel = Tunnel(url.hostname or "", url.port or _HTTPS_PORT, authorization, tls)
        self._next = tunnel
        return tunnel

    def getConnection(self, key: Hashable, endpoint: Any) -> Deferred[HTTP11ClientProtocol]:
        """Return a connection for what was prepared; ``key`` and ``endpoint`` are Scrapy's choice."""
        asked, self._next = self._next, None
        if isinstance(asked, Tunnel):
            endpoint = asked.through(endpoint)
            key = _Tunnelled(self._address, key)
        elif asked is not None:
            target, authorization = asked
            key = _Shared(self._address, (key, authorization), target)
        if asked is not None and self._may_be_idle is not None:
            self._make_room(key, self._may_be_idle)
        connection = super().getConnection(key, endpoint)
        self._forget(key)
        return connection

    def _putConnection(self, key: Hashable, connection: HTTP11ClientProtocol) -> None:
        super()._putConnection(key, connection)  # type: ignore[no-untyped-call]
        if not isinstance(key, _Shared):
            return
        idle = self._idle.setdefault(key.proxy, {})
        idle.pop(connection, None)
        idle[connection] = key
        if len(idle) > self.maxPersistentPerHost:
            self._shrink(idle)

    def _make_room(self, key: Hashable, may_be_idle: int) -> None:
        """Close idle connections to the proxy of a key; one that is used next stays."""
        used_next = self._connections.get(key, ())[-1:]
        idle = [
            (other, connection)
            for other, connections in self._connections.items()
            if isinstance(other, (_Shared, _Tunnelled)) and other.address == self._address
            for connection in connections
            if connection not in used_next
        ]
        for other, connection in idle[: max(0, len(idle) - may_be_idle)]:
            self._timeouts[connection].cancel()
            self._removeConnection(other, connection)
            connection.transport.abortConnection()  # within TLS it would wait for the site otherwise

    def _shrink(self, idle: dict[HTTP11ClientProtocol, _Shared]) -> None:
        """Strike out what is in use or closed; close the oldest of the others, if there are too many."""
        for connection in [one for one in idle if one not in self._timeouts]:
            del idle[connection]
        while len(idle) > self.maxPersistentPerHost:
            oldest = next(iter(idle))
            self._timeouts[oldest].cancel()
            self._removeConnection(idle.pop(oldest), oldest)

    def _removeConnection(self, key: Hashable, connection: HTTP11ClientProtocol) -> None:
        super()._removeConnection(key, connection)  # type: ignore[no-untyped-call]
        self._forget(key)

    def _forget(self, key: Hashable) -> None:
        """Drop a list that has become empty, which Twisted never does."""
        if key in self._connections and not self._connections[key]:
            del self._connections[key]
