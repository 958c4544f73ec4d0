"""A forward proxy whose answers a test writes to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loopback.forward_proxy import ForwardProxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from loopback.http1 import Head
    from loopback.listener import Connection


class ScriptedProxy(ForwardProxy):
    """A forward proxy that may answer with bytes of its own.

    :param script: gets the method and the URL (``host:port`` for CONNECT) of each request and returns
        the bytes of the answer, none to close the connection without a byte, or ``None`` to forward it.
    """

    def __init__(
        self, name: str, script: Callable[[str, str], bytes | None], **options: Any
    ) -> None:
        super().__init__(name, **options)
        self.script = script

    @property
    def connections(self) -> int:
        """How many connections are open to it, idle ones included."""
        return len(self._connections)

    async def _answer(self, client: Connection, head: Head, body: bytes, authorized: bool) -> bool:
        method, url, version = head.first_line
        own = self.script(method, url) if authorized else None
        if own is None:
            return await super()._answer(client, head, body, authorized)
        if own:
            client.writer.write(own)
            await client.writer.drain()
        return bool(own) and method != "CONNECT" and head.keeps_alive(version)


def answer(status: int, body: str = "", **headers: str) -> bytes:
    """Return the bytes of an answer; underscores in the names of headers stand for hyphens."""
    fields = {"Content-Length": str(len(body.encode())), **headers}
    lines = [f"HTTP/1.1 {status} Says", *(f"{k.replace('_', '-')}: {v}" for k, v in fields.items())]
    return ("\r\n".join([*lines, "", body])).encode()
