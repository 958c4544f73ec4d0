"""The request log: one row per attempt, written in batches. What a row says is ``attempts``' to say."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .feed import FeedWriter
from .scrapy_hooks import PeriodicCall, on_closed, on_opened

if TYPE_CHECKING:
    from .attempt_record import AttemptRecord
    from .feed_place import Feed
    from .observed import ObservedCrawl

#: Each is documented in ``docs/reference/request-log.md``.
COLUMNS = (
    "timestamp",
    "request_id",
    "url",
    "target",
    "proxy",
    "session",
    "attempt",
    "status",
    "failure",
    "outcome",
    "latency",
    "duration",
    "bytes",
    "waited",
    "target_paused",
)
_SECONDS = 1.0
# In a batch, so that a busy crawl keeps no more in memory.
_ROWS = 2000
_DIGITS = 4


class RequestLog:
    """Writes the log of a crawl.

    :param feed: where to, and in which format.
    :raises ConfigurationError: for what Scrapy cannot write.
    """

    def __init__(self, context: ObservedCrawl, feed: Feed) -> None:
        crawler = context.crawler
        self._writer = FeedWriter(crawler, "PROXYBALANCE_REQUEST_LOG", feed, COLUMNS)
        self._attempts: list[AttemptRecord] = []
        self._loop = PeriodicCall()
        context.attempt_log.subscribe(self.add)
        on_opened(context, self._writer.open)
        on_opened(context, self.start)
        on_closed(context, self.stop)

    def start(self) -> None:
        """Begin to write."""
        self._loop.start(_SECONDS, self.write)

    def add(self, attempt: AttemptRecord) -> None:
        """Take an attempt in."""
        self._attempts.append(attempt)
        if len(self._attempts) >= _ROWS:
            self.write()

    def write(self) -> None:
        """Write what has come in."""
        attempts, self._attempts = self._attempts, []
        self._writer.write(map(row, attempts))

    async def stop(self) -> None:
        """Write the rest, and finish the file."""
        self._loop.stop()
        self.write()
        await self._writer.close()


def row(attempt: AttemptRecord) -> dict[str, Any]:
    """Return an attempt's row."""
    when = datetime.fromtimestamp(attempt.timestamp, timezone.utc)
    return {
        "timestamp": when.isoformat(timespec="milliseconds"),
        "request_id": attempt.request_id,
        "url": attempt.url,
        "target": attempt.target,
        "proxy": attempt.proxy,
        "session": plain_text(attempt.session),
        "attempt": attempt.attempt,
        "status": attempt.status,
        "failure": plain_text(attempt.failure),
        "outcome": attempt.outcome.value,
        "latency": _rounded(attempt.latency),
        "duration": _rounded(attempt.duration),
        "bytes": attempt.size,
        "waited": _rounded(attempt.waited),
        "target_paused": attempt.target_paused,
    }


def plain_text(value: object) -> str | None:
    """Return what a user may have written in a form that every file takes."""
    return None if value is None else str(value).encode(errors="backslashreplace").decode()


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, _DIGITS)
