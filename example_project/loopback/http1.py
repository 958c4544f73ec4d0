"""The HTTP/1.1 wire format: reading heads and bodies, and encoding messages.

Bodies are read whole, whatever their framing, so that every message can be passed on with a
Content-Length. What a message means to a server belongs in that server.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

Fields = Iterable[tuple[str, str]]

_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]+)[ \t]*(?:;.*)?\r\n", re.DOTALL)
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class BadMessageError(Exception):
    """The peer sent something that is not HTTP/1.1 as we understand it."""


@dataclass(frozen=True, slots=True)
class Head:
    """The first line of a message, in its three parts, and its header fields."""

    first_line: tuple[str, str, str]
    fields: list[tuple[str, str]]
    values: dict[str, str]
    """The fields by lower-case name; the values of a repeated field are joined with commas."""

    def connection_options(self) -> set[str]:
        """Return what the Connection field lists, in lower case."""
        options = self.values.get("connection", "")
        return {option.strip().lower() for option in options.split(",")}

    def keeps_alive(self, version: str) -> bool:
        """Tell whether the sender, who speaks ``version``, leaves the connection open."""
        return version == "HTTP/1.1" and "close" not in self.connection_options()


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Return the next head, or None when the peer closed the connection between two messages."""
    try:
        data = await _read_until(reader, b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = data[:-4].decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2:
        raise BadMessageError(f"bad first line: {first!r}")
    fields = []
    values: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _FIELD_NAME.fullmatch(name):
            raise BadMessageError(f"bad header line: {line!r}")
        value = value.strip()
        fields.append((name, value))
        key = name.lower()
        values[key] = f"{values[key]}, {value}" if key in values else value
    return Head((parts[0], parts[1], parts[2] if len(parts) == 3 else ""), fields, values)


async def read_body(
    reader: asyncio.StreamReader, head: Head, *, until_close: bool = False
) -> bytes:
    """Return the body that follows ``head``.

    Without any framing there is none; with ``until_close``, as in a response, it is all the rest.
    """
    coding = head.values.get("transfer-encoding")
    if coding is not None:
        if coding.lower() != "chunked":
            raise BadMessageError(f"unknown transfer coding: {coding!r}")
        return await _read_chunks(reader)
    length = head.values.get("content-length")
    if length is not None:
        if not (length.isascii() and length.isdigit()):
            raise BadMessageError(f"bad Content-Length: {length!r}")
        return await reader.readexactly(int(length))
    return await reader.read() if until_close else b""


def encode(first_line: str, fields: Fields, body: bytes = b"") -> bytes:
    """Return a message as it goes over the wire; its framing is up to the caller."""
    head = [first_line]
    head += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join((*head, "", "")).encode("latin-1") + body


def status_line(status: int) -> str:
    """Return the first line of a response."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    return f"HTTP/1.1 {status} {phrase}"


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        line = await _read_until(reader, b"\r\n")
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise BadMessageError(f"bad chunk size: {line!r}")
        size = int(match[1], 16)
        if size == 0:
            break
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise BadMessageError("bad end of chunk")
    while await _read_until(reader, b"\r\n") != b"\r\n":
        pass  # trailers are read and dropped
    return bytes(body)


async def _read_until(reader: asyncio.StreamReader, separator: bytes) -> bytes:
    try:
        return await reader.readuntil(separator)
    except asyncio.LimitOverrunError as error:
        raise BadMessageError("head or line too long") from error
