"""What a report counts over time: attempts by outcome, what is in flight, when targets were paused."""

from __future__ import annotations

from collections import Counter, defaultdict
from math import ceil
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .reading import Row

    #: From when to when.
    Span = tuple[float, float]
    Lanes = Sequence[tuple[str, Sequence[Span]]]

_STRETCHES = 120
# No more moments are told apart: those of a long crawl become longer.
_MOMENTS = 7200
# A pause without an attempt in it for so many seconds is over, as far as can be seen.
_GAP = 5
# So many names are shown.
_NAMES = 15


@attrs.define
class Timeline:
    """Counts by the moment: a second, or some more of them when it gets long."""

    outcomes: defaultdict[str, Counter[int]] = attrs.field(factory=lambda: defaultdict(Counter))
    _paused: defaultdict[str, set[int]] = attrs.field(factory=lambda: defaultdict(set))
    _busy: defaultdict[int, float] = attrs.field(factory=lambda: defaultdict(float))
    _first: int | None = None
    _last: int = 0
    # The seconds of a moment.
    _moment: int = 1

    def add(self, row: Row) -> None:
        """Count an attempt."""
        begins = row.timestamp
        ends = begins + (row.duration or 0.0)
        self.cover(begins, ends)
        moment = int(ends // self._moment)
        self.outcomes[row.outcome][moment] += 1
        while begins < ends:
            number = int(begins // self._moment)
            whole = min(ends, (number + 1.0) * self._moment)
            self._busy[number] += whole - begins
            begins = whole
        if row.target_paused:
            self._paused[row.target].add(moment)

    def cover(self, begins: float, ends: float) -> None:
        """Make it last from one time to another, at least; both in seconds since the epoch."""
        first, last = int(begins // self._moment), int(ends // self._moment)
        self._first = first if self._first is None else min(self._first, first)
        self._last = max(self._last, last)
        while self._last - self._first >= _MOMENTS:
            self._coarsen()

    def _coarsen(self) -> None:
        self._moment *= 2
        self._first, self._last = (self._first or 0) // 2, self._last // 2
        for outcome, counts in self.outcomes.items():
            halved: Counter[int] = Counter()
            for moment, count in counts.items():
                halved[moment // 2] += count
            self.outcomes[outcome] = halved
        busy = self._busy
        self._busy = defaultdict(float)
        for moment, seconds in busy.items():
            self._busy[moment // 2] += seconds
        for target, moments in self._paused.items():
            self._paused[target] = {moment // 2 for moment in moments}

    @property
    def _seconds(self) -> int:
        return (self._last - (self._first or 0) + 1) * self._moment

    @property
    def _step(self) -> int:
        """The seconds of a stretch: a number of whole moments."""
        return max(1, round(self._seconds / _STRETCHES / self._moment)) * self._moment

    @property
    def _begins(self) -> int:
        return (self._first or 0) * self._moment

    @property
    def unit(self) -> tuple[str, float]:
        """The unit of all times: its name, and how many seconds it has."""
        if self._seconds < 180:
            return "seconds", 1.0
        return ("minutes", 60.0) if self._seconds < 10_800 else ("hours", 3600.0)

    def edges(self) -> list[float]:
        """Return when each stretch begins, and when the last one ends. All are as long."""
        _, unit = self.unit
        count = ceil(self._seconds / self._step)
        return [number * self._step / unit for number in range(count + 1)]

    def _per_stretch(self, moments: Mapping[int, float]) -> list[float]:
        """Return sums over moments as means over stretches."""
        values = [0.0] * (len(self.edges()) - 1)
        for moment, value in moments.items():
            number = (moment * self._moment - self._begins) // self._step
            values[number] += value / self._step
        return values

    def rates(self) -> dict[str, list[float]]:
        """Return the attempts per second by outcome, for each stretch."""
        most_first = sorted(self.outcomes.items(), key=lambda item: -item[1].total())
        return {outcome: self._per_stretch(moments) for outcome, moments in most_first}

    def in_flight(self) -> list[float]:
        """Return the attempts that were under way at once in each stretch, on average."""
        return self._per_stretch(self._busy)

    def at_once(self, spans: Iterable[Span]) -> list[float]:
        """Return how many spans, in seconds since the epoch, ran at once in each stretch, on average."""
        step, begins = self._step, self._begins
        values = [0.0] * (len(self.edges()) - 1)
        for start, stop in spans:
            first, last = max(0.0, start - begins), min(float(self._seconds), stop - begins)
            number = int(first // step)
            while first < last:
                whole = min(last, (number + 1.0) * step)
                values[number] += (whole - first) / step
                first, number = whole, number + 1
        return values

    def pauses(self) -> dict[str, list[Span]]:
        """Return when targets were seen to be paused, in seconds since the epoch."""
        gap = max(1, _GAP // self._moment)
        listed = {}
        for target, moments in self._paused.items():
            stretches: list[list[int]] = []
            for moment in sorted(moments):
                if stretches and moment - stretches[-1][1] <= gap:
                    stretches[-1][1] = moment
                else:
                    stretches.append([moment, moment])
            listed[target] = [
                (float(start * self._moment), float((stop + 1) * self._moment))
                for start, stop in stretches
            ]
        return listed

    def longest(self, spans: Mapping[str, Sequence[Span]]) -> Lanes:
        """Return the names whose spans are the longest together, with these in this timeline's unit.

        :param spans: in seconds since the epoch.
        """
        _, unit = self.unit
        begins = self._begins
        listed = sorted(spans.items(), key=lambda item: sum(a - b for a, b in item[1]))
        return [
            (name, [((start - begins) / unit, (stop - begins) / unit) for start, stop in own])
            for name, own in listed[:_NAMES]
        ]
