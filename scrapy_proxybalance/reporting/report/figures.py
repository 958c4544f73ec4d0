"""What a report counts, attempt by attempt: in all, per proxy and per target."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import attrs

from .timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .reading import Row
    from .timeline import Span

_REFUSED = "target_signal"
_CARRIED = ("success", _REFUSED)


def percentile(ordered: Sequence[float], part: float) -> float | None:
    """Return a percentile of ordered values, linear between two of them; ``None`` of none.

    Not ``statistics.quantiles()``, which works out all of them.

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
    """One target that has refused. ``pauses``: refusals that led to a pause, or to its end."""

    refusals: int = 0
    pauses: int = 0
    _paused: bool = False
    _paused_at: float = 0.0

    def add(self, row: Row) -> None:
        """Count an attempt, in the order in which they ended."""
        if row.outcome == _REFUSED:
            self.refusals += 1
            # One that was under way when the pause began is part of it; one sent since is a probe.
            if row.target_paused and (not self._paused or row.timestamp > self._paused_at):
                self.pauses += 1
                self._paused_at = row.timestamp + (row.duration or 0.0)
        self._paused = row.target_paused


@attrs.frozen(kw_only=True)
class CrawlPart:
    """What a crawl knows and its request log does not. Times in seconds since the epoch.

    ``began``, ``ended``: the crawl. ``capacities``: for every proxy of the pool, its part of the
    requests that the pool carries at once, 0 to 1. ``cooldowns``: how many each had. ``outages``: how
    often nothing got through a gateway, by its name, or through any, by the empty text. ``out``: when
    proxies cooled down, were probed, drained or out. ``paused``: when targets were paused or suspended.
    """

    began: float
    ended: float
    capacities: Mapping[str, float]
    cooldowns: Mapping[str, int]
    outages: Mapping[str, int]
    out: Mapping[str, Sequence[Span]]
    paused: Mapping[str, Sequence[Span]]


@attrs.define
class Report:
    """A crawl's attempts, counted. Those that did not go through the pool count only for ``others``.

    It grows by about 8 bytes with a success, 100 bytes with a session, and 2 KB with a proxy.
    ``reasons`` counts failures by outcome and class. ``first`` and ``last`` are when attempts were sent,
    in seconds since the epoch. ``crawl`` is there only if the crawl itself has made the report; then all
    proxies of its pool are counted.
    """

    proxies: defaultdict[str, ProxyRow] = attrs.field(factory=lambda: defaultdict(ProxyRow))
    targets: defaultdict[str, TargetRow] = attrs.field(factory=lambda: defaultdict(TargetRow))
    requests: int = 0
    others: int = 0
    reasons: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    timeline: Timeline = attrs.field(factory=Timeline)
    first: float = inf
    last: float = 0.0
    crawl: CrawlPart | None = None

    def add(self, row: Row) -> None:
        """Count an attempt."""
        self.first = min(self.first, row.timestamp)
        self.last = max(self.last, row.timestamp)
        # Of a broad crawl with a million targets, only those that refuse have something to tell.
        if row.outcome == _REFUSED or row.target in self.targets:
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
            self.reasons[row.outcome, row.failure] += 1
        if row.session is not None:
            proxy.sessions.add(row.session)
            proxy.with_session += 1
        if row.latency is not None and row.outcome == "success":
            proxy.latencies.append(row.latency)

    def complete(self, part: CrawlPart) -> None:
        """Add what only the crawl knows, when it is over."""
        self.crawl = part
        for name in part.capacities:
            self.proxies[name]  # those that carried nothing have a row, too
        if self.requests:
            self.timeline.cover(part.began, part.ended)

    def due(self, name: str) -> float:
        """Return a proxy's fair share, 0 to 1: that of its capacity, or an even one if nobody knows."""
        if self.crawl is None:
            return 1.0 / len(self.proxies)
        return self.crawl.capacities.get(name, 0.0)

    def pauses(self) -> Mapping[str, Sequence[Span]]:
        """Return when targets were paused, in seconds since the epoch, as far as known."""
        return self.timeline.pauses() if self.crawl is None else self.crawl.paused

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
