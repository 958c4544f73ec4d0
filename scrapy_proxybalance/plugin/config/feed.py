"""A setting that says where a feed goes: a path, or a dict like those of ``FEEDS``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ...core import ConfigurationError
from ...reporting.feed_place import Feed
from .values import refuse_unknown_key

#: What a feed's own dict may say.
FEED_KEYS = ("uri", "format", "overwrite")
_ADVICE = "write a path, or a dict like {'uri': 's3://bucket/requests.csv', 'format': 'csv'}"


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
