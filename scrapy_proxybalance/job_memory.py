"""What a job remembers of its targets from one run to the next: pauses, backoff, suspensions.

One small file in ``JOBDIR``, replaced whole at every change, so that it is valid whenever the crawl
is killed. Moments are kept as seconds since the epoch: the pool's clock starts anew with a process.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from scrapy import signals
from scrapy.utils.job import job_dir

from .pool import TargetMemory
from .pool.events import TargetPaused, TargetRamping, TargetReopened, TargetSuspended
from .whole_file import write_whole

if TYPE_CHECKING:
    from .balancer import Balancer
    from .pool.events import Event

logger = logging.getLogger(__name__)

#: The file's name in ``JOBDIR``.
FILE_NAME = "proxybalance.json"
_VERSION = 1


class JobMemory:
    """Reads the file when the spider is opened, and keeps it up to date. Idle without ``JOBDIR``."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer
        directory = job_dir(balancer.crawler.settings)
        if not directory:
            return
        self._path = Path(directory, FILE_NAME)
        balancer.crawler.signals.connect(self.load, signal=signals.spider_opened)
        balancer.crawler.signals.connect(self.save, signal=signals.spider_closed)

    def load(self) -> None:
        """Take up every target where the last run has left it."""
        targets, now = self._balancer.pool.targets, self._balancer.clock()
        try:
            memories = _read(self._path)
        except FileNotFoundError:
            memories = []
        except (OSError, TypeError, ValueError, KeyError) as error:
            logger.warning(
                "%s cannot be read (%s): pauses and suspensions of the last run are forgotten",
                self._path,
                error,
            )
            memories = []
        for memory in memories:
            targets.recall(memory, now)
        suspended = sorted(memory.target for memory in memories if memory.suspended is not None)
        if suspended:
            logger.warning(
                "Still suspended since an earlier run of this job: %s. Remove %s to have them "
                "tried again.",
                ", ".join(suspended),
                self._path,
            )
        self._balancer.pool.events.subscribe(
            self._changed, TargetPaused, TargetRamping, TargetReopened, TargetSuspended
        )

    def save(self) -> None:
        """Write the file, or remove it if there is nothing to remember."""
        memories = list(self._balancer.pool.targets.memories(self._balancer.clock()))
        try:
            if memories:
                write_whole(self._path, _written(memories))
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            logger.error(
                "%s cannot be written (%s): if the job is resumed, pauses will not be remembered",
                self._path,
                error.strerror,
            )

    def _changed(self, event: Event) -> None:  # noqa: ARG002
        self.save()


def _written(memories: list[TargetMemory]) -> str:
    targets: list[dict[str, Any]] = []
    for memory in memories:
        entry = attrs.asdict(memory)
        entry["until"] = time.time() + entry.pop("left")
        targets.append(entry)
    return json.dumps({"version": _VERSION, "targets": targets}, indent=2)


def _read(path: Path) -> list[TargetMemory]:
    """Return what the file holds.

    :raises ValueError: if it is not ours; likewise ``TypeError`` and ``KeyError``.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        raise ValueError("it is of another version")
    memories = []
    for entry in document["targets"]:
        left = max(0.0, float(entry["until"]) - time.time())
        memories.append(
            TargetMemory(
                target=str(entry["target"]),
                left=left,
                step=int(entry["step"]),
                pause=float(entry["pause"]),
                rate=float(entry["rate"]),
                peak=int(entry["peak"]),
                observed=float(entry["observed"]),
                suspended=None if entry["suspended"] is None else str(entry["suspended"]),
            )
        )
    return memories
