"""``Origin``: a small HTTP/1.1 keep-alive server that leaves the answers to a handler.

What it received is recorded here; what is served belongs in the handlers (see ``shop``).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import http1
from .listener import Connection, Gauge, Listener

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, slots=True)
class OriginRequest:
    """A request as a handler gets it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes


@dataclass(frozen=True, slots=True)
class OriginResponse:
    """What a handler answers."""

    status: int = 200
    headers: http1.Fields = ()
    """Without Content-Length, which is added."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request as the origin recorded it."""

    time: float
    """``time.monotonic()`` at its arrival."""
    method: str
    path: str
    query: str
    headers: dict[str, str]
    peer: tuple[str, int]
    via: str | None
    """The Via header, which names the proxy it came through."""


Handler = Callable[[OriginRequest], Awaitable[OriginResponse] | OriginResponse]


class Origin(Listener):
    """A server whose ``handler``, sync or async, answers every request.

    An async handler is cancelled when its client goes away.
    """

    def __init__(self, handler: Handler, *, ssl_context: ssl.SSLContext | None = None) -> None:
        super().__init__(ssl_context=ssl_context)
        self.requests: list[ReceivedRequest] = []
        self._handler = handler
        self._in_flight = Gauge()

    @property
    def in_flight(self) -> int:
        """The number of requests that are being answered now."""
        return self._in_flight.current

    @property
    def peak_in_flight(self) -> int:
        """The most that ``in_flight`` has been."""
        return self._in_flight.peak

    async def _serve(self, connection: Connection) -> None:
        reader, writer = connection.reader, connection.writer
        peer = writer.get_extra_info("peername")[:2]
        alive = True
        while alive:
            try:
                head = await http1.read_head(reader)
                if head is None:
                    return
                body = await http1.read_body(reader, head)
            except http1.BadMessageError:
                writer.write(http1.encode(http1.status_line(400), [("Connection", "close")]))
                return
            with self._in_flight:
                method, target, version = head.first_line
                path, _, query = target.partition("?")
                headers = head.values
                self.requests.append(
                    ReceivedRequest(
                        time.monotonic(), method, path, query, headers, peer, headers.get("via")
                    )
                )
                answer = self._handler(OriginRequest(method, path, query, headers, body))
                response = answer if isinstance(answer, OriginResponse) else await answer
                alive = head.keeps_alive(version)
                writer.write(_encode(response, method, alive))
                await writer.drain()


def _encode(response: OriginResponse, method: str, alive: bool) -> bytes:
    fields = list(response.headers)
    if response.status not in (204, 304):
        fields.append(("Content-Length", str(len(response.body))))
    if not alive:
        fields.append(("Connection", "close"))
    bodiless = method == "HEAD" or response.status in (204, 304)
    return http1.encode(
        http1.status_line(response.status), fields, b"" if bodiless else response.body
    )
