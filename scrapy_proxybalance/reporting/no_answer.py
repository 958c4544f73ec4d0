"""Warns once, within seconds, that no proxy has answered, with the likely causes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..core import Outcome
from ..util.wording import counted
from .causes import failures_in_words, likeliest_causes
from .scrapy_hooks import PeriodicCall, on_closed, on_opened

if TYPE_CHECKING:
    from .figures import Figures
    from .observed import ObservedCrawl
    from .scrapy_hooks import Spider

logger = logging.getLogger("scrapy_proxybalance")

# Longer than a slow site needs, and short enough to be useful; in seconds.
_PATIENCE = 8.0
_LOOK_EVERY = 0.5


class NoAnswerWarning:
    """Watches a crawl until the first answer, of whatever kind, has come through any proxy.

    :param context: whose pool.
    :param figures: what has been counted so far.
    """

    def __init__(self, context: ObservedCrawl, figures: Figures) -> None:
        self._context = context
        self._figures = figures
        self._since: float | None = None
        self._said = False
        self._loop = PeriodicCall()
        on_opened(context, self.start)
        on_closed(context, self.close)

    def start(self, spider: Spider) -> None:
        """Begin to look."""
        self._loop.start(_LOOK_EVERY, self.look, spider)

    def close(self, spider: Spider) -> None:
        """End it, with what there is to say by now: a crawl may be over sooner."""
        if self._loop.running:
            self.look(spider)
            self._stop()
            if not self._said and self._figures.requests and not self._answered:
                self._say(spider)

    def look(self, spider: Spider) -> None:
        """Look whether anything has answered, and say so if nothing has for too long."""
        now = self._context.clock()
        if self._answered:
            self._stop()
            if self._said and self._since is not None:
                logger.info(
                    "The first answer came after %.0f s",
                    now - self._since,
                    extra={"spider": spider},
                )
        elif self._since is None:
            if self._figures.requests or self._context.pool.in_flight:
                self._since = now
        elif not self._said and now - self._since >= _PATIENCE:
            self._say(spider)

    @property
    def _answered(self) -> bool:
        outcomes = self._figures.outcomes
        return bool(outcomes[Outcome.SUCCESS.value] or outcomes[Outcome.TARGET_SIGNAL.value])

    def _say(self, spider: Spider) -> None:
        self._said = True
        now, under_way = self._context.clock(), self._context.pool.in_flight
        failures = self._figures.failures
        failed = f" ({failures_in_words(failures)})" if failures else ""
        logger.warning(
            "No proxy has answered yet, %.0f s after the first request: %s failed%s, %d under way. "
            "The likeliest causes: %s. Nothing is sent without a proxy.",
            now - self._since if self._since is not None else 0.0,
            counted(self._figures.requests, "attempt"),
            failed,
            under_way,
            "; ".join(
                f"({number}) {cause}"
                for number, cause in enumerate(likeliest_causes(failures, under_way), start=1)
            ),
            extra={"spider": spider},
        )

    def _stop(self) -> None:
        self._loop.stop()
