"""What a report counts over time: attempts by outcome, what is in flight, when targets were paused."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from .reading import Row

_STRETCHES = 120
# A pause without an attempt in it for so many seconds is over, as far as can be seen.
_GAP = 5


@attrs.define
class Timeline:
    """Counts by the second."""

    outcomes: defaultdict[str, Counter[int]] = attrs.field(factory=lambda: defaultdict(Counter))
    paused: defaultdict[str, set[int]] = attrs.field(factory=lambda: defaultdict(set))
    _busy: defaultdict[int, float] = attrs.field(factory=lambda: defaultdict(float))
    _first: int | None = None
    _last: int = 0

    def add(self, row: Row) -> None:
        """Count an attempt."""
        begins = datetime.fromisoformat(row.timestamp).timestamp()
        ends = begins + (row.duration or 0.0)
        second = int(ends)
        self._first = int(begins) if self._first is None else min(self._first, int(begins))
        self._last = max(self._last, second)
        self.outcomes[row.outcome][second] += 1
        while begins < ends:
            whole = min(ends, int(begins) + 1.0)
            self._busy[int(begins)] += whole - begins
            begins = whole
        if row.target_paused:
            self.paused[row.target].add(second)

    @property
    def _seconds(self) -> int:
        return self._last - (self._first or 0) + 1

    @property
    def _step(self) -> int:
        return max(1, round(self._seconds / _STRETCHES))

    @property
    def unit(self) -> tuple[str, float]:
        """The unit of all times: its name, and how many seconds it has."""
        if self._seconds < 180:
            return "seconds", 1.0
        return ("minutes", 60.0) if self._seconds < 10_800 else ("hours", 3600.0)

    @property
    def length(self) -> float:
        """How long it was."""
        return self._seconds / self.unit[1]

    def edges(self) -> list[float]:
        """Return when each stretch begins, and when the last one ends."""
        _, unit = self.unit
        begins = range(0, self._seconds, self._step)
        return [offset / unit for offset in (*begins, self._seconds)]

    def rates(self) -> dict[str, list[float]]:
        """Return the attempts per second by outcome, for each stretch."""
        first, step, count = self._first or 0, self._step, len(self.edges()) - 1
        listed: dict[str, list[float]] = {}
        for outcome, seconds in sorted(self.outcomes.items(), key=lambda item: -item[1].total()):
            values = [0.0] * count
            for second, number in seconds.items():
                values[(second - first) // step] += number / step
            listed[outcome] = values
        return listed

    def in_flight(self) -> list[float]:
        """Return the attempts that were under way at once in each stretch, on average."""
        first, step = self._first or 0, self._step
        values = [0.0] * (len(self.edges()) - 1)
        for second, busy in self._busy.items():
            values[(second - first) // step] += busy / step
        return values

    def pauses(self) -> dict[str, list[tuple[float, float]]]:
        """Return when targets were seen to be paused, those that were for longest first."""
        first, (_, unit) = self._first or 0, self.unit
        listed = {}
        for target, seconds in sorted(self.paused.items(), key=lambda item: -len(item[1]))[:20]:
            stretches: list[list[int]] = []
            for second in sorted(seconds):
                if stretches and second - stretches[-1][1] <= _GAP:
                    stretches[-1][1] = second
                else:
                    stretches.append([second, second])
            listed[target] = [
                ((start - first) / unit, (stop + 1 - first) / unit) for start, stop in stretches
            ]
        return listed
