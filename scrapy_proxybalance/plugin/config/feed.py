"""A setting that says where a feed goes: a path, or a dict like those of ``FEEDS``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import attrs

from ...core import ConfigurationError
from .values import refuse_unknown_key

#: What a feed's own dict may say.
FEED_KEYS = ("uri", "format", "overwrite")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_CREDENTIALS = re.compile(r"(?<=://).*@", re.DOTALL)
_ADVICE = "write a path, or a dict like {'uri': 's3://bucket/requests.csv', 'format': 'csv'}"


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


def read_feed(name: str, value: Any) -> Feed | None:
    """Read such a setting; ``None`` and the empty text are none.

    :raises ConfigurationError: for what cannot work. A URI may hold a password, and is not shown.
    """
    if value is None or value == "":
        return None
    entry = value if isinstance(value, Mapping) else {"uri": value}
    for key in entry:
        refuse_unknown_key(name, key, "***" if key == "uri" else entry[key], FEED_KEYS)
    uri = entry.get("uri")
    if isinstance(uri, os.PathLike):
        uri = os.fspath(uri)
    if not isinstance(uri, str) or not uri:
        raise ConfigurationError(f"{name}: 'uri' is a {type(uri).__name__}; {_ADVICE}")
    form = entry.get("format")
    if form is None:
        form = PurePosixPath(uri).suffix.removeprefix(".").lower()
    if not isinstance(form, str) or not form:
        raise ConfigurationError(
            f"{name}: the file's name does not say in which format it is to be; end it in .jsonl, "
            ".csv or .parquet, or write a dict with 'format'"
        )
    overwrite = entry.get("overwrite")
    if overwrite is not None and not isinstance(overwrite, bool):
        raise ConfigurationError(f"{name}['overwrite'] = {overwrite!r}: write True or False")
    return Feed(uri=uri, format=form, overwrite=overwrite)
