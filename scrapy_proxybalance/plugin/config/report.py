"""The setting that says where the report is written at the end of a crawl: paths, by their endings."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Any

from ...core import ConfigurationError
from .values import fail

#: The forms of a report.
REPORT_ENDINGS = (".html", ".csv")
_ADVICE = "write a path that ends in .html or .csv, or a list of such paths"


def read_report(name: str, value: Any) -> tuple[str, ...]:
    """Read it: a path, paths separated by commas, or a list of paths; with the placeholders of feeds.

    :raises ConfigurationError: for what is no such path. What may hold a password is not shown.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        value = [path for path in (part.strip() for part in value.split(",")) if path]
    elif isinstance(value, os.PathLike):
        value = [value]
    if not isinstance(value, list | tuple):
        raise fail(name, value, _ADVICE)
    return tuple(_path(name, entry) for entry in value)


def _path(name: str, entry: Any) -> str:
    path = os.fspath(entry) if isinstance(entry, os.PathLike) else entry
    if not isinstance(path, str):
        raise fail(name, entry, _ADVICE)
    if "://" in path:
        raise ConfigurationError(f"{name}: a report cannot be written to a URI; {_ADVICE}")
    if PurePath(path).suffix.lower() not in REPORT_ENDINGS:
        raise fail(name, path, f"no report ends like that; {_ADVICE}")
    return path
