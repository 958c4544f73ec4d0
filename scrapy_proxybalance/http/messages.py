"""The requests and responses that this room reads, by what they have to have. Scrapy's have it.

For those of other libraries there are plain ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


#: What may be asked for twice, as one that was answered unseen does no harm (RFC 9110, section 9.2.1).
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


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


class PlainHeaders:
    """Headers of texts.

    :param headers: by their names in any case; several of one name as pairs.
    """

    def __init__(self, headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[bytes]] = {}
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        for name, value in pairs:
            self._values.setdefault(name.lower(), []).append(value.encode("latin-1", "replace"))

    def get(self, name: str, /) -> bytes | None:
        """Return a header's value, the last one of several; ``None`` where it is not there."""
        values = self._values.get(name.lower())
        return values[-1] if values else None

    def getlist(self, name: str, /) -> Sequence[bytes]:
        """Return all values of a header, in their order."""
        return self._values.get(name.lower(), ())


@attrs.frozen
class PlainRequest:
    """What was asked for."""

    url: str
    method: str = "GET"


@attrs.frozen
class PlainResponse:
    """What came back."""

    status: int
    headers: PlainHeaders
    body: bytes = b""
