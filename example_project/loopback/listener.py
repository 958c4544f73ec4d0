"""Accepting connections and closing them: the part that a proxy and an origin have in common.

``Listener`` owns the listening socket, the accepted connections and the tasks that serve them.
Nothing about HTTP belongs here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

_ListenerT = TypeVar("_ListenerT", bound="Listener")


class Gauge:
    """How many ``with`` blocks are being executed now, and how many there were at most."""

    def __init__(self) -> None:
        self.current = 0
        self.peak = 0

    def __enter__(self) -> None:
        self.current += 1
        self.peak = max(self.peak, self.current)

    def __exit__(self, *exc_info: object) -> None:
        self.current -= 1


class Connection(asyncio.StreamReaderProtocol):
    """An accepted connection: its two streams and the task that serves it.

    The task is cancelled as soon as the client goes away, even if nobody is reading then. A client
    that shuts down only its sending side counts as gone.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def __init__(self, listener: Listener) -> None:
        self.reader = asyncio.StreamReader()
        super().__init__(self.reader)
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the task."""
        super().connection_made(transport)
        stream = cast("asyncio.Transport", transport)
        loop = asyncio.get_running_loop()
        self.writer = asyncio.StreamWriter(stream, self, self.reader, loop)
        self._serving = self._listener.opened(self)

    def eof_received(self) -> bool | None:
        """Cancel the task: the client has nothing more to say."""
        self._serving.cancel()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the task: the connection is closed."""
        super().connection_lost(exc)
        self._serving.cancel()
        self._listener.lost(self)

    def abort(self) -> None:
        """Close without sending what is still buffered."""
        self.writer.transport.abort()

    def reset(self) -> None:
        """Close with a TCP reset."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()


class Listener(ABC):
    """A TCP (or TLS) server that can be closed at once, whatever its clients are doing."""

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self.host = ""
        self.port = 0
        self._ssl_context = ssl_context
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 stands for any free one, and ``port`` tells which."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), host, port, ssl=self._ssl_context
        )
        self.host, self.port = self._server.sockets[0].getsockname()[:2]

    async def close(self) -> None:
        """Stop listening and abort every connection; ``host`` and ``port`` keep their values."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for connection in self._connections:
            connection.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self: _ListenerT) -> _ListenerT:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @abstractmethod
    async def _serve(self, connection: Connection) -> None:
        """Serve a connection until there is nothing more to do; it is closed on return."""

    def opened(self, connection: Connection) -> asyncio.Task[None]:
        """Start serving ``connection``, which calls this when it is made."""
        self._connections.add(connection)
        task = asyncio.get_running_loop().create_task(self._run(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def lost(self, connection: Connection) -> None:
        """Forget ``connection``, which calls this when it is closed."""
        self._connections.discard(connection)

    async def _run(self, connection: Connection) -> None:
        try:
            # close() may have come between the accept and the first step of this task.
            if self._server is not None:
                with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                    await self._serve(connection)
        finally:
            connection.writer.close()
