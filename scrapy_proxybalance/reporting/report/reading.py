"""Request logs, read row by row: whatever is no such log is one error that says where and why."""

from __future__ import annotations

import csv
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PARQUET_ROWS = 50_000
_TRUE = ("True", "true", "1", True)


class ReportError(Exception):
    """A file cannot be read as a request log, or a report cannot be written."""


@attrs.frozen(kw_only=True)
class Row:
    """What a report takes from an attempt; see ``docs/reference/request-log.md``.

    Times in seconds; ``timestamp``, when it was sent, since the epoch.
    """

    timestamp: float
    target: str
    proxy: str | None
    session: str | None
    status: int | None
    failure: str | None
    outcome: str
    latency: float | None
    duration: float | None
    target_paused: bool


_NEEDED = [field.name for field in attrs.fields(Row)]


def read_rows(path: Path) -> Iterator[Row]:
    """Give the rows of a log, which its ending says the format of.

    :raises ReportError: for a file that cannot be read, or is no request log.
    """
    readers = {".csv": _csv, ".jsonl": _jsonl, ".jl": _jsonl, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ReportError(f"{path}: a request log ends in {', '.join(readers)}")
    number = 1
    try:
        for values in reader(path):
            yield _row(values)
            number += 1
    except OSError as error:
        raise ReportError(f"{path} cannot be read ({error.strerror or error})") from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ReportError(
            f"{path}, row {number}: that is not a row of a request log ({what}); if the crawl was "
            "killed while it wrote the last one, take that one out"
        ) from None


def _row(values: dict[str, Any]) -> Row:
    known = {name: values[name] for name in _NEEDED}
    for name in _NEEDED:
        if known[name] == "":
            known[name] = None
    if not isinstance(known["outcome"], str) or not isinstance(known["timestamp"], str):
        raise ValueError("it has no outcome or no timestamp")
    return Row(
        timestamp=datetime.fromisoformat(known["timestamp"]).timestamp(),
        target=str(known["target"]),
        proxy=known["proxy"],
        session=known["session"],
        status=None if known["status"] is None else int(known["status"]),
        failure=known["failure"],
        outcome=known["outcome"],
        latency=None if known["latency"] is None else float(known["latency"]),
        duration=None if known["duration"] is None else float(known["duration"]),
        target_paused=known["target_paused"] in _TRUE,
    )


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _csv(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ReportError(
            f"{path}: to read it, pip install 'scrapy-proxybalance[parquet]'"
        ) from None
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_PARQUET_ROWS):
            yield from batch.to_pylist()
