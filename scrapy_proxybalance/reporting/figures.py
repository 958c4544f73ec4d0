"""What was counted over a crawl, in all, per proxy and per target: what every other reporter tells."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from functools import partial
from typing import TYPE_CHECKING

import attrs

from ..core import Outcome
from ..core.events import (
    AttemptEnded,
    CooldownStarted,
    CooldownTakenBack,
    GatewayTripped,
    PairRested,
    PoolTripped,
    ProbeStarted,
    ProxyOut,
    ProxyRecovered,
    SessionEnded,
    SessionReassigned,
    SessionStarted,
    TargetPaused,
    TargetRamping,
    TargetRefused,
    TargetReleased,
    TargetSuspended,
)
from ..core.outcome import TIMEOUT
from ..core.structures.bounded_dict import BoundedDict
from .concurrency import Concurrency
from .report.figures import percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..core import Limit, Pool
    from ..core.events import Event

# Percentiles are those of a proxy's last so many responses, exactly.
_LATENCIES = 500
# Of a crawl with more targets than this, only those that refused are counted from there on.
_TARGETS = 1000


@attrs.define
class ProxyFigures:
    """One proxy's counts, by the values of :class:`Outcome`. Latencies in seconds."""

    requests: int = 0
    outcomes: Counter[str] = attrs.field(factory=Counter)
    failures: Counter[str] = attrs.field(factory=Counter)
    cooldowns: int = 0
    sessions: int = 0
    latencies: deque[float] = attrs.field(factory=partial(deque, maxlen=_LATENCIES))

    @property
    def success_rate(self) -> float | None:
        """Successes among what was judged; what was ignored does not count."""
        return share_of_successes(self.requests, self.outcomes)

    def latency_percentile(self, percent: int) -> float | None:
        """Return a percentile of the latencies, in seconds."""
        return percentile(sorted(self.latencies), percent / 100)


@attrs.define
class TargetFigures:
    """One target's counts.

    ``reopened``: pauses that ended with an answer. ``seconds_paused``: in all, as of the last sample;
    ``last_pause``: of the last one that has ended. ``held``: requests in the scheduler, as of the last
    sample; ``held_max``: the most of all samples.
    """

    requests: int = 0
    signals: int = 0
    pauses: int = 0
    reopened: int = 0
    suspended: bool = False
    seconds_paused: float = 0.0
    last_pause: float = 0.0
    held: int = 0
    held_max: int = 0
    _paused_since: float | None = None
    _counted_until: float = 0.0

    @property
    def has_refused(self) -> bool:
        """Whether there is more to tell of it than that it was crawled."""
        return bool(self.signals or self.pauses or self.suspended)

    def pause(self, now: float) -> None:
        """Count a pause; one that follows a refused probe goes on with the one before."""
        self.pauses += 1
        if self._paused_since is None:
            self._paused_since = self._counted_until = now

    def sample(self, now: float, held: int) -> None:
        """Take note of how things stand."""
        if self._paused_since is not None:
            self.seconds_paused += now - self._counted_until
            self._counted_until = now
        self.held = held
        self.held_max = max(self.held_max, held)

    def end_pause(self, now: float) -> None:
        """Take note that no pause is running any more; all of it has been sampled."""
        if self._paused_since is not None:
            self.last_pause = now - self._paused_since
            self._paused_since = None


@attrs.define
class GatewayFigures:
    """One gateway's counts, of those that have a limit."""

    in_flight_max: int = 0
    rejections: int = 0
    trips: int = 0


class Figures:
    """An observer that counts. A request counts when its attempt ends.

    :param pool: whose events it sees.
    :param held: says how many requests the scheduler holds for a target.
    """

    def __init__(self, pool: Pool, held: Callable[[str], int] = lambda _: 0) -> None:
        self._pool = pool
        self._held = held
        self.proxies: defaultdict[str, ProxyFigures] = defaultdict(ProxyFigures)
        self.targets: defaultdict[str, TargetFigures] = defaultdict(TargetFigures)
        #: Of gateways that have a limit, as of the last sample.
        self.gateways: defaultdict[str, GatewayFigures] = defaultdict(GatewayFigures)
        self.limits: tuple[Limit, ...] = ()
        self.concurrency = Concurrency()
        #: How often each kind of event happened, but for the end of an attempt.
        self.events: Counter[type[Event]] = Counter()
        self.sessions_ended: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.requests = 0
        self.in_flight_max = 0
        #: Attempts that an adaptive timeout ended; successes of pages that this had happened to.
        self.cut_off = 0
        self.rescued = 0
        #: The proxies that have rested at a target, by target.
        self.rested: BoundedDict[str, set[str]] = BoundedDict(_TARGETS)
        #: Leases for which there was an idle connection, as far as was known.
        self.reused = 0
        pool.events.subscribe(self._lease_ended, AttemptEnded)
        pool.events.subscribe(
            self._count,
            *(CooldownStarted, ProbeStarted, ProxyOut, ProxyRecovered),
            *(SessionStarted, SessionReassigned, SessionEnded),
            *(CooldownTakenBack, GatewayTripped, PoolTripped, PairRested, TargetRefused),
        )
        pool.events.subscribe(
            self._target_changed, *(TargetPaused, TargetRamping, TargetReleased, TargetSuspended)
        )

    @property
    def success_rate(self) -> float | None:
        """That of the whole pool, as of one proxy."""
        return share_of_successes(self.requests, self.outcomes)

    def refusing(self) -> Iterator[tuple[str, TargetFigures]]:
        """Give the targets that have ever refused, by name."""
        for name, target in self.targets.items():
            if target.has_refused:
                yield name, target

    @property
    def held(self) -> int:
        """How many requests the scheduler holds for these, as of the last sample."""
        return sum(target.held for _, target in self.refusing())

    def sample(self, now: float) -> None:
        """Look at what only lasts: how many requests are held, and the pauses that are running.

        :param now: seconds on the pool's clock.
        """
        for name, target in self.refusing():
            target.sample(now, self._held(name))
        self.limits = self._pool.gateway_limits()
        for limit in self.limits:
            gateway = self.gateways[limit.name]
            gateway.in_flight_max = max(gateway.in_flight_max, limit.in_flight)
        self.concurrency.sample(now)

    def _lease_ended(self, event: AttemptEnded) -> None:
        self.requests += 1
        # What is in flight was at its most just before some attempt ended.
        self.in_flight_max = max(self.in_flight_max, event.in_flight)
        attempt, outcome = event.attempt, event.outcome
        proxy = self.proxies[attempt.proxy.name]
        proxy.requests += 1
        proxy.outcomes[outcome.value] += 1
        self.outcomes[outcome.value] += 1
        self.concurrency.ended(event.now - attempt.started_at)
        if attempt.gateway is not None:
            gateway = self.gateways[attempt.gateway.name]
            gateway.in_flight_max = max(gateway.in_flight_max, attempt.gateway.limit.in_flight + 1)
            gateway.rejections += outcome is Outcome.GATEWAY_FAULT
        if event.failure is not None:
            proxy.failures[event.failure] += 1
            self.failures[event.failure] += 1
        self.reused += attempt.carried > 0
        self.cut_off += event.failure == TIMEOUT and attempt.timeout is not None
        self.rescued += outcome is Outcome.SUCCESS and attempt.cuts > 0
        if event.latency is not None and outcome is Outcome.SUCCESS:
            proxy.latencies.append(event.latency)
        refused = outcome is Outcome.TARGET_SIGNAL
        if refused or attempt.target in self.targets or len(self.targets) < _TARGETS:
            target = self.targets[attempt.target]
            target.requests += 1
            target.signals += refused

    def _count(self, event: Event) -> None:
        self.events[type(event)] += 1
        if isinstance(event, CooldownStarted):
            self.proxies[event.proxy.name].cooldowns += 1
        elif isinstance(event, SessionStarted | SessionReassigned):
            self.proxies[event.proxy.name].sessions += 1
        elif isinstance(event, PairRested):
            if event.target not in self.rested:
                self.rested[event.target] = set()
            self.rested[event.target].add(event.proxy.name)
        elif isinstance(event, GatewayTripped):
            self.gateways[event.gateway].trips += 1
        elif isinstance(event, SessionEnded):
            self.sessions_ended[event.reason] += 1

    def _target_changed(
        self, event: TargetPaused | TargetRamping | TargetReleased | TargetSuspended
    ) -> None:
        target = self.targets[event.target]
        if isinstance(event, TargetReleased):
            target.suspended = False
            return
        if isinstance(event, TargetPaused):
            target.pause(event.now)
        target.sample(event.now, self._held(event.target))
        if isinstance(event, TargetPaused):
            return
        target.end_pause(event.now)
        if isinstance(event, TargetSuspended):
            target.suspended = True
        else:
            target.reopened += 1


def share_of_successes(requests: int, outcomes: Counter[str]) -> float | None:
    """Return the successes, and the refusals by a target, among what was judged; 0 to 1."""
    judged = requests - outcomes[Outcome.IGNORED.value]
    carried = outcomes[Outcome.SUCCESS.value] + outcomes[Outcome.TARGET_SIGNAL.value]
    return carried / judged if judged else None
