"""The stats export: Scrapy's stats with the pool's and the targets' figures, as one JSON file."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..util.atomic_file import write_atomically
from .placeholders import fill_in
from .scrapy_hooks import on_closed, on_opened
from .standing import standing

if TYPE_CHECKING:
    from .figures import Figures
    from .observed import ObservedCrawl
    from .scrapy_hooks import Spider

logger = logging.getLogger("scrapy_proxybalance")


class StatsFile:
    """Writes the file when the spider is closed.

    :param template: its path, with the placeholders of feeds: ``%(name)s``, ``%(time)s`` and the
        spider's other attributes.
    """

    def __init__(self, context: ObservedCrawl, figures: Figures, template: str) -> None:
        self._context = context
        self._figures = figures
        self._template = template
        self._path: Path | None = None
        on_opened(context, self.choose_path)
        on_closed(context, self.write)

    def choose_path(self, spider: Spider) -> None:
        """Fill in the placeholders, or log why that cannot be done."""
        try:
            self._path = Path(fill_in(self._template, spider))
        except ValueError as error:
            logger.error(
                "PROXYBALANCE_STATS_FILE = %r: %s; no file will be written", self._template, error
            )

    def write(self, reason: str) -> None:
        """Write it, or log why that cannot be done."""
        path = self._path
        if path is None:
            return
        document = stats_document(self._context, self._figures, reason)
        try:
            write_atomically(path, json.dumps(document, indent=2, default=str))
        except OSError as error:
            logger.error("PROXYBALANCE_STATS_FILE: %s cannot be written (%s)", path, error.strerror)
        else:
            logger.info("Wrote the stats to %s", path)


def stats_document(context: ObservedCrawl, figures: Figures, reason: str) -> dict[str, Any]:
    """Return what the file holds; its form is described in ``docs/reference/stats.md``."""
    figures.sample(context.clock())
    total = figures.requests
    proxies = []
    for one in context.pool.snapshot(context.clock()):
        counted = figures.proxies[one.proxy.name]
        proxies.append(
            {
                "name": one.proxy.name,
                "endpoint": one.proxy.endpoint,
                "state": standing(one).value,
                "requests": counted.requests,
                "share": counted.requests / total if total else 0.0,
                "success_rate": counted.success_rate,
                "latency_p50": counted.latency_percentile(50),
                "latency_p95": counted.latency_percentile(95),
                "outcomes": dict(counted.outcomes),
                "failures": dict(counted.failures),
                "cooldowns": counted.cooldowns,
                "sessions": counted.sessions,
                "in_flight": one.in_flight,
                "score": one.score,
            }
        )
    targets = {
        name: {
            "requests": target.requests,
            "refusals": target.signals,
            "pauses": target.pauses,
            "seconds_paused": round(target.seconds_paused, 3),
            "held": target.held,
            "held_max": target.held_max,
            "suspended": target.suspended,
        }
        for name, target in figures.targets.items()
    }
    return {
        "finish_reason": reason,
        "stats": dict(context.crawler.stats.get_stats()),
        "proxies": proxies,
        "targets": targets,
    }
