"""The pool against a model that keeps its own books, over long random lives.

The model knows what it asked for, what it was granted and what the events said; it never looks inside
the pool. From that it works out, before each request, which proxies may be leased and which may not.
"""

from __future__ import annotations

from math import ceil, floor
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scrapy_proxybalance.core import (
    Attempt,
    Blocked,
    ConfigurationError,
    GatewayPolicy,
    HealthPolicy,
    NoProxyAvailableError,
    NoProxyMatchesError,
    Outcome,
    Pool,
    PoolPolicy,
    Proxy,
    Rate,
    SessionLostError,
)
from scrapy_proxybalance.core.errors import TargetRefusedError
from scrapy_proxybalance.core.events import (
    AttemptEnded,
    AttemptStarted,
    CooldownShortened,
    CooldownStarted,
    CooldownTakenBack,
    GatewayTripped,
    PairRested,
    PoolTripped,
    ProbeStarted,
    ProxyOut,
    ProxyRecovered,
    ProxyRemoved,
    SessionEnded,
    SessionReassigned,
    SessionStarted,
    TargetRefused,
)
from scrapy_proxybalance.core.outcome import HOST_REFUSED, NO_RESPONSE, PROXY_AUTH

from .helpers import acquire, blocked

if TYPE_CHECKING:
    from scrapy_proxybalance.core.events import Event

# Without the phase that explains failures: it would take minutes.
PHASES = (Phase.explicit, Phase.generate, Phase.shrink)
SESSION_TTL = 40.0
COUNTRIES = ("de", "fr")
NAMES = [f"p{number}" for number in range(7)]
# p0 to p2 share a gateway with a fixed limit, p3 and p4 one whose limit is learned; the others are
# alone.
HOSTS = ["fixed.test"] * 3 + ["learned.test"] * 2 + ["p5.test", "p6.test"]
FIXED, LEARNED = "fixed.test:8080", "learned.test:8080"
LEARNED_MAX = 5
# Of credentials that have never worked, so many requests at once.
UNTRIED = 3
ANSWERED = (Outcome.SUCCESS, Outcome.TARGET_SIGNAL)

caps = st.none() | st.integers(1, 3)
# Intervals that are binary fractions, so that the model's sums are exact.
rates = st.none() | st.builds(
    Rate, st.sampled_from([1.0, 2.0]), st.sampled_from([0.5, 2.0, 8.0]), st.integers(1, 3)
)
nodes = st.tuples(caps, rates)
choices = st.integers(0, 100)
requests = st.fixed_dictionaries(
    {
        "target": st.sampled_from(["a.test", "b.test"]),
        "session": st.sampled_from([None, None, "s1", "s2", "s3"]),
        "proxy_filter": st.sampled_from(
            [None, None, {"country": "de"}, {"country": "fr"}, {"name": ["p0", "p5"]}]
        ),
        "avoid": st.sets(st.sampled_from(NAMES), max_size=2),
    }
)
endings = st.tuples(
    choices,
    st.sampled_from([*Outcome, Outcome.PROXY_FAULT, Outcome.PROXY_FAULT, Outcome.SUCCESS]),
    st.sampled_from([None] * 6 + [PROXY_AUTH, PROXY_AUTH, HOST_REFUSED, NO_RESPONSE]),
    st.none() | st.floats(0, 30),
)
pauses = st.sampled_from([0.25, 0.5, 1.0, 2.0, 8.0])


@attrs.define(eq=False)
class Known:
    """What the model knows of one proxy."""

    proxy: Proxy
    cap: int
    rate: Rate | None
    open: list[Attempt] = attrs.field(factory=list)
    sent: list[float] = attrs.field(factory=list)  # since its rate was last changed
    arrival: float = float("-inf")
    cooling_until: float | None = None  # until a probe succeeds
    probe: Attempt | None = None
    out: bool = False  # until it is asked again
    times_out: int = 0
    worked: bool = False
    refusals: int = 0  # of its credentials, since anything came back
    before: set[Attempt] = attrs.field(factory=set)  # leases on other credentials
    own_limit: int | None = None
    rests: dict[str, float] = attrs.field(factory=dict)  # target -> until
    drained: bool = False
    leaving: bool = False

    @property
    def conforms_at(self) -> float:
        if self.rate is None:
            return float("-inf")
        return self.arrival - (self.rate.burst - 1) * self.rate.period / self.rate.requests

    @property
    def free_at(self) -> float | None:
        """When it may be leased if nothing but the time changes; ``None`` for never."""
        if self.out or self.drained or self.leaving:
            return None
        if self.probe is not None or len(self.open) >= self.carries:
            return None
        return max(self.conforms_at, self.cooling_until or float("-inf"))

    @property
    def carries(self) -> int:
        if self.cooling_until is not None:
            return self.cap  # only a probe
        most = self.cap if self.own_limit is None else min(self.cap, self.own_limit)
        return most if self.worked else min(most, max(1, UNTRIED - self.refusals))

    def settle(self, now: float) -> None:
        """One that is out is asked again when its time has come."""
        if self.out and not (self.drained or self.leaving) and now >= (self.cooling_until or 0.0):
            self.out = False

    def begin_again(self) -> None:
        """It has other credentials, or somebody says that they have been put right."""
        self.out, self.cooling_until, self.probe = False, None, None
        self.worked, self.times_out, self.refusals = False, 0, 0
        self.before = set(self.open)

    def rests_at(self, target: str, now: float) -> bool:
        return now < self.rests.get(target, float("-inf"))

    def answered(self, target: str) -> None:
        self.rests.pop(target, None)

    def in_service(self, now: float) -> bool:
        cooling = self.cooling_until is not None and now < self.cooling_until
        return not (self.out or self.drained or self.leaving or cooling)

    def eligible(self, now: float) -> bool:
        return self.free_at is not None and now >= self.free_at

    def room(self, now: float) -> int:
        """How many leases it can take at this moment."""
        if not self.eligible(now):
            return 0
        free = 1 if self.cooling_until is not None else self.carries - len(self.open)
        if self.rate is None:
            return free
        interval = self.rate.period / self.rate.requests
        arrivals = [max(now, self.arrival) + number * interval for number in range(1, free)]
        tolerance = (self.rate.burst - 1) * interval
        return 1 + sum(arrival - tolerance <= now for arrival in arrivals)

    def grant(self, attempt: Attempt, now: float) -> None:
        self.open.append(attempt)
        self.sent.append(now)
        if self.rate is not None:
            interval = self.rate.period / self.rate.requests
            self.arrival = max(now, self.arrival) + interval
            for index, start in enumerate(self.sent):
                allowed = self.rate.burst + floor((now - start) / interval + 1e-9)
                assert len(self.sent) - index <= allowed, "more were granted than the rate allows"


class PoolMachine(RuleBasedStateMachine):
    strategy = "weighted"

    @initialize(
        seed=st.integers(0, 1000),
        cap=st.integers(1, 4),
        rate=st.none() | rates,
        session_lost=st.sampled_from(["reassign", "wait", "fail"]),
        session_limit=st.sampled_from([2, 100]),
        first=st.lists(nodes, min_size=2, max_size=5),
        gateway_cap=st.integers(1, 6),
    )
    def begin(
        self,
        seed: int,
        cap: int,
        rate: Rate | None,
        session_lost: str,
        session_limit: int,
        first: list[tuple[int | None, Rate | None]],
        gateway_cap: int,
    ) -> None:
        self.gateway_cap = gateway_cap
        # Until an outage has been called, or a learned limit may bind: after that the model knows what
        # may go at most, but not what has to.
        self.exact = True
        self.now = 0.0
        self.versions = 0
        self.known: dict[str, Known] = {}
        self.pinned: dict[str, str] = {}
        self.used: dict[str, float] = {}
        self.refused: set[str] = set()  # targets that no proxy goes to, for a while
        self.leases: list[Attempt] = []
        self.ending: Attempt | None = None
        self.events: list[Event] = []
        self.policy = PoolPolicy(
            strategy=self.strategy,
            max_in_flight=cap,
            rate=rate,
            session_ttl=SESSION_TTL,
            session_limit=session_limit,
            session_lost=session_lost,
            health=HealthPolicy(failure_threshold=2, cooldown=8, cooldown_max=30),
            gateways_by_name={
                FIXED: GatewayPolicy(max_in_flight=gateway_cap),
                LEARNED: GatewayPolicy(start=LEARNED_MAX, adaptive_max=LEARNED_MAX),
            },
        )
        self.pool = Pool((), self.policy, rng=Random(seed))
        self.pool.events.subscribe(self.notice)
        for name, (own_cap, own_rate) in zip(NAMES, first, strict=False):
            self.add(name, own_cap, own_rate)

    # What the events say

    def notice(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, CooldownStarted):
            self.known[event.proxy.name].cooling_until = event.until
        elif isinstance(event, ProbeStarted):
            assert self.known[event.proxy.name].probe is None, "a second probe was started"
        elif isinstance(event, ProxyRecovered):
            known = self.known[event.proxy.name]
            assert known.probe is self.ending, "something else than its probe brought it back"
            known.cooling_until = None
        elif isinstance(event, ProxyOut):
            known = self.known[event.proxy.name]
            assert not known.out, "it was out already"
            assert known.probe in (None, self.ending), "something else than its probe put it out"
            assert event.until > event.now
            known.out, known.cooling_until = True, event.until
            known.times_out += 1
        elif isinstance(event, PairRested):
            known = self.known[event.proxy.name]
            assert not known.rests_at(event.target, event.now)
            known.rests[event.target] = event.until
        elif isinstance(event, TargetRefused):
            assert any(known.rests_at(event.target, event.now) for known in self.known.values())
            self.refused.add(event.target)
        elif isinstance(event, CooldownShortened):
            known = self.known[event.proxy.name]
            assert known.cooling_until is not None
            known.cooling_until = event.now
        elif isinstance(event, CooldownTakenBack):
            known = self.known[event.proxy.name]
            assert known.out or known.cooling_until is not None
            known.out, known.cooling_until, known.probe = False, None, None
            known.times_out = 0
        elif isinstance(event, GatewayTripped | PoolTripped):
            self.exact = False
        elif isinstance(event, SessionStarted):
            assert event.session not in self.pinned
            self.pinned[event.session] = event.proxy.name
        elif isinstance(event, SessionReassigned):
            assert self.pinned[event.session] == event.lost
            self.pinned[event.session] = event.proxy.name
        elif isinstance(event, SessionEnded):
            del self.pinned[event.session]
            if event.reason == "expired":
                assert event.now - self.used[event.session] > SESSION_TTL

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    # Administration

    def made(self, name: str, cap: int | None, rate: Rate | None, version: int) -> Proxy:
        return Proxy(
            name=name,
            host=HOSTS[int(name[1:])],
            port=8080,
            username=f"user-{version}",
            password="secret-secret",
            max_in_flight=cap,
            rate=rate,
            country=COUNTRIES[int(name[1:]) % 2],
        )

    def add(self, name: str, cap: int | None, rate: Rate | None) -> None:
        self.versions += 1
        proxy = self.made(name, cap, rate, self.versions)
        if name in self.known:
            with pytest.raises(ConfigurationError):
                self.pool.add(proxy, self.now)
            return
        self.pool.add(proxy, self.now)
        self.known[name] = Known(
            proxy, cap or self.policy.max_in_flight, rate if rate is not None else self.policy.rate
        )

    def remove(self, name: str) -> None:
        self.pool.remove(name, self.now)
        self.known[name].leaving = True
        self.forget_if_gone(name)

    def update(self, name: str, cap: int | None, rate: Rate | None, new_credentials: bool) -> None:
        known = self.known[name]
        changes: dict[str, Any] = {"max_in_flight": cap, "rate": rate}
        if new_credentials:
            self.versions += 1
            changes["username"] = f"user-{self.versions}"
        known.proxy = attrs.evolve(known.proxy, **changes)
        self.pool.update(known.proxy, self.now)
        rate = rate if rate is not None else self.policy.rate
        if known.rate is None or rate is None:
            known.arrival = float("-inf")
        if rate != known.rate:
            known.sent = []
        known.cap, known.rate = cap or self.policy.max_in_flight, rate
        if known.leaving:
            known.leaving = known.drained = False
        if known.out or new_credentials:
            known.begin_again()

    @rule(
        action=st.sampled_from(["add", "remove", "update", "new credentials", "revive"]),
        name=st.sampled_from(NAMES),
        limits=nodes,
    )
    def manage(self, action: str, name: str, limits: tuple[int | None, Rate | None]) -> None:
        if action == "revive":
            for out in [other for other, known in self.known.items() if known.out]:
                self.update(out, *limits, new_credentials=True)
        elif action == "add" or name not in self.known:
            self.add(name, *limits)
        elif action == "remove":
            self.remove(name)
        else:
            self.update(name, *limits, new_credentials=action == "new credentials")

    @rule(action=st.sampled_from(["drain", "enable", "end cooldown"]), choice=choices)
    def operate(self, action: str, choice: int) -> None:
        if not self.known:
            return
        name = list(self.known)[choice % len(self.known)]
        known = self.known[name]
        if action == "drain":
            new = not (known.drained or known.leaving)
            assert self.pool.drain(name, self.now) is new
            known.drained = True
        elif action == "enable":
            new = (known.drained or known.out) and not known.leaving
            assert self.pool.enable(name, self.now) is new
            if not known.leaving:
                known.drained = False
                if known.out:
                    known.begin_again()
        else:
            rests = known.cooling_until is not None and self.now < known.cooling_until
            ended = self.pool.end_cooldown(name, self.now)
            assert ended or not rests or known.out

    def forget_if_gone(self, name: str) -> None:
        gone = self.known[name].leaving and not self.known[name].open
        assert (name not in self.pool) is gone
        if gone:
            assert isinstance(self.last_but_lease_ended(), ProxyRemoved)
            del self.known[name]

    def last_but_lease_ended(self) -> Event:
        return next(event for event in reversed(self.events) if not isinstance(event, AttemptEnded))

    # Leases

    @rule(steps=st.lists(requests | endings | pauses, min_size=8, max_size=20))
    def traffic(self, steps: list[Any]) -> None:
        """Requests, endings and pauses, many in one rule: single steps never get far."""
        for step in steps:
            if isinstance(step, dict):
                self.acquire(**step)
            elif isinstance(step, float):
                self.now += step
            elif self.open_leases:
                choice, outcome, failure, latency = step
                self.end(choice, outcome, failure=failure, latency=latency)
        self.settle()

    def settle(self) -> None:
        self.pool.available(self.now)
        for known in self.known.values():
            known.settle(self.now)

    def acquire(self, target: str, session: str | None, proxy_filter: Any, avoid: set[str]) -> None:
        free_before = self.pool.available(self.now)
        self.settle()
        held = self.ask(target, session, proxy_filter)
        pinned = self.pinned.get(session) if session is not None else None
        fitting = [known for known in self.known.values() if self.fits(known.proxy, proxy_filter)]
        eligible = {
            known.proxy.name
            for known in fitting
            if known.eligible(self.now)
            and self.gateway_room(known) > 0
            and not known.rests_at(target, self.now)
        }
        try:
            attempt: Attempt | Exception = acquire(
                self.pool,
                self.now,
                target=target,
                session=session,
                proxy_filter=proxy_filter,
                avoid=avoid,
            )
        except (NoProxyAvailableError, NoProxyMatchesError, SessionLostError) as error:
            attempt = error
        if session is None and proxy_filter is None and not self.pool.narrows(target):
            assert (free_before > 0) is isinstance(attempt, Attempt)
        if isinstance(attempt, Attempt):
            assert held is None
            self.check_grant(attempt, session, pinned, eligible, avoid)
        else:
            assert type(held) is (
                Blocked if isinstance(attempt, NoProxyAvailableError) else type(attempt)
            )
            self.check_refusal(attempt, target, session, pinned, fitting, eligible)

    def gateway_room(self, known: Known) -> float:
        """How many leases the proxy's gateway can take, as far as the model knows."""
        gateway = known.proxy.gateway
        caps = {FIXED: self.gateway_cap, LEARNED: LEARNED_MAX}
        return caps.get(gateway, float("inf")) - sum(
            len(other.open) for other in self.known.values() if other.proxy.gateway == gateway
        )

    def check_grant(
        self,
        attempt: Attempt,
        session: str | None,
        pinned: str | None,
        eligible: set[str],
        avoid: set[str],
    ) -> None:
        name = attempt.proxy.name
        known = self.known[name]
        assert known.eligible(self.now), "a lease on a proxy that is full, resting or gone"
        assert self.gateway_room(known) > 0, "a lease through a gateway that is full"
        assert attempt.proxy is known.proxy
        assert attempt.probe is (known.cooling_until is not None)
        if pinned is not None and pinned in self.known and self.known[pinned].in_service(self.now):
            assert name == pinned, "a session moved though its proxy is in service"
            sharing = list(self.pinned.values()).count(name)
            mine = sum(other.session == session for other in known.open)
            assert mine < ceil(known.cap / sharing), "a session took more than its share"
        else:
            assert name in eligible
            assert name not in avoid or eligible <= avoid or not self.exact
        known.grant(attempt, self.now)
        known.probe = attempt if attempt.probe else known.probe
        self.leases.append(attempt)
        if session is not None:
            assert self.pinned[session] == name
            self.used[session] = self.now

    def ask(
        self, target: str, session: str | None, proxy_filter: Any
    ) -> Blocked | Exception | None:
        try:
            return blocked(
                self.pool, self.now, target=target, session=session, proxy_filter=proxy_filter
            )
        except (NoProxyMatchesError, SessionLostError) as error:
            return error

    def check_refusal(
        self,
        error: Exception,
        target: str,
        session: str | None,
        pinned: str | None,
        fitting: list[Known],
        eligible: set[str],
    ) -> None:
        on = self.known.get(pinned) if pinned is not None else None
        if isinstance(error, TargetRefusedError):
            assert target in self.refused
        elif isinstance(error, NoProxyMatchesError):
            assert not fitting
        elif isinstance(error, SessionLostError):
            assert self.policy.session_lost != "reassign"
            assert pinned is not None
            assert on is None or not on.in_service(self.now)
            assert session in self.pinned
        else:
            assert isinstance(error, NoProxyAvailableError)
            assert error.retry_at is None or error.retry_at > self.now
            if not self.exact:
                return
            if on is not None and on.in_service(self.now):
                has_its_share = any(attempt.session == session for attempt in self.open_leases)
                room = self.gateway_room(on)
                assert has_its_share or not on.eligible(self.now) or room <= 0
            elif pinned is None or self.policy.session_lost == "reassign":
                assert not eligible
                moments = [
                    max(known.free_at, known.rests.get(target, known.free_at))
                    for known in fitting
                    if known.free_at is not None and self.gateway_room(known) > 0
                ]
                if moments:
                    assert error.retry_at is not None
                    assert error.retry_at <= min(moments)

    @staticmethod
    def fits(proxy: Proxy, proxy_filter: Any) -> bool:
        return proxy_filter is None or all(
            getattr(proxy, attribute) in ([value] if isinstance(value, str) else value)
            for attribute, value in proxy_filter.items()
        )

    @property
    def open_leases(self) -> list[Attempt]:
        return [attempt for known in self.known.values() for attempt in known.open]

    @precondition(lambda self: self.open_leases)
    @rule(choice=choices)
    def cancel(self, choice: int) -> None:
        kinds = (CooldownStarted, ProxyOut, ProxyRecovered)
        before = [self.count(kind) for kind in kinds]
        self.end(choice, Outcome.IGNORED)
        assert [self.count(kind) for kind in kinds] == before

    @rule(
        name=st.sampled_from(NAMES),
        outcome=st.sampled_from([(Outcome.PROXY_FAULT, PROXY_AUTH), (Outcome.SUCCESS, None)]),
        count=st.integers(1, 4),
    )
    def one_after_the_other(
        self, name: str, outcome: tuple[Outcome, str | None], count: int
    ) -> None:
        """Requests through one proxy that all end alike: what comes in a row by chance is rare."""
        for _ in range(count):
            before = len(self.leases)
            self.acquire("a.test", None, {"name": [name]}, set())
            if len(self.leases) > before:
                mine = self.open_leases.index(self.leases[-1])
                self.end(mine, outcome[0], failure=outcome[1])
        self.settle()

    @rule(session=st.sampled_from(["s1", "s2", "s3"]))
    def end_session(self, session: str) -> None:
        self.pool.end_session(session, self.now)
        assert session not in self.pinned

    def end(self, choice: int, outcome: Outcome, **how: Any) -> None:
        attempt = self.open_leases[choice % len(self.open_leases)]
        name = attempt.proxy.name
        known = self.known[name]
        known.open.remove(attempt)
        self.ending = attempt
        if outcome is Outcome.GATEWAY_FAULT and known.proxy.gateway == LEARNED:
            self.exact = False
        failure = how.get("failure")
        if failure == PROXY_AUTH and outcome is Outcome.GATEWAY_FAULT:
            outcome = Outcome.PROXY_FAULT  # a gateway's 407 is no word about its load
        if failure == NO_RESPONSE and known.proxy.gateway in (FIXED, LEARNED):
            failure = how["failure"] = None  # what a gateway's limit makes of it is told elsewhere
        if outcome is Outcome.SUCCESS:
            known.answered(attempt.target)
            self.refused.discard(attempt.target)
        assert self.pool.release(attempt, outcome, self.now, **how)
        # How its own limit moves is proven where it is alone; here, that it holds.
        node = self.pool._nodes.get(name)
        own = node.own_limit if node is not None else None
        known.own_limit = int(own.limit) if own is not None and own.limit < known.cap else None
        if attempt not in known.before:
            if outcome in ANSWERED:
                known.worked, known.refusals = True, 0
            elif failure == PROXY_AUTH and outcome is not Outcome.IGNORED:
                known.refusals += 1
        if known.probe is attempt:
            known.probe = None
        self.forget_if_gone(name)

    @precondition(lambda self: len(self.leases) > len(self.open_leases))
    @rule(choice=choices, outcome=st.sampled_from(Outcome))
    def release_again(self, choice: int, outcome: Outcome) -> None:
        ended = [attempt for attempt in self.leases if attempt.ended]
        before = len(self.events), self.pool.snapshot(self.now)
        assert not self.pool.release(ended[choice % len(ended)], outcome, self.now)
        assert (len(self.events), self.pool.snapshot(self.now)) == before

    # Time

    @rule(quarters=st.none() | st.integers(1, 20) | st.integers(1, 200))
    def wait(self, quarters: int | None) -> None:
        """Let time go by: so many quarters of a second, or until something changes."""
        when = self.pool.next_change() if quarters is None else self.now + quarters / 4
        # Rounded up to a binary fraction, on which the sums of rates are exact.
        self.now = max(self.now, ceil((when or 0.0) * 1024) / 1024)
        self.settle()

    # What always holds

    @invariant()
    def the_books_agree(self) -> None:
        known = self.known
        assert self.pool.in_flight == len(self.open_leases)
        assert len(self.pool) == len(known)
        assert {seen.proxy.name: seen.in_flight for seen in self.pool.snapshot(self.now)} == {
            name: len(one.open) for name, one in known.items()
        }
        assert {attempt for attempt in self.leases if not attempt.ended} == set(self.open_leases)
        assert dict(self.pool.sessions) == self.pinned

    @invariant()
    def no_gateway_carries_more_than_it_may(self) -> None:
        for known in self.known.values():
            assert self.gateway_room(known) >= 0

    @invariant()
    def something_is_available_exactly_if_some_proxy_is_eligible(self) -> None:
        available = self.pool.available(self.now)
        rooms: dict[str, float] = {}
        behind = {known.proxy.gateway: known for known in self.known.values()}
        for known in self.known.values():
            gateway = known.proxy.gateway
            rooms[gateway] = rooms.get(gateway, 0) + known.room(self.now)
        room = sum(min(room, self.gateway_room(behind[name])) for name, room in rooms.items())
        assert (available > 0) is (room > 0) or (not self.exact and not available)
        assert available <= room

    @invariant()
    def good_standing_is_counted(self) -> None:
        well = [
            known
            for known in self.known.values()
            if not (known.out or known.drained or known.leaving or known.cooling_until is not None)
        ]
        assert self.pool.in_service == len(well) or (
            not self.exact and self.pool.in_service < len(well)
        )
        hopeless = not self.pool.in_service and all(
            known.leaving or (known.times_out > 1 and not known.worked)
            for known in self.known.values()
        )
        assert self.pool.beyond_hope is hopeless

    @invariant()
    def every_lease_ends_once(self) -> None:
        ended = [event.attempt for event in self.events if isinstance(event, AttemptEnded)]
        assert len(ended) == len(set(ended))
        assert set(ended) == {attempt for attempt in self.leases if attempt.ended}
        assert self.count(AttemptStarted) == len(self.leases)

    def teardown(self) -> None:
        if not hasattr(self, "pool"):
            return
        while self.open_leases:
            self.end(0, Outcome.SUCCESS)
        assert self.pool.in_flight == 0
        draining = {seen.proxy.name for seen in self.pool.snapshot(self.now) if seen.draining}
        assert draining == {name for name, known in self.known.items() if known.drained}
        assert len(self.pool) == len(self.known)


class RoundRobinMachine(PoolMachine):
    strategy = "round_robin"


class WeightedRoundRobinMachine(PoolMachine):
    strategy = "weighted_round_robin"


class LeastConnectionsMachine(PoolMachine):
    strategy = "least_connections"


class LeastUsedMachine(PoolMachine):
    strategy = "least_used"


class LatencyMachine(PoolMachine):
    strategy = "latency"


class StickyMachine(PoolMachine):
    strategy = "sticky"


TestWeighted = PoolMachine.TestCase
TestRoundRobin = RoundRobinMachine.TestCase
TestWeightedRoundRobin = WeightedRoundRobinMachine.TestCase
TestLeastConnections = LeastConnectionsMachine.TestCase
TestLeastUsed = LeastUsedMachine.TestCase
TestLatency = LatencyMachine.TestCase
TestSticky = StickyMachine.TestCase

for case in (
    TestWeighted,
    TestRoundRobin,
    TestWeightedRoundRobin,
    TestLeastConnections,
    TestLeastUsed,
    TestLatency,
    TestSticky,
):
    case.settings = settings(max_examples=60, stateful_step_count=50, phases=PHASES)
del case
