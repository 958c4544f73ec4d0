"""A pool at one moment, as the log, the live view and the console show it to people.

Costs little in large pools: all proxies are counted, and only those that are shown are looked into.
"""

from __future__ import annotations

from collections import Counter
from heapq import nlargest, nsmallest
from typing import TYPE_CHECKING

import attrs

from ..core import TargetState
from ..util.wording import counted
from .figures import ProxyFigures
from .standing import Standing, standing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ..core import ProxySnapshot
    from .figures import Figures
    from .observed import ObservedCrawl

# So many targets are named in a line.
_NAMED = 3
# The worst first. Proxies in a cooldown or on trial come before those in service; unknown ones are
# no worse than healthy ones.
_RANKS = {
    Standing.OUT: 0,
    Standing.UNREACHABLE: 1,
    Standing.COOLING: 2,
    Standing.DRAINED: 3,
    Standing.PROBING: 4,
    Standing.RECOVERING: 5,
    Standing.UNPROVEN: 6,
    Standing.HEALTHY: 6,
}
_IN_SERVICE = (Standing.RECOVERING, Standing.UNPROVEN, Standing.HEALTHY)
_NOTHING_YET = ProxyFigures()

#: What the cells of a :class:`ProxyRow` are.
HEADINGS = ("proxy", "state", "in flight", "requests", "success", "p95", "cooldown left")


@attrs.frozen
class ProxyRow:
    """One proxy: ``state`` for itself, and all ``cells`` as texts, by :data:`HEADINGS`."""

    state: Standing
    cells: tuple[str, ...]


@attrs.frozen
class TargetRow:
    """One target that gets no traffic, or only a probe.

    ``left``: seconds until it is asked again, ``None`` where that is not a matter of time; ``held``:
    requests that the scheduler holds for it.
    """

    name: str
    state: TargetState
    left: float | None
    held: int

    def __str__(self) -> str:
        left = "" if self.left is None else f", {self.left:.0f} s left"
        return f"target {printable(self.name)}: {self.state.value}{left}, held {self.held}"


class PoolView:
    """How a pool is doing at the moment at which this is made.

    :param context: whose pool.
    :param figures: what has been counted so far; sampled first.
    """

    def __init__(self, context: ObservedCrawl, figures: Figures) -> None:
        self._pool, self._figures = context.pool, figures
        self._now = context.clock()
        figures.sample(self._now)
        self._states = [(one.proxy.name, standing(one)) for one in self._pool.overview(self._now)]

    def __len__(self) -> int:
        """Return how many proxies there are."""
        return len(self._states)

    def line(self, *, targets: bool = True) -> str:
        """Return how it is doing in one line.

        :param targets: whether to name those that are paused.
        """
        states = Counter(state for _, state in self._states)
        shown = [f"{states[state]} {state.value}" for state in Standing if states[state]]
        parts = [
            f"Proxies: {', '.join(shown) or 'none'}",
            f"in flight {self._pool.in_flight} of {self._pool.capacity}",
        ]
        if held := self._figures.held:
            parts.append(f"held {held}")
        if resting := self._pool.resting_pairs(self._now):
            parts.append(f"{counted(resting, 'proxy', 'proxies')} resting at a target")
        paused = list(self._paused()) if targets else []
        if paused:
            more = f" and {len(paused) - _NAMED} more" if len(paused) > _NAMED else ""
            parts.append(f"paused: {', '.join(paused[:_NAMED])}{more}")
        return "; ".join(parts)

    def requests_line(self) -> str:
        """Return in one line what the pool has carried."""
        return f"Requests: {self._figures.requests}, success {share(self._figures.success_rate)}"

    def targets(self) -> Iterator[TargetRow]:
        """Give the targets that have refused and are paused, probing or suspended."""
        gate = self._pool.targets
        for name, target in self._figures.refusing():
            state = gate.state(name)
            if state.gets_traffic:
                continue
            ready_at = gate.ready_at(name, self._now) if state is TargetState.PAUSED else None
            left = None if ready_at is None else ready_at - self._now
            yield TargetRow(name, state, left, target.held)

    def _paused(self) -> Iterator[str]:
        for row in self.targets():
            name = printable(row.name)
            if row.state is TargetState.SUSPENDED:
                yield f"{name} (suspended)"
            elif row.state is TargetState.PAUSED:
                yield name if row.left is None else f"{name} ({row.left:.0f} s left)"

    def worst(self, count: int) -> list[ProxyRow]:
        """Return so many proxies at most: by state, then those that succeed the least."""

        def badness(one: tuple[str, Standing]) -> tuple[int, float, int]:
            figures = self._figures_of(one[0])
            rate = figures.success_rate
            return _RANKS[one[1]], 1.0 if rate is None else rate, -figures.requests

        return self._rows([name for name, _ in nsmallest(count, self._states, badness)])

    def busiest(self, count: int) -> list[ProxyRow]:
        """Return so many proxies at most: those that have carried the most.

        Up to half of them are, at the end, such as are not in service.
        """

        def requests(name: str) -> int:
            return self._figures_of(name).requests

        working: list[str] = []
        troubled: list[str] = []
        for name, state in self._states:
            (working if state in _IN_SERVICE else troubled).append(name)
        for_troubled = min(len(troubled), max(count // 2, count - len(working)))
        return self._rows(
            nlargest(count - for_troubled, working, requests)
            + nlargest(for_troubled, troubled, requests)
        )

    def _figures_of(self, name: str) -> ProxyFigures:
        return self._figures.proxies.get(name, _NOTHING_YET)

    def _rows(self, names: Collection[str]) -> list[ProxyRow]:
        return [
            ProxyRow(standing(one), _cells(one, self._figures_of(one.proxy.name)))
            for one in self._pool.snapshot(self._now, names)
        ]


def _cells(one: ProxySnapshot, figures: ProxyFigures) -> tuple[str, ...]:
    return (
        printable(one.proxy.name),
        standing(one).value,
        f"{one.in_flight}/{one.max_in_flight}",
        str(figures.requests),
        share(figures.success_rate),
        milliseconds(figures.latency_percentile(95)),
        f"{one.cooldown_left:.0f} s" if one.cooldown_left else "",
    )


def printable(text: str) -> str:
    """Return a text in which whatever a terminal might take for a command is replaced."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def share(part: float | None) -> str:
    """Return a part of 1 as per cent; ``None`` as a dash."""
    return "-" if part is None else f"{part:.1%}"


def milliseconds(seconds: float | None) -> str:
    """Return a time in milliseconds; ``None`` as a dash."""
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
