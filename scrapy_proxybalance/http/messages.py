"""The requests and responses that this room reads, by what they have to have. Scrapy's have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Headers(Protocol):
    """The headers of a response; names in any case, values in bytes."""

    def get(self, name: str, /) -> bytes | None:
        """Return a header's value, the last one of several; ``None`` where it is not there."""

    def getlist(self, name: str, /) -> Sequence[bytes]:
        """Return all values of a header, in their order."""


class Request(Protocol):
    """What was asked for."""

    @property
    def url(self) -> str:
        """The URL, its scheme in lower case."""

    @property
    def method(self) -> str:
        """The method, in upper case."""


class Response(Protocol):
    """What came back."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def headers(self) -> Headers:
        """The headers."""

    @property
    def body(self) -> bytes:
        """The body, decoded; its beginning is enough."""
