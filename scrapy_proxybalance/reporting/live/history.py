"""The last few minutes of a crawl, in steps: what the page draws as lines."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from ..figures import share_of_successes

if TYPE_CHECKING:
    from ..figures import Figures
    from ..observed import ObservedCrawl

#: Seconds between two steps, and how many are kept: five minutes.
STEP = 2.0
_STEPS = 150


class History:
    """Takes note of how things stand, every :data:`STEP` seconds.

    :param figures: counts what ``context`` does.
    """

    def __init__(self, context: ObservedCrawl, figures: Figures) -> None:
        self._context = context
        self._figures = figures
        self._at = context.clock()
        self._requests = 0
        self._outcomes: Counter[str] = Counter()
        self._in_flight: deque[int] = deque(maxlen=_STEPS)
        self._held: deque[int] = deque(maxlen=_STEPS)
        self._rate: deque[float] = deque(maxlen=_STEPS)
        self._success: deque[float | None] = deque(maxlen=_STEPS)

    def take_note(self) -> None:
        """Add a step."""
        figures, now = self._figures, self._context.clock()
        figures.sample(now)
        seconds = max(now - self._at, 0.001)
        requests = figures.requests - self._requests
        self._rate.append(requests / seconds)
        self._success.append(share_of_successes(requests, figures.outcomes - self._outcomes))
        self._in_flight.append(self._context.pool.in_flight)
        self._held.append(figures.held)
        self._at, self._requests = now, figures.requests
        self._outcomes = Counter(figures.outcomes)

    def shown(self) -> dict[str, object]:
        """Return the steps, the youngest last; a success rate is ``None`` where nothing ended."""
        return {
            "step": STEP,
            "in_flight": list(self._in_flight),
            "held": list(self._held),
            "requests_per_second": [round(rate, 3) for rate in self._rate],
            "success_rate": list(self._success),
        }
