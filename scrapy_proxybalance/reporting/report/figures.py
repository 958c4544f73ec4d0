"""What a report counts, attempt by attempt: in all, per proxy and per target."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from functools import partial
from typing import TYPE_CHECKING

import attrs

from .timeline import Timeline

if TYPE_CHECKING:
    from .reading import Row

_CARRIED = ("success", "target_signal")


def percentile(ordered: array[float], part: float) -> float | None:
    """Return a percentile of ordered values, linear between two of them; ``None`` of none.

    :param part: 0.5 for the median.
    """
    if not ordered:
        return None
    place = part * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@attrs.define
class ProxyRow:
    """One proxy. ``outcomes`` and ``failures`` count; ``latencies`` are of successes, in seconds."""

    requests: int = 0
    with_session: int = 0
    outcomes: Counter[str] = attrs.field(factory=Counter)
    failures: Counter[str] = attrs.field(factory=Counter)
    sessions: set[str] = attrs.field(factory=set)
    latencies: array[float] = attrs.field(factory=partial(array, "d"))

    @property
    def success_rate(self) -> float | None:
        """Successes and refusals by the target, among what was judged; 0 to 1."""
        judged = self.requests - self.outcomes["ignored"]
        return sum(self.outcomes[name] for name in _CARRIED) / judged if judged else None

    @property
    def failed(self) -> int:
        """Attempts that were not carried."""
        return sum(
            count
            for name, count in self.outcomes.items()
            if name not in _CARRIED and name != "ignored"
        )

    def latency(self) -> tuple[float | None, float | None, float | None]:
        """Return the mean, the median and the 95th percentile, in seconds."""
        ordered = array("d", sorted(self.latencies))
        mean = sum(ordered) / len(ordered) if ordered else None
        return mean, percentile(ordered, 0.5), percentile(ordered, 0.95)


@attrs.define
class TargetRow:
    """One target. ``pauses``: refusals that were the first to come while it was not paused."""

    requests: int = 0
    refusals: int = 0
    pauses: int = 0
    _paused: bool = False

    def add(self, row: Row) -> None:
        """Count an attempt, in the order in which they ended."""
        self.requests += 1
        refused = row.outcome == "target_signal"
        self.refusals += refused
        self.pauses += refused and row.target_paused and not self._paused
        self._paused = row.target_paused


@attrs.define
class Report:
    """A crawl's attempts, counted. Those that did not go through the pool count only for ``others``."""

    proxies: defaultdict[str, ProxyRow] = attrs.field(factory=lambda: defaultdict(ProxyRow))
    targets: defaultdict[str, TargetRow] = attrs.field(factory=lambda: defaultdict(TargetRow))
    requests: int = 0
    others: int = 0
    timeline: Timeline = attrs.field(factory=Timeline)
    first: str = ""
    last: str = ""

    def add(self, row: Row) -> None:
        """Count an attempt."""
        self.first = min(self.first or row.timestamp, row.timestamp)
        self.last = max(self.last, row.timestamp)
        self.targets[row.target].add(row)
        if row.proxy is None:
            self.others += 1
            return
        self.requests += 1
        self.timeline.add(row)
        proxy = self.proxies[row.proxy]
        proxy.requests += 1
        proxy.outcomes[row.outcome] += 1
        if row.failure is not None:
            proxy.failures[row.failure] += 1
        if row.session is not None:
            proxy.sessions.add(row.session)
            proxy.with_session += 1
        if row.latency is not None and row.outcome == "success":
            proxy.latencies.append(row.latency)

    def failures(self) -> Counter[str]:
        """Return the attempts that failed, by class."""
        return sum((proxy.failures for proxy in self.proxies.values()), Counter())

    def busiest_first(self) -> list[tuple[str, ProxyRow]]:
        """Return the proxies, those with the most requests first."""
        return sorted(self.proxies.items(), key=lambda item: (-item[1].requests, item[0]))

    @property
    def jain(self) -> float | None:
        """Jain's index of the requests over the proxies: 1 if all have the same (Jain et al., 1984)."""
        squares = sum(proxy.requests**2 for proxy in self.proxies.values())
        return self.requests**2 / (len(self.proxies) * squares) if squares else None

    @property
    def top_share(self) -> float | None:
        """The busiest proxy's share of the requests, 0 to 1."""
        if not self.requests:
            return None
        return max(proxy.requests for proxy in self.proxies.values()) / self.requests
