"""``Socks5``: a SOCKS proxy (RFC 1928), with usernames and passwords (RFC 1929) or without."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING

from loopback.listener import Connection, Listener

if TYPE_CHECKING:
    from collections.abc import Mapping

_NO_AUTHENTICATION, _PASSWORD = 0, 2
_SUCCEEDED, _HOST_UNREACHABLE = 0, 4


class Socks5(Listener):
    """Connects to what ``resolve`` maps a host to, and to nothing else.

    ``credentials``: usernames and their passwords; ``None`` if it asks for none. ``seen``: the passwords
    that it was sent, and the hosts.
    """

    def __init__(
        self,
        resolve: Mapping[str, tuple[str, int]],
        credentials: Mapping[bytes, bytes] | None = None,
    ) -> None:
        super().__init__()
        self.resolve = resolve
        self.credentials = credentials
        self.passwords: list[bytes] = []
        self.hosts: list[str] = []

    async def _serve(self, connection: Connection) -> None:
        reader, writer = connection.reader, connection.writer
        _, count = await reader.readexactly(2)
        await reader.readexactly(count)
        method = _NO_AUTHENTICATION if self.credentials is None else _PASSWORD
        writer.write(bytes((5, method)))
        if self.credentials is not None and not await self._authenticates(reader, writer):
            return
        _, _, _, kind = await reader.readexactly(4)
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            host = str(ipaddress.ip_address(await reader.readexactly(4 if kind == 1 else 16)))
        await reader.readexactly(2)
        self.hosts.append(host)
        address = self.resolve.get(host)
        reply = _HOST_UNREACHABLE if address is None else _SUCCEEDED
        writer.write(bytes((5, reply, 0, 1, 0, 0, 0, 0, 0, 0)))
        if address is None:
            return
        origin_reader, origin_writer = await asyncio.open_connection(*address)
        try:
            await asyncio.wait(
                [
                    asyncio.ensure_future(_relay(reader, origin_writer)),
                    asyncio.ensure_future(_relay(origin_reader, writer)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            origin_writer.transport.abort()

    async def _authenticates(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        username = await reader.readexactly((await reader.readexactly(2))[1])
        password = await reader.readexactly((await reader.readexactly(1))[0])
        self.passwords.append(password)
        good = self.credentials is not None and self.credentials.get(username) == password
        writer.write(bytes((1, 0 if good else 1)))
        return good


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
