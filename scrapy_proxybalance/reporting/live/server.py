"""A small web server in threads of its own, shared by all crawls of a process that name its port.

Which crawls there are, and what connections may take. What is answered is the business of ``routes``;
it is asked of each crawl in that crawl's thread. Nobody who connects can hold a crawl up: connections
are few, short and timed, and what they send is bounded.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import suppress
from http.server import ThreadingHTTPServer
from ipaddress import ip_address
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler

    from prometheus_client.core import Metric

    from .actions import Actions
    from .crawl_thread import CrawlThread
    from .metrics import Metrics
    from .view import LiveView

_Result = TypeVar("_Result")

logger = logging.getLogger("scrapy_proxybalance")

#: Seconds that a request may take to come and its answer to go.
CONNECTION_TIMEOUT = 10.0
# Connections at once; more are closed.
_CONNECTIONS = 32
# Seconds that a crawl may take to answer.
_CRAWL_TIMEOUT = 5.0
_POLL_SECONDS = 0.05

_servers: dict[tuple[str, int], StatusServer] = {}


class ServedCrawl(NamedTuple):
    """What is asked of one crawl, in its thread."""

    thread: CrawlThread
    metrics: Metrics
    view: LiveView
    actions: Actions

    def ask(self, question: Callable[[], _Result]) -> _Result:
        """Return what it answers.

        :raises TimeoutError: if it takes too long, or the crawl is over.
        """
        return self.thread.call(question, _CRAWL_TIMEOUT)


class StatusServer(ThreadingHTTPServer):
    """Serves the crawls that have joined it. Made by :meth:`shared`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler)
        self._key = (host, port)
        address = str(self.server_address[0])
        #: Whether only this machine can reach it.
        self.is_local = ip_address(address.partition("%")[0]).is_loopback
        self._crawls: dict[str, ServedCrawl] = {}
        self._lock = threading.Lock()
        # The open connections, and when they are closed.
        self._until: dict[socket.socket, float] = {}
        self._failed = False
        self._thread = threading.Thread(
            target=self.serve_forever, args=(_POLL_SECONDS,), name="proxybalance", daemon=True
        )

    @classmethod
    def shared(cls, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> StatusServer:
        """Return the server of this process at an address; it is made if there is none.

        :param port: 0 for one that the system chooses.
        :param handler: answers what it is asked.
        :raises OSError: if it cannot listen there.
        """
        server = _servers.get((host, port))
        if server is None:
            server = cls(host, port, handler)
            _servers[host, port] = server
            server._thread.start()
        return server

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{shown}:{port}"

    def join(self, name: str, crawl: ServedCrawl) -> str:
        """Serve a crawl, too; return the name that it is shown under, which no other crawl has."""
        with self._lock:
            shown, number = name, 1
            while shown in self._crawls:
                number += 1
                shown = f"{name}-{number}"
            self._crawls[shown] = crawl
        return shown

    def leave(self, shown: str) -> None:
        """Serve a crawl no longer. The last one to leave closes the server."""
        with self._lock:
            del self._crawls[shown]
            if self._crawls:
                return
        _servers.pop(self._key, None)
        self.shutdown()
        self.server_close()

    @property
    def crawls(self) -> dict[str, ServedCrawl]:
        """The crawls that are served now, by the names that they are shown under."""
        with self._lock:
            return dict(self._crawls)

    def collect(self) -> Iterator[Metric]:
        """Give the metric families of all crawls that answer.

        :raises TimeoutError: if none does.
        """
        families: dict[str, Metric] = {}
        busy: TimeoutError | None = None
        for name, crawl in self.crawls.items():

            def listed(name: str = name, crawl: ServedCrawl = crawl) -> list[Metric]:
                return list(crawl.metrics.families(name))

            try:
                found = crawl.ask(listed)
            except TimeoutError as error:
                busy = error
                continue
            for family in found:
                known = families.setdefault(family.name, family)
                if known is not family:
                    known.samples += family.samples
        if busy is not None and not families:
            raise busy
        return iter(families.values())

    def note_failure(self) -> None:
        """Log what has gone wrong with an answer, the first time."""
        if not self._failed:
            self._failed = True
            logger.exception(
                "What a crawl shows on its port cannot be worked out. This is said once."
            )

    # Connections

    def server_bind(self) -> None:
        """Bind the port, and ask no name server for the name of its address."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own, if there is room for one."""
        with self._lock:
            room = len(self._until) < _CONNECTIONS
            if room:
                self._until[request] = time.monotonic() + CONNECTION_TIMEOUT
        if not room:
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started
            self._forget(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer it, and make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._forget(request)

    def service_actions(self) -> None:
        """End the connections whose time is up; the threads that wait for them notice."""
        now = time.monotonic()
        with self._lock:
            overdue = [connection for connection, until in self._until.items() if until < now]
        for connection in overdue:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _forget(self, request: Any) -> None:
        with self._lock:
            self._until.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Note what a client has done, who may do anything."""
        logger.debug("A connection to the status page has failed", exc_info=True)
