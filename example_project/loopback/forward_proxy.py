"""``ForwardProxy``: an HTTP/1.1 forward proxy that can be told to misbehave.

It forwards absolute-form ``http://`` requests and tunnels CONNECT, keeps connections alive on both
sides, and records what it saw. Messages are relayed whole, not streamed. Anything that only one
test or one benchmark needs belongs there, not here.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
import time
from collections import defaultdict
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, urlsplit

from . import http1
from .listener import Connection, Gauge, Listener

if TYPE_CHECKING:
    from collections.abc import Mapping

Address = tuple[str, int]

_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_FRAMING = ("content-length", "transfer-encoding")


class Behaviour(Enum):
    """What a proxy does with the requests it gets."""

    HEALTHY = auto()
    REFUSE = auto()
    """Reset every connection: a new one at once, an older one at its next request."""
    HANG = auto()
    """Read the request and never answer."""
    FLAKY = auto()
    """Cut the connection in ``fail_rate`` of the requests, half of them within the body."""
    UNAUTHORIZED = auto()
    """Ask for a password, and accept none."""
    ERROR = auto()
    """Answer with an error page of the proxy's own, with the status ``error_status``."""


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as the proxy recorded it."""

    time: float
    """``time.monotonic()`` at its arrival."""
    method: str
    url: str
    """``host:port`` for CONNECT."""
    username: str | None
    """As sent, right or wrong; None if no credentials were sent."""
    authorized: bool


class ForwardProxy(Listener):
    """A forward proxy with a name, which is also what it puts in the Via header.

    ``resolve`` maps ``"host:port"`` or ``"host"`` to the address to connect to; with it, any other
    host is answered with 502. ``latency`` is the time in seconds before a request is forwarded.
    ``credentials`` maps user names to passwords. The attributes of the same names, and
    ``behaviour``, may be changed while the proxy is running.
    """

    def __init__(
        self,
        name: str,
        *,
        resolve: Mapping[str, Address] | None = None,
        latency: float = 0.0,
        credentials: Mapping[str, str] | None = None,
        behaviour: Behaviour = Behaviour.HEALTHY,
        fail_rate: float = 0.0,
        error_status: int = 503,
        rng: random.Random | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.resolve = resolve
        self.latency = latency
        self.credentials = credentials
        self.behaviour = behaviour
        self.fail_rate = fail_rate
        self.error_status = error_status
        self.requests: list[SeenRequest] = []
        self._rng = rng or random.Random()
        self._in_flight = Gauge()
        self._in_flight_by_user: defaultdict[str | None, Gauge] = defaultdict(Gauge)
        self._origins = _OriginPool()

    @property
    def in_flight(self) -> int:
        """The requests and tunnels that are being served; an idle connection is not counted."""
        return self._in_flight.current

    @property
    def peak_in_flight(self) -> int:
        """The most that ``in_flight`` has been."""
        return self._in_flight.peak

    @property
    def peak_in_flight_by_user(self) -> dict[str | None, int]:
        """The same for each user name by itself; None is for requests without one."""
        return {user: gauge.peak for user, gauge in self._in_flight_by_user.items()}

    def url(self, username: str | None = None) -> str:
        """Return the proxy URL for a client, with the password that belongs to ``username``."""
        userinfo = ""
        if username is not None:
            password = (self.credentials or {})[username]
            userinfo = f"{quote(username, safe='')}:{quote(password, safe='')}@"
        return f"http://{userinfo}{self.host}:{self.port}"

    async def close(self) -> None:
        """Stop listening, and abort every connection to clients and origins."""
        await super().close()
        self._origins.close()

    async def _serve(self, connection: Connection) -> None:
        if self._refuses():
            connection.reset()
            return
        alive = True
        while alive:
            try:
                head = await http1.read_head(connection.reader)
                if head is None:
                    return
                body = await http1.read_body(connection.reader, head)
            except http1.BadMessageError:
                connection.writer.write(self._page(400, alive=False))
                return
            if self._refuses():
                connection.reset()
                return
            username, password = _credentials(head)
            authorized = self.behaviour is not Behaviour.UNAUTHORIZED and (
                self.credentials is None
                or (username is not None and self.credentials.get(username) == password)
            )
            method, target, _ = head.first_line
            self.requests.append(
                SeenRequest(time.monotonic(), method, target, username, authorized)
            )
            with self._in_flight, self._in_flight_by_user[username]:
                alive = await self._answer(connection, head, body, authorized)

    def _refuses(self) -> bool:
        return self.behaviour is Behaviour.REFUSE

    async def _answer(
        self, client: Connection, head: http1.Head, body: bytes, authorized: bool
    ) -> bool:
        """Answer a request and tell whether the connection can carry another one."""
        if self.behaviour is Behaviour.HANG:
            await asyncio.Event().wait()  # until the client goes away
        method, target, version = head.first_line
        alive = head.keeps_alive(version)
        cut = False
        try:
            if not authorized:
                raise _RefusedError(407)
            if self.behaviour is Behaviour.ERROR:
                raise _RefusedError(self.error_status)
            if self.behaviour is Behaviour.FLAKY:
                cut = self._rng.random() < self.fail_rate
                if cut and self._rng.random() < 0.5:
                    client.abort()
                    return False
            if self.latency:
                await asyncio.sleep(self.latency)
            if method == "CONNECT":
                await self._tunnel(client, target, cut)
                return False
            reply, reply_body = await self._forward(head, body)
            data = self._encode_reply(reply, reply_body, alive)
        except _RefusedError as refused:
            data = self._page(refused.status, alive, with_body=method != "HEAD")
        else:
            if cut:
                # Half of the body, or the head without its end when there is no body.
                alive = False
                data = data[: len(data) - len(reply_body or b"") // 2 - 1]
        client.writer.write(data)
        await client.writer.drain()
        return alive

    async def _forward(self, request: http1.Head, body: bytes) -> tuple[http1.Head, bytes | None]:
        """Send a request to its origin and read the response; see ``_OriginPool.exchange``."""
        method, target, _ = request.first_line
        url = _split(target)
        if url.scheme != "http":
            raise _RefusedError(400)
        address = self._address(url, default_port=80)
        fields = [
            ("Host", url.netloc.rpartition("@")[2]),
            *((name, value) for name, value in _end_to_end(request) if name.lower() != "host"),
            ("Via", f"1.1 {self.name}"),
        ]
        if "transfer-encoding" in request.values:
            fields.append(("Content-Length", str(len(body))))
        path = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        data = http1.encode(f"{method} {path} HTTP/1.1", fields, body)
        try:
            return await self._origins.exchange(address, data, method)
        except (OSError, EOFError, http1.BadMessageError) as error:
            raise _RefusedError(502) from error

    async def _tunnel(self, client: Connection, target: str, cut: bool) -> None:
        """Relay bytes both ways until the origin ends its stream or the client goes away."""
        url = _split(f"//{target}")
        try:
            reader, writer = await asyncio.open_connection(*self._address(url))
        except OSError as error:
            raise _RefusedError(502) from error
        client.writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        upload = asyncio.create_task(_relay(client.reader, writer))
        try:
            if cut:
                data = await reader.read(65536)
                client.writer.write(data[: len(data) // 2])
            else:
                await _relay(reader, client.writer)
        finally:
            upload.cancel()
            writer.transport.abort()
            await asyncio.gather(upload, return_exceptions=True)

    def _address(self, url: SplitResult, default_port: int | None = None) -> Address:
        """Find out where to connect to for the authority of ``url``."""
        try:
            host, port = url.hostname, url.port or default_port
        except ValueError as error:
            raise _RefusedError(400) from error
        if not host or not port:
            raise _RefusedError(400)
        if self.resolve is None:
            return host, port
        address = self.resolve.get(f"{host}:{port}") or self.resolve.get(host)
        if address is None:
            raise _RefusedError(502)
        return address

    def _encode_reply(self, reply: http1.Head, body: bytes | None, alive: bool) -> bytes:
        """Return the response of an origin as it goes to the client."""
        _, status, reason = reply.first_line
        fields = _end_to_end(reply)
        fields.append(("Via", f"1.1 {self.name}"))
        if body is not None and (
            "content-length" not in reply.values or "transfer-encoding" in reply.values
        ):
            fields.append(("Content-Length", str(len(body))))
        if not alive:
            fields.append(("Connection", "close"))
        return http1.encode(f"HTTP/1.1 {status} {reason}", fields, body or b"")

    def _page(self, status: int, alive: bool, *, with_body: bool = True) -> bytes:
        """Return an answer of the proxy's own."""
        body = f"<h1>{status}</h1><p>Proxy {self.name}</p>".encode()
        fields = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(body))),
        ]
        if status == 407:
            fields.append(("Proxy-Authenticate", f'Basic realm="{self.name}"'))
        if not alive:
            fields.append(("Connection", "close"))
        return http1.encode(http1.status_line(status), fields, body if with_body else b"")


class _RefusedError(Exception):
    """The proxy answers with a page of its own."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _OriginPool:
    """Keep-alive connections to origins, by address.

    A connection that its origin has closed is not used again; one that the origin closes just as
    a request is sent on it makes that request fail.
    """

    def __init__(self) -> None:
        self._idle: defaultdict[
            Address, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
        ] = defaultdict(list)

    async def exchange(
        self, address: Address, data: bytes, method: str
    ) -> tuple[http1.Head, bytes | None]:
        """Send an encoded request; return its response, with None if that cannot have a body."""
        reader, writer = await self._connect(address)
        try:
            writer.write(data)
            reply = await _read_final_head(reader)
            version, status, _ = reply.first_line
            if method == "HEAD" or status in ("204", "304"):
                body, framed = None, True
            else:
                body = await http1.read_body(reader, reply, until_close=True)
                framed = not reply.values.keys().isdisjoint(_FRAMING)
        except BaseException:
            writer.transport.abort()
            raise
        if framed and reply.keeps_alive(version):
            self._idle[address].append((reader, writer))
        else:
            writer.close()
        return reply, body

    async def _connect(self, address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        idle = self._idle[address]
        while idle:
            reader, writer = idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(*address)

    def close(self) -> None:
        for idle in self._idle.values():
            for _, writer in idle:
                writer.transport.abort()
        self._idle.clear()


async def _read_final_head(reader: asyncio.StreamReader) -> http1.Head:
    """Return the head of a response, after any 1xx ones."""
    while True:
        head = await http1.read_head(reader)
        if head is None:
            raise EOFError("the origin closed the connection")
        version, status, _ = head.first_line
        if not version.startswith("HTTP/1.") or not status.isdigit():
            raise http1.BadMessageError(f"bad status line: {version} {status}")
        if not status.startswith("1"):
            return head


def _credentials(head: http1.Head) -> tuple[str | None, str | None]:
    """Return the user name and password of valid Basic credentials, or None and None."""
    scheme, _, encoded = head.values.get("proxy-authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None, None
    try:
        username, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None, None
    return username, password


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise _RefusedError(400) from error


def _end_to_end(head: http1.Head) -> list[tuple[str, str]]:
    """Return the header fields that are to be passed on."""
    dropped = _HOP_BY_HOP | head.connection_options()
    if "transfer-encoding" in head.values:
        dropped |= {"content-length"}
    return [field for field in head.fields if field[0].lower() not in dropped]


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
