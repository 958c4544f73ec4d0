"""A tunnel through a proxy: CONNECT is sent, its answer read, and TLS with the target begun.

Stands in the place of Scrapy's endpoint for tunnels, which is told nothing when the proxy closes the
connection, reads an answer without end, and leaves its connection open when its time is up or the
answer is an error. Uses what Twisted promises, and what Scrapy gives: an endpoint of the proxy.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from scrapy.http import Headers
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.web.client import ResponseNeverReceived
from zope.interface import implementer

from .tunnel_errors import ClosedAfterConnectError, ConnectClosedError, ConnectFailedError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol
    from twisted.python.failure import Failure

#: The most bytes of an answer's status line and headers; more is not a proxy's answer.
LONGEST_ANSWER = 65_536

_BEGINNING = b"HTTP/1."
_STATUS_LINE = re.compile(rb"HTTP/1\.\d (\d{3})([^\r\n]*)\r?\n")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_SHOWN = 1000


@implementer(IStreamClientEndpoint)
class Tunnel:
    """The way to a target through a proxy; each connection that it makes is a tunnel of its own.

    :param host: of the target, as it stands in the URL.
    :param port: of the target.
    :param authorization: the header with the proxy's credentials, if it has any.
    :param tls: how TLS is spoken with targets; an ``IPolicyForHTTPS`` of Twisted's.
    """

    def __init__(self, host: str, port: int, authorization: bytes | None, tls: Any) -> None:
        self.host = host
        self.port = port
        self._authorization = authorization
        self._tls = tls
        self._proxy: Any = None
        self._answered: _Connect | None = None
        self._connection: Any = None

    def through(self, proxy: TCP4ClientEndpoint) -> Tunnel:
        """Return itself, to be opened through a proxy, of which only the address is used."""
        self._proxy = proxy
        return self

    def connect(self, protocolFactory: Any) -> Deferred[IProtocol]:  # noqa: N803 (the interface's)
        """Open a connection to the target.

        :return: fires with the protocol, TLS begun, or with a :class:`ConnectFailedError`; cancelled, it
            closes what there is at once.
        """
        connect = _Connect(self, protocolFactory)
        factory: Any = Factory()
        factory.noisy = False
        factory.protocol = lambda: connect

        def give_up(_: object) -> None:
            connecting.cancel()
            connect.abort()

        connect.ready = Deferred(give_up)
        # Not the method of its class, which is Scrapy's tunnel.
        connecting = TCP4ClientEndpoint.connect(self._proxy, factory)
        connecting.addErrback(connect.fail)
        return connect.ready

    def request(self) -> bytes:
        """Return what is sent to the proxy."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        site = f"{host}:{self.port}".encode("ascii")
        lines = [b"CONNECT %b HTTP/1.1" % site, b"Host: %b" % site]
        if self._authorization is not None:
            lines.append(b"Proxy-Authorization: %b" % self._authorization)
        return b"\r\n".join([*lines, b"", b""])

    def opened(self, connect: _Connect, factory: Any) -> IProtocol:
        """Hand the connection over to whom it is for, within TLS."""
        self._answered = connect
        transport = connect.transport
        protocol: Any = factory.buildProtocol(transport.getPeer())
        transport.protocol = protocol
        protocol.makeConnection(transport)
        transport.startTLS(self._tls.creatorForNetloc(self.host.encode("ascii"), self.port))
        self._connection = transport.getHandle()  # once it is closed, nobody has it
        return protocol  # type: ignore[no-any-return]

    def closed_early(self, error: BaseException) -> ClosedAfterConnectError | None:
        """Return what to raise instead of an error, if this tunnel was closed before TLS was there."""
        answered = self._answered
        if answered is None or self._connection.get_peer_finished() is not None:
            return None
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ResponseNeverReceived):
            cause = cause.__cause__
        if cause is None or not all(
            reason.check(ConnectionDone, ConnectionLost) for reason in cause.reasons
        ):
            return None
        return ClosedAfterConnectError(
            f"The tunnel to {self.host}:{self.port} was closed before its TLS handshake was over",
            status=answered.status,
            headers=answered.headers,
        )


class _Connect(Protocol):
    """Asks a proxy for a tunnel, and reads what it answers."""

    ready: Deferred[IProtocol]
    transport: Any

    def __init__(self, tunnel: Tunnel, factory: Any) -> None:
        self.status: int | None = None
        self.headers = Headers()
        self._tunnel = tunnel
        self._factory = factory
        self._answer = bytearray()

    def connectionMade(self) -> None:
        self.transport.write(self._tunnel.request())

    def dataReceived(self, data: bytes) -> None:
        self._answer += data
        answer = self._answer
        if not _BEGINNING.startswith(answer[: len(_BEGINNING)]):
            self._refused()
            return
        # The end of the head may have come in two parts.
        end = _END_OF_HEAD.search(answer, max(0, len(answer) - len(data) - 3))
        if end is None:
            if len(answer) > LONGEST_ANSWER:
                self._refused()
            return
        self._read(bytes(answer[: end.end()]))
        if self.status is None or not 200 <= self.status < 300:
            self._refused()
            return
        self.ready.callback(self._tunnel.opened(self, self._factory))

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        if self.ready.called:
            return
        if self._answer:
            self._refused()
        else:
            self._fail(
                ConnectClosedError(
                    "The proxy closed the connection without an answer to CONNECT "
                    f"{self._tunnel.host}:{self._tunnel.port}: {self._peer()}"
                )
            )

    def fail(self, reason: Failure) -> None:
        """Take note that the proxy cannot be connected to."""
        if not self.ready.called:
            self.ready.errback(reason)

    def abort(self) -> None:
        """Close the connection at once, if there is one."""
        if self.transport is not None:
            self.transport.abortConnection()

    def _refused(self) -> None:
        """Fail with what was answered, as far as it came."""
        line = _STATUS_LINE.match(self._answer)
        if line is None:
            said: object = bytes(self._answer[:_SHOWN])
        else:
            if self.status is None:
                self._read(bytes(self._answer))
            said = {"status": self.status, "reason": line[2].strip()[:_SHOWN]}
        # The words are those of Scrapy's handler.
        self._fail(
            ConnectFailedError(
                f"Could not open CONNECT tunnel with proxy {self._peer()} [{said!r}]",
                status=self.status,
                headers=self.headers,
            )
        )

    def _fail(self, error: ConnectFailedError) -> None:
        self.ready.errback(error)
        self.abort()

    def _peer(self) -> str:
        peer = self.transport.getPeer()
        return f"{peer.host}:{peer.port}"

    def _read(self, head: bytes) -> None:
        line = _STATUS_LINE.match(head)
        if line is None:
            return
        self.status = int(line[1])
        for field in head[line.end() :].splitlines():
            name, colon, value = field.partition(b":")
            if colon:
                self.headers.appendlist(name.strip(), value.strip())
