"""The last few minutes of a crawl, in steps: what the page draws as lines."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ...pool import Outcome

if TYPE_CHECKING:
    from ...balancer import Balancer
    from ..figures import Figures

#: Seconds between two steps, and how many are kept: five minutes.
STEP = 2.0
_STEPS = 150

_CARRIED = (Outcome.SUCCESS.value, Outcome.TARGET_SIGNAL.value)


class History:
    """Takes note of how things stand, every :data:`STEP` seconds.

    :param figures: counts what ``balancer`` does.
    """

    def __init__(self, balancer: Balancer, figures: Figures) -> None:
        self._balancer = balancer
        self._figures = figures
        self._at = balancer.clock()
        self._requests = self._carried = self._judged = 0
        self._in_flight: deque[int] = deque(maxlen=_STEPS)
        self._held: deque[int] = deque(maxlen=_STEPS)
        self._rate: deque[float] = deque(maxlen=_STEPS)
        self._success: deque[float | None] = deque(maxlen=_STEPS)

    def take_note(self) -> None:
        """Add a step."""
        figures, now = self._figures, self._balancer.clock()
        figures.sample(now)
        seconds = max(now - self._at, 0.001)
        carried = sum(figures.outcomes[outcome] for outcome in _CARRIED)
        judged = figures.requests - figures.outcomes[Outcome.IGNORED.value]
        of_step = judged - self._judged
        self._rate.append((figures.requests - self._requests) / seconds)
        self._success.append((carried - self._carried) / of_step if of_step else None)
        self._in_flight.append(self._balancer.pool.in_flight)
        self._held.append(held(figures))
        self._at, self._requests = now, figures.requests
        self._carried, self._judged = carried, judged

    def shown(self) -> dict[str, object]:
        """Return the steps, the youngest last; a success rate is ``None`` where nothing ended."""
        return {
            "step": STEP,
            "in_flight": list(self._in_flight),
            "held": list(self._held),
            "requests_per_second": [round(rate, 3) for rate in self._rate],
            "success_rate": list(self._success),
        }


def held(figures: Figures) -> int:
    """Return how many requests the scheduler holds for targets that have refused."""
    return sum(target.held for _, target in figures.refusing())
