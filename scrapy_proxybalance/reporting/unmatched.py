"""Says at the end which names of ``PROXYBALANCE_TARGETS`` no request has matched: often a typo."""

from __future__ import annotations

import logging
from difflib import get_close_matches
from typing import TYPE_CHECKING

from .scrapy_hooks import on_closed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .figures import Figures
    from .observed import ObservedCrawl
    from .scrapy_hooks import Spider

logger = logging.getLogger("scrapy_proxybalance")

# So many names have a line; one line has the rest.
_LINES = 20


class UnmatchedTargets:
    """Logs a line for each such name, unless the crawl has sent nothing at all.

    :param figures: knows which targets there were.
    """

    def __init__(self, context: ObservedCrawl, figures: Figures) -> None:
        self._context = context
        self._figures = figures
        on_closed(context, self.log)

    def log(self, spider: Spider) -> None:
        """Log them."""
        names = self._context.pool.rules.unmatched
        if not self._figures.targets:
            return
        for name in names[:_LINES]:
            logger.warning(
                "PROXYBALANCE_TARGETS[%r] was never used: no request went to a host of that name%s",
                name,
                _meant(name, self._figures.targets),
                extra={"spider": spider},
            )
        if len(names) > _LINES:
            logger.warning(
                "PROXYBALANCE_TARGETS has %d more names that no request went to",
                len(names) - _LINES,
                extra={"spider": spider},
            )


def _meant(name: str, targets: Iterable[str]) -> str:
    """Return what may have been meant, of the targets that there were."""
    known = list(targets)
    alone = name.lower().lstrip(".")
    if not name.startswith("."):
        below = [one for one in known if one.partition(":")[0].endswith(f".{alone}")]
        if below:
            return f". Requests went to {below[0]!r}: '.{alone}' holds for all hosts of that domain"
    with_port = [one for one in known if one.startswith(f"{alone}:")]
    close = with_port or get_close_matches(alone, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
