"""Which proxies rest at which target: the same proxy goes there at most once in so many seconds.

Pure: times come from the caller and never go back. Knows names only, no rules, no pool.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Targets that are looked at, with each grant, for whether all that was kept for them is due.
_TARGETS_SWEPT = 2

_NONE_RESTS: Mapping[str, float] = {}


class Spacing:
    """For each target, the proxies that rest there and until when, the first that is due first.

    A target's spacing does not change. What is due is forgotten; so is a target where nothing rests.
    """

    def __init__(self) -> None:
        self._targets: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()

    def __len__(self) -> int:
        """Return for how many targets anything is kept."""
        return len(self._targets)

    def granted(self, target: str, proxy: str, now: float, spacing: float) -> None:
        """Take note that a request goes to a target through a proxy, which rests there from now on.

        :param spacing: for how long, in seconds.
        """
        resting = self._targets.setdefault(target, OrderedDict())
        resting[proxy] = now + spacing
        resting.move_to_end(proxy)
        self._sweep(now)

    def resting(self, target: str, now: float) -> Mapping[str, float]:
        """Return the proxies that rest at a target, with the moments they are due at, soonest first."""
        resting = self._targets.get(target)
        if resting is None:
            return _NONE_RESTS
        while resting and resting[next(iter(resting))] <= now:
            resting.popitem(last=False)
        if not resting:
            del self._targets[target]
        return resting

    def forget(self, proxy: str) -> None:
        """Drop what is kept of a proxy."""
        for target, resting in list(self._targets.items()):
            if resting.pop(proxy, None) is not None and not resting:
                del self._targets[target]

    def _sweep(self, now: float) -> None:
        """Drop targets that nobody asks for any more: each grant looks at the next few in turn."""
        for _ in range(_TARGETS_SWEPT):
            if not self._targets:
                return
            target, resting = next(iter(self._targets.items()))
            if resting[next(reversed(resting))] <= now:
                del self._targets[target]
            else:
                self._targets.move_to_end(target)
