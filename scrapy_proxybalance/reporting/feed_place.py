"""Where a feed goes, as a setting says."""

from __future__ import annotations

import re

import attrs

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_CREDENTIALS = re.compile(r"(?<=://).*@", re.DOTALL)


@attrs.frozen(kw_only=True)
class Feed:
    """Where rows are written.

    :param uri: a path or a URI, with the placeholders of feeds.
    :param format: of Scrapy's exporters, or ``parquet``.
    :param overwrite: whether an existing file is replaced; ``None`` for what the format needs.
    """

    uri: str = attrs.field(repr=False)
    format: str
    overwrite: bool | None = None

    @property
    def scheme(self) -> str:
        """The URI's scheme; empty for a path, a drive of Windows included."""
        match = _SCHEME.match(self.uri)
        return match[1].lower() if match is not None else ""

    @property
    def has_credentials(self) -> bool:
        """Whether there may be a password in the URI."""
        return _CREDENTIALS.search(self.uri) is not None

    @property
    def shown(self) -> str:
        """The URI without its credentials. Users forget to encode them: they may hold anything."""
        return _CREDENTIALS.sub("***@", self.uri)
