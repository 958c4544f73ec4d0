"""The pool: acquire, release, add, remove, update, snapshot. It puts the rest together.

It has no clock and no randomness of its own: the caller passes ``now`` (seconds, never going back)
and a :class:`random.Random`. It waits for nothing: what is not possible now is an error that says when
to ask again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .administration import Administration
from .attempt import Attempt, Blocked
from .attribution.comparison import Comparison
from .attribution.learning import Learner
from .availability.availability import Availability
from .availability.gateways import Gateways
from .availability.outages import Outages
from .choosing.chooser import Chooser
from .choosing.pairs import CONNECT, Pairs
from .choosing.sessions import Sessions
from .choosing.spacing import Spacing
from .ending import Endings
from .events import AttemptStarted, CooldownShortened, EventBus, ProbeStarted
from .limits.budget import Budget, Limit
from .limits.ledger import LocalLedger
from .proxies.credentials import RefusedPages
from .proxies.health import PROBING
from .proxies.scoring_view import ScoringView
from .proxies.table import Nodes
from .proxies.timeouts import Timeouts, slowness_of
from .proxies.warm_connections import WarmConnections
from .snapshot import ProxyOverview, explain, snapshot
from .strategies.active import Strategies
from .targets.gate import TargetGate
from .targets.policy import TargetRules

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from random import Random

    from .attempt import Want
    from .limits.ledger import Ledger
    from .outcome import Outcome
    from .policy import PoolPolicy
    from .proxies.proxy import Proxy
    from .proxies.score import Score
    from .snapshot import ProxySnapshot


class Pool:
    """All proxies of a crawl.

    :param proxies: the first nodes; :meth:`add` takes more.
    :param policy: what holds for all of them.
    :param rng: the source of randomness.
    :param now: seconds on the caller's clock.
    :param ledger: holds the limits; this process's memory unless given.
    :raises ConfigurationError: for duplicate names or entries, or an unknown strategy.
    """

    def __init__(
        self,
        proxies: Iterable[Proxy],
        policy: PoolPolicy,
        *,
        rng: Random,
        now: float = 0.0,
        ledger: Ledger | None = None,
    ) -> None:
        self.policy = policy
        self.events = EventBus()
        self.rules = TargetRules(policy.targets, policy.targets_by_name)
        self.targets = TargetGate(self.rules, rng, self.events)
        self.sessions = Sessions(policy.session_ttl, policy.session_limit, self.events)
        #: What proxies refuse credentials for that work elsewhere.
        self.refused_pages = RefusedPages()
        self._ledger: Ledger = ledger if ledger is not None else LocalLedger()
        self._rng = rng
        self._nodes = Nodes()
        self._scoring = ScoringView(self._nodes)
        self.comparison = Comparison(self._nodes, self._scoring)
        self._strategies = Strategies(policy.strategy, self._nodes, self._scoring)
        self._gateways = Gateways(policy.gateways, policy.gateways_by_name)
        self._availability = Availability(
            self._nodes, self._ledger, self._strategies, self._gateways
        )
        self._learner = Learner(
            policy.health,
            self.targets,
            rng,
            self.events,
            self._availability,
            varied=self._is_varied,
        )
        self._outages = Outages(self._gateways, self._availability, self.events)
        self._spacing = Spacing()
        self._pairs = Pairs()
        self._timeouts = Timeouts(policy.timeout_min)
        self._warm_connections = (
            WarmConnections(policy.warm, policy.gateways, policy.gateways_by_name, now)
            if policy.warm is not None
            else None
        )
        self._chooser = Chooser(
            nodes=self._nodes,
            availability=self._availability,
            ledger=self._ledger,
            strategies=self._strategies,
            sessions=self.sessions,
            spacing=self._spacing,
            pairs=self._pairs,
            gateways=self._gateways,
            rng=rng,
            session_lost=policy.session_lost,
            warm_connections=self._warm_connections,
        )
        self._administration = Administration(
            policy,
            nodes=self._nodes,
            availability=self._availability,
            gateways=self._gateways,
            ledger=self._ledger,
            strategies=self._strategies,
            spacing=self._spacing,
            pairs=self._pairs,
            warm_connections=self._warm_connections,
            outages=self._outages,
            events=self.events,
        )
        self._endings = Endings(
            nodes=self._nodes,
            ledger=self._ledger,
            sessions=self.sessions,
            scoring=self._scoring,
            timeouts=self._timeouts,
            gateways=self._gateways,
            outages=self._outages,
            learner=self._learner,
            comparison=self.comparison,
            pairs=self._pairs,
            refused_pages=self.refused_pages,
            availability=self._availability,
            strategies=self._strategies,
            administration=self._administration,
            warm_connections=self._warm_connections,
            rng=rng,
            events=self.events,
        )
        for proxy in proxies:
            self.add(proxy, now)

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, name: str) -> bool:
        return self._nodes.get(name) is not None

    # Administration

    def add(self, proxy: Proxy, now: float) -> None:
        """Add a proxy.

        :raises ConfigurationError: if its name, or its endpoint with its credentials, is there.
        """
        self._administration.add(proxy, now)

    def remove(self, name: str, now: float) -> None:
        """Take a proxy out: it gets no further attempt and is gone when its last one has ended.

        :raises KeyError: if there is no such proxy.
        """
        self._administration.remove(name, now)

    def update(self, proxy: Proxy, now: float) -> None:
        """Change what is known of a proxy, by its name: credentials, limits, weight, attributes.

        What was learned is kept, but for a proxy that was out, which is taken back.

        :raises KeyError: if there is no such proxy.
        :raises ConfigurationError: if its endpoint with its credentials is there under another name.
        """
        self._administration.update(proxy, now)

    def drain(self, name: str, now: float) -> bool:
        """Give a proxy no further attempt until it is enabled again; it stays in the pool.

        :return: whether that is new.
        :raises KeyError: if there is no such proxy.
        """
        return self._administration.drain(name, now)

    def enable(self, name: str, now: float) -> bool:
        """Let a proxy that was drained take leases again, or try one again that is out.

        :return: whether it was drained or out, and is not leaving.
        :raises KeyError: if there is no such proxy.
        """
        return self._administration.enable(name, now)

    def end_cooldown(self, name: str, now: float) -> bool:
        """Let a proxy that is cooling down be probed now.

        :return: whether it was cooling down.
        :raises KeyError: if there is no such proxy.
        """
        node = self._nodes[name]
        ended = self._availability.end_cooldown(node, now)
        if ended:
            self.events.emit(CooldownShortened(now=now, proxy=node.proxy))
        return ended

    # Leases

    def acquire(self, want: Want, now: float) -> Attempt | Blocked:
        """Lease a proxy, or return why none can be leased now.

        A target's rule may narrow which proxies will do: by a filter, which applies in addition to the
        request's, and by its spacing. How much the target may get at all, the dispatcher asks.

        :raises NoProxyMatchesError: if no proxy of the pool, in whatever state, will do, or the
            target's filter does not accept the session's; as :class:`TargetRefusedError` while
            all proxies refuse the target.
        :raises SessionLostError: while the session's proxy is gone and the policy is to fail.
        :raises ConfigurationError: for an unknown strategy.
        """
        target, rule = self.rules.find(want.target)
        chosen = self._chooser.choose(want, target, rule, now)
        if isinstance(chosen, Blocked):
            return chosen
        session, tunnel = want.session, want.tunnel
        name = self._ledger.claim((chosen.proxy.name,), target, session, now)
        if name is None:
            self._availability.refresh(chosen, now)
            ready_at = self._ledger.ready_at(chosen.proxy.name)
            return Blocked(
                reason=f"proxy {chosen.proxy.name} was taken by another process",
                waits_for=None,
                retry_at=ready_at if ready_at > now else None,
            )
        health, gateway = chosen.health, chosen.gateway
        probe = health.state is PROBING
        attempt = Attempt(
            chosen.proxy,
            target,
            session,
            now,
            probe,
            chosen,
            health.generation,
            gateway,
            tunnel,
            want.retry,
        )
        if tunnel is not None and self._warm_connections is not None:
            attempt.carried = self._warm_connections.take(chosen, tunnel, now)
        self._gateways.in_flight += 1
        if gateway is not None or self._gateways.disturbed:
            self._outages.granted(attempt, now)
        if probe:
            chosen.probe_out = True
            self.events.emit(ProbeStarted(now=now, proxy=chosen.proxy))
        if session is not None:
            self.sessions.claimed(session, chosen.proxy, now)
        if rule.spacing is not None:
            self._spacing.granted(target, name, now, rule.spacing)
        self._availability.refresh(chosen, now)
        if gateway is None:
            chosen.proven.granted(attempt, now)
            attempt.in_flight = chosen.in_flight
            if chosen.own_limit is not None and chosen.own_limit.limit <= chosen.cap:
                attempt.idle = max(0, int(chosen.own_limit.limit) - attempt.in_flight)
            elif chosen.proven.was_too_many(now):
                attempt.idle = max(0, chosen.proven.most(now) - attempt.in_flight)
        else:
            gateway.proven.granted(attempt, now)
            attempt.in_flight = gateway.limit.in_flight
            if gateway.proven.was_too_many(now):
                attempt.idle = max(0, int(gateway.limit.limit) - attempt.in_flight)
        if self.events.wants(AttemptStarted):
            self.events.emit(AttemptStarted(now=now, attempt=attempt))
        return attempt

    def blocked(self, want: Want, now: float, ahead: int = 0) -> Blocked | None:
        """Return why :meth:`acquire` would find no proxy now, or ``None`` if it would find one.

        :param ahead: attempts that other requests like this one (the same session; or else the same
            target and filter), which have been let out already, will start first.
        :raises NoProxyMatchesError: as :meth:`acquire` does.
        :raises SessionLostError: as :meth:`acquire` does.
        """
        target, rule = self.rules.find(want.target)
        return self._chooser.blocked(want, target, rule, now, ahead)

    def has_other(self, want: Want, now: float, besides: Collection[str]) -> bool:
        """Return whether a proxy that is not cooling down or out will do, other than some.

        It may be busy at this moment. One behind a gateway that nothing gets through is not counted.

        :param besides: the names of the proxies that do not count.
        :raises NoProxyMatchesError: as :meth:`acquire` does.
        """
        target, rule = self.rules.find(want.target)
        return self._chooser.has_other(want, target, rule, now, besides)

    def available(self, now: float) -> int:
        """Return how many leases could be granted at this moment to requests that take any proxy.

        With rates that allow bursts there may be more; there are never less.
        """
        self._availability.advance(now)
        return self._availability.free

    def next_change(self) -> float | None:
        """Return when a cooldown or a rate next sets a proxy free, or ``None`` if none will."""
        return self._availability.next_change()

    def release(
        self,
        attempt: Attempt,
        outcome: Outcome,
        now: float,
        *,
        latency: float | None = None,
        duration: float | None = None,
        failure: str | None = None,
        part: float | None = None,
        page: str | None = None,
        answered: bool = False,
    ) -> bool:
        """End an attempt and learn from it. Only the first call on an attempt counts.

        :param outcome: whose fault it was.
        :param latency: seconds to the response's headers.
        :param duration: seconds from the request to the end, that is to the last byte of the body, or
            to the failure. Left out, the score takes the latency, or else the time since the attempt was
            granted.
        :param failure: the class of failure, in a word.
        :param part: the proxy's part of a useless answer, 0 to 1, as :attr:`comparison` has
            judged it; ``None`` for any other end.
        :param page: what was asked for, such as its URL: tells apart refusals of one page and of all.
        :param answered: whether the target has answered all the same, as an error through a tunnel
            does: the way to it is open then. A success and a target's signal always are answers.
        :return: whether this call ended it.
        """
        return self._endings.end(
            attempt,
            outcome,
            now,
            latency=latency,
            duration=duration,
            failure=failure,
            part=part,
            page=page,
            answered=answered,
        )

    def _is_varied(self, attempt: Attempt) -> bool:
        """Return whether the next attempt through an attempt's proxy has another exit, or no choice."""
        return len(self._nodes) == 1 or self._gateways.rotates(attempt.proxy.gateway)

    def acquit(self, name: str, part: float, generation: int, now: float) -> None:
        """Take back what a failure has cost a proxy, its first cooldown included: it was the target's.

        :param name: the proxy's; one that has left the pool is ignored.
        :param part: what it was charged with, 0 to 1.
        :param generation: that of its attempt.
        """
        node = self._nodes.get(name)
        if node is not None:
            self._learner.acquit(node, part, generation, now)

    def keep_apart(self, attempt: Attempt, now: float) -> None:
        """Let an attempt's proxy rest for an hour at its target, which refuses it and serves others."""
        self._endings.resting.keep_apart(attempt, now)

    def limit_time(self, attempt: Attempt, own: float, now: float) -> None:
        """Set after how many seconds an attempt is to be cut off, if that is less than its own.

        From how long the target usually takes, see :class:`Timeouts`: it needs ``duration``
        with each :meth:`release`, and the failure ``timeout`` for what was cut off.
        """
        suggested = self._timeouts.suggest(
            attempt.target,
            now,
            slowness=slowness_of(self._scoring.expected(attempt.node, now)),
            cuts=attempt.cuts,
        )
        if suggested is not None and suggested < own:
            attempt.timeout = suggested

    def end_session(self, session: str, now: float) -> None:
        """Forget which proxy a session was on."""
        self.sessions.end(session, now, "ended")

    # What can be seen

    @property
    def in_flight(self) -> int:
        """How many leases are out."""
        return self._gateways.in_flight

    def resting_pairs(self, now: float, target: str | None = None) -> int:
        """Return how many pairs of a proxy and a target rest: it gets no requests to that target.

        :param target: counts those of one target only.
        """
        if target is not None:
            return len(self._pairs.resting(target, now))
        return self._pairs.count(now)

    @property
    def capacity(self) -> int:
        """How many requests the pool carries at once when every proxy is healthy."""
        return sum(node.cap for node in self._nodes)

    @property
    def answers(self) -> int:
        """How many useful answers there have been."""
        return self._endings.answers

    @property
    def in_service(self) -> int:
        """How many proxies are in good standing: not cooling down, being probed, out or leaving.

        While an outage lasts, those of the gateway, or all, are not.
        """
        return self._gateways.in_service(self._availability.serving)

    @property
    def some_do_no_connect(self) -> bool:
        """Whether some proxies carry no request that needs CONNECT."""
        return CONNECT in self._pairs

    def narrows(self, target: str) -> bool:
        """Return whether not every free proxy may be used for a target, by its rule or by itself."""
        rules = self.rules
        return target in self._pairs or (
            rules.narrow_proxies and rules.policy_of(target).narrows_proxies
        )

    @property
    def beyond_hope(self) -> bool:
        """Whether no proxy has ever worked, and all refuse their credentials, asked again as well."""
        return not self._availability.serving and all(
            node.leaving or (not node.answered and node.health.times_out > 1)
            for node in self._nodes
        )

    @property
    def all_drained(self) -> bool:
        """Whether every proxy is drained, so that it is up to somebody to enable one."""
        return bool(self._nodes) and all(node.draining and not node.leaving for node in self._nodes)

    def explain(self, name: str, now: float) -> Score:
        """Return a proxy's score with what it is made of.

        :raises KeyError: if there is no such proxy.
        """
        return explain(self._nodes[name], now)

    def explain_limit(self, target: str, now: float) -> Budget:
        """Return how many requests to a target may be in flight at once, and which limit says so."""
        self._availability.advance(now)
        target = self.rules.target_of(target)
        limit, in_flight = self.targets.limit(target, now)
        own, shared = 0, 0
        for node in self._nodes:
            if node.in_good_standing:
                own += node.cap if node.gateway is None else 0
                shared += node.cap if node.gateway is not None else 0
        return Budget(
            target=Limit(kind="target", name=target, limit=limit, in_flight=in_flight),
            gateways=self._gateways.explain(own),
            pool=Limit(kind="pool", name="", limit=own + shared, in_flight=self.in_flight),
            each_gateway=self._gateways.limits(),
        )

    def gateway_limits(self) -> tuple[Limit, ...]:
        """Return the limit of every gateway that has one."""
        return self._gateways.limits()

    def overview(self, now: float) -> list[ProxyOverview]:
        """Return the state of every proxy, which costs less than a snapshot."""
        self._availability.advance(now)
        reachable = self._gateways.reachable
        return [
            ProxyOverview(
                one.proxy,
                one.health.state,
                one.draining,
                one.useful,
                reachable(one),
                one.in_flight,
            )
            for one in self._nodes
        ]

    def snapshot(self, now: float, names: Iterable[str] | None = None) -> list[ProxySnapshot]:
        """Return proxies as they are at this moment.

        :param names: which, in this order; ``None`` for all, in the order in which they joined.
        :raises KeyError: if there is no proxy of such a name.
        """
        self._availability.advance(now)
        usual, sessions = self._learner.usual.of_all, self.sessions
        nodes = self._nodes if names is None else map(self._nodes.__getitem__, names)
        return [
            snapshot(
                node,
                now,
                usual=usual,
                sessions=sessions.on_proxy(node.proxy.name),
                reachable=self._gateways.reachable(node),
            )
            for node in nodes
        ]
