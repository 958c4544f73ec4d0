"""What a job remembers of its targets from one run to the next: pauses, backoff, suspensions.

One small file in ``JOBDIR``, replaced whole soon after every change, so that it is valid whenever the
crawl is killed. Moments are kept as seconds since the epoch: the pool's clock is that of one
process.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from scrapy import signals
from scrapy.utils.asyncio import call_later
from scrapy.utils.job import job_dir

from ...core import TargetMemory
from ...core.events import (
    TargetPaused,
    TargetPauseExtended,
    TargetRamping,
    TargetReleased,
    TargetReopened,
    TargetSuspended,
)
from ...util.atomic_file import write_atomically

if TYPE_CHECKING:
    from collections.abc import Container

    from scrapy.utils.asyncio import CallLaterResult

    from ...core.events import Event
    from ..context import CrawlContext

logger = logging.getLogger("scrapy_proxybalance")

#: The file's name in ``JOBDIR``.
FILE_NAME = "proxybalance.json"
_VERSION = 1
# Between two writings lies so many times what the last one took: that of a crawl with thousands of
# paused targets may not take up its time.
_REST = 50
# What a file may say at least, in requests per second: once in thirty years.
_LOWEST_RATE = 1e-9


class JobMemory:
    """Reads the file when the spider is opened, and keeps it up to date. Idle without ``JOBDIR``."""

    def __init__(self, context: CrawlContext) -> None:
        self._context = context
        directory = job_dir(context.crawler.settings)
        if not directory:
            return
        self._path = Path(directory, FILE_NAME)
        self._writing: CallLaterResult | None = None
        self._took = 0.0
        self._failing = False
        context.crawler.signals.connect(self.load, signal=signals.spider_opened)

    def load(self) -> None:
        """Take up every target where the last run has left it."""
        context = self._context
        memories: list[tuple[TargetMemory, bool]] = []
        try:
            memories = _read(self._path, context.wall_clock())
        except FileNotFoundError:
            pass
        except Exception as error:  # whatever is in it, the crawl can do without
            logger.warning(
                "%s cannot be read (%s): pauses and suspensions of the last run are forgotten",
                self._path,
                error,
            )
        suspended = set()
        # The longest pause first, as rules may have made one target of several since.
        for memory, dropped in sorted(memories, key=lambda one: -one[0].left):
            target = context.pool.rules.target_of(memory.target)
            if dropped:
                context.drop(target)
            elif memory.suspended is not None:
                suspended.add(target)
            context.pool.targets.recall(attrs.evolve(memory, target=target), context.clock())
        if suspended:
            logger.warning(
                "Still suspended since an earlier run of this job: %s. Remove %s to have them "
                "tried again.",
                ", ".join(sorted(suspended)),
                self._path,
            )
        context.pool.events.subscribe(
            self._changed,
            *(TargetPaused, TargetPauseExtended, TargetReleased),
            *(TargetRamping, TargetReopened, TargetSuspended),
        )
        # Not sooner: a crawl that could not be opened is closed as well, and has nothing to say.
        context.crawler.signals.connect(self.close, signal=signals.spider_closed)

    def save(self) -> None:
        """Write the file, or remove it if there is nothing to remember."""
        self._writing = None
        started_at = time.perf_counter()
        context = self._context
        memories = list(context.pool.targets.memories(context.clock()))
        try:
            if memories:
                write_atomically(
                    self._path, _written(memories, context.dropped_targets, context.wall_clock())
                )
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            if not self._failing:
                logger.error(
                    "%s cannot be written (%s): pauses and suspensions may be forgotten when the job is "
                    "resumed",
                    self._path,
                    error.strerror or error,
                )
            self._failing = True
        else:
            self._failing = False
        self._took = time.perf_counter() - started_at

    def close(self) -> None:
        """Write the file a last time."""
        if self._writing is not None:
            self._writing.cancel()
        self.save()

    def _changed(self, event: Event) -> None:  # noqa: ARG002
        if self._writing is None:
            self._writing = call_later(_REST * self._took, self.save)


def _written(memories: list[TargetMemory], dropped: Container[str], wall_now: float) -> str:
    targets: list[dict[str, Any]] = []
    for memory in memories:
        entry = attrs.asdict(memory)
        entry["until"] = wall_now + entry.pop("left")
        entry["dropped"] = memory.target in dropped
        targets.append(entry)
    return json.dumps({"version": _VERSION, "targets": targets}, indent=2)


def _read(path: Path, wall_now: float) -> list[tuple[TargetMemory, bool]]:
    """Return what the file holds, each target with whether its requests are dropped.

    :raises Exception: of many kinds, if it is not ours or was tampered with.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        raise ValueError("it is of another version")
    return [
        (_memory(entry, wall_now), entry.get("dropped") is True) for entry in document["targets"]
    ]


def _memory(entry: dict[str, Any], wall_now: float) -> TargetMemory:
    return TargetMemory(
        target=_text(entry, "target"),
        left=max(0.0, _number(entry, "until") - wall_now),
        step=int(_number(entry, "step")),
        pause=_number(entry, "pause"),
        rate=_number(entry, "rate", at_least=_LOWEST_RATE),
        peak=int(_number(entry, "peak", at_least=1)),
        observed=_number(entry, "observed"),
        suspended=None if entry.get("suspended") is None else _text(entry, "suspended"),
        by_hand=entry.get("by_hand") is True,
    )


def _number(entry: dict[str, Any], name: str, *, at_least: float = 0.0) -> float:
    value = entry.get(name)
    if not isinstance(value, int | float) or not at_least <= value < float("inf"):
        raise ValueError(f"{name!r} is {value!r}, not a number from {at_least:g} on")
    return float(value)


def _text(entry: dict[str, Any], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise TypeError(f"{name!r} is {value!r}, not a text")
    return value
