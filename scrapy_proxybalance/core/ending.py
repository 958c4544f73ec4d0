"""The end of an attempt: who learns what from it, in the right order.

Everything that keeps something of an attempt is told here that it has ended, and nowhere else. Chooses
nothing and grants nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .choosing.pairs import CONNECT
from .events import AttemptEnded, CooldownShortened, PairRested, TargetRefused
from .limits.own_limit import OwnLimit
from .outcome import (
    AMBIGUOUS,
    CLOSED,
    GATEWAY_FAULT,
    HOST_REFUSED,
    IGNORED,
    MAY_BE_THE_LOAD,
    NO_CONNECT,
    PROXY_AUTH,
    PROXY_FAULT,
    SUCCESS,
    TARGET_SIGNAL,
    TIMEOUT,
    TOO_MANY,
    WITHOUT_A_WORD,
    Outcome,
)
from .proxies.health import MOSTLY, PROBING, RECOVERING
from .proxies.score import usual_slowness
from .proxies.timeouts import slowness_of
from .structures.bounded_dict import BoundedDict

if TYPE_CHECKING:
    from random import Random

    from .administration import Administration
    from .attempt import Attempt
    from .attribution.comparison import Comparison
    from .attribution.learning import Learner
    from .availability.availability import Availability
    from .availability.gateways import Gateways
    from .availability.outages import Outages
    from .choosing.pairs import Pairs
    from .choosing.sessions import Sessions
    from .events import EventBus
    from .limits.ledger import Ledger
    from .proxies.credentials import RefusedPages
    from .proxies.scoring_view import ScoringView
    from .proxies.table import Nodes
    from .proxies.timeouts import Timeouts
    from .proxies.warm_connections import WarmConnections
    from .strategies.active import Strategies

_NEVER = float("-inf")
# When a target's connections have been closed so often in a row, it is not for their number.
_CLOSED_IN_A_ROW = 8
_TARGETS = 1000
# A host that has answered what was asked within so many seconds is one that proxies go to.
_LATELY = 60.0
# Seconds for which a proxy rests at a target that refuses it alone.
_APART = 3600.0


class Endings:
    """Ends leases.

    :param nodes: know who shares a gateway.
    :param ledger: gets the attempt back.
    :param scoring: knows what was to be expected.
    :param gateways: count what is in flight; ``outages`` watches how it ends.
    :param learner: charges each for its part.
    :param comparison: knows what others got.
    :param pairs: remember who does not go where.
    :param refused_pages: tell what credentials are refused for that work elsewhere.
    :param availability: counts again.
    :param administration: lets those go that are leaving.
    :param rng: is for the strategies.
    :param events: is told.
    """

    def __init__(
        self,
        *,
        nodes: Nodes,
        ledger: Ledger,
        sessions: Sessions,
        scoring: ScoringView,
        timeouts: Timeouts,
        gateways: Gateways,
        outages: Outages,
        learner: Learner,
        comparison: Comparison,
        pairs: Pairs,
        refused_pages: RefusedPages,
        availability: Availability,
        strategies: Strategies,
        administration: Administration,
        warm_connections: WarmConnections | None,
        rng: Random,
        events: EventBus,
    ) -> None:
        self._nodes = nodes
        self._ledger = ledger
        self._sessions = sessions
        self._scoring = scoring
        self._timeouts = timeouts
        self._gateways = gateways
        self._outages = outages
        self._learner = learner
        self._comparison = comparison
        self._pairs = pairs
        self._refused_pages = refused_pages
        self._availability = availability
        self._strategies = strategies
        self._administration = administration
        self._warm_connections = warm_connections
        self._rng = rng
        self._events = events
        # How many connections were closed for each target since it last answered.
        self._closed: BoundedDict[str, int] = BoundedDict(_TARGETS)
        #: How many useful answers there have been.
        self.answers = 0

    def end(
        self,
        attempt: Attempt,
        outcome: Outcome,
        now: float,
        *,
        latency: float | None,
        duration: float | None,
        failure: str | None,
        part: float | None,
        page: str | None,
        answered: bool,
    ) -> bool:
        """See :meth:`Pool.release`."""
        if attempt.ended:
            return False
        attempt.ended = True
        node = attempt.node
        self._ledger.release(node.proxy.name)
        (node if attempt.gateway is None else attempt.gateway).proven.ended(attempt)
        if attempt.probe and attempt.generation == node.health.generation:
            node.probe_out = False
        if attempt.session is not None:
            self._sessions.released(attempt.session)
        expectation = self._scoring.expected(node, now)
        if outcome is SUCCESS and part is None and duration is not None:
            self._timeouts.succeeded(attempt.target, duration, now, slowness_of(expectation))
        elif failure == TIMEOUT:
            self._timeouts.timed_out(attempt.target, node.proxy.name)
        if duration is None:
            duration = latency if latency is not None else now - attempt.started_at
        was_probing = node.health.state is PROBING
        repeated = for_number = False
        succeeded = outcome is SUCCESS and part is None
        if outcome is SUCCESS or outcome is TARGET_SIGNAL:
            answered = True
            self._refused_pages.answered(attempt.target)
        if succeeded:
            self.answers += 1
            node.rejections.by_chance = 1.0
            self._got_through(attempt, now)
        elif (
            outcome in (PROXY_FAULT, AMBIGUOUS, GATEWAY_FAULT)
            and (failure == HOST_REFUSED or not self._outages.explained(attempt))
            and self._was_too_many(attempt, failure, now)
        ):
            # No cooldown for what may be too many connections at once: fewer, first.
            attempt.too_many = for_number = True
            outcome, part = (
                (GATEWAY_FAULT, None) if attempt.gateway is not None else (AMBIGUOUS, 0.0)
            )
        if answered and outcome is AMBIGUOUS and part is None:
            part = 0.0  # it has carried what the target said
        if failure == PROXY_AUTH and self._refused_pages.refused(
            page, attempt.target, attempt.proxy.name, worked=node.answered, answers=self.answers
        ):
            outcome = IGNORED
        if outcome is AMBIGUOUS and part is None and failure in CLOSED:
            suspicion = self._comparison.odd(attempt, str(failure), now)
            part = suspicion.part if suspicion.compared else None
        if outcome is PROXY_FAULT and failure in (HOST_REFUSED, NO_CONNECT):
            part = self._refused_to_go(attempt, str(failure), page, now)
        if (
            outcome is GATEWAY_FAULT
            and attempt.gateway is not None
            and not self._outages.explained(attempt)
        ):
            repeated = attempt.gateway.rejects_for_itself(node.rejections, attempt.started_at, now)
        gateways = self._gateways
        gateways.in_flight -= 1
        excused, charged = False, 0.0
        # What is too much for one proxy says nothing of the others.
        is_quiet = attempt.gateway is None and (
            for_number or (attempt.too_many and node.proven.excuses(sharing=True))
        )
        if (
            attempt.gateway is None
            and gateways.quiet_answers
            and succeeded
            and gateways.whole.breaker.knows(attempt.target)
        ):
            gateways.quiet_answers -= 1
        else:
            # As if through a proxy of the usual speed: the more are in use, the slower the last of them.
            excused = self._outages.ended(
                attempt,
                IGNORED if is_quiet else outcome,
                now,
                answered=answered,
                repeated=repeated,
                latency=(
                    latency / usual_slowness(node.health, node.group.expectation)
                    if latency is not None and part is None
                    else None
                ),
                failure=failure,
            )
        if not excused:
            charged = self._learner.learn(
                attempt,
                AMBIGUOUS if repeated else outcome,
                now,
                expectation=expectation,
                duration=duration,
                failure=failure,
                gateway_shared=not repeated and self._nodes.sharing_gateway(node.proxy) > 1,
                part=part,
                page=page,
                doubtful=page is not None
                and self.answers > 0
                and not self._comparison.answers_others(attempt),
            )
            if charged >= MOSTLY:
                self._outages.nobody_serves(attempt, now)
        node.priced_at = _NEVER
        self._availability.refresh(node, now)
        if was_probing and node.health.state is RECOVERING:
            for other in self._availability.bring_forward(now):
                self._events.emit(CooldownShortened(now=now, proxy=other.proxy))
        if succeeded and attempt.tunnel is not None and self._warm_connections is not None:
            self._warm_connections.put_back(node, attempt.tunnel, now, attempt.carried + 1)
        if succeeded or charged >= MOSTLY:
            for strategy in self._strategies.in_use:
                strategy.ended(
                    node.index, now=now, duration=duration if succeeded else None, rng=self._rng
                )
        if node.leaving:
            self._administration.remove_if_drained(node, now)
        if self._events.wants(AttemptEnded):
            self._events.emit(
                AttemptEnded(
                    now=now,
                    attempt=attempt,
                    outcome=outcome,
                    failure=failure,
                    latency=latency,
                    charged=charged,
                )
            )
        return True

    def _got_through(self, attempt: Attempt, now: float) -> None:
        """Forget what has kept a proxy from a target, and let it carry more again."""
        node = attempt.node
        if attempt.target in self._pairs:
            self._pairs.answered(attempt.target, attempt.proxy.name)
        if attempt.tunnel is not None and CONNECT in self._pairs:
            self._pairs.answered(CONNECT, attempt.proxy.name)
        if self._closed:
            self._closed.pop(attempt.target, None)
        shared = node if attempt.gateway is None else attempt.gateway
        shared.proven.answered(attempt.in_flight, now)
        if attempt.gateway is not None:
            node.proven.carried()
        if node.own_limit is not None:
            node.own_limit.answered()
            if node.own_limit.is_over(node.cap, now):
                node.own_limit = None

    def _was_too_many(self, attempt: Attempt, failure: str | None, now: float) -> bool:
        """Return whether a request may have failed for the number of others; have fewer then.

        It was refused with more in flight than the proxy, or its gateway, has carried of late.
        A refusal of the host is for the number only if the proxy is known to go there.
        """
        if failure in WITHOUT_A_WORD:
            return self._was_closed_for_number(attempt, now)
        refuses_host = failure == HOST_REFUSED
        if not refuses_host and failure not in MAY_BE_THE_LOAD:
            return False
        node, gateway = attempt.node, attempt.gateway
        known, sharing = (node if gateway is None else gateway).proven, gateway is not None
        proven, before = known.most(now), known.out_before(attempt.started_at)
        goes_there = self._goes_there(attempt) if refuses_host else node.answered
        says_so = refuses_host or (failure == TOO_MANY and not sharing)
        own = node.own_limit if gateway is None else None
        right_after_cut = says_so and own is not None and own.is_new_to(attempt.started_at)
        if attempt.in_flight <= max(1, proven):
            # Idle connections may count as well: fewer of these, first.
            may_go_there = says_so and (goes_there or right_after_cut)
            if not (may_go_there and node.proven.excuses(sharing=sharing)):
                return False
            known.refused(attempt.in_flight)
            known.too_many(now)
            return True
        may_be = before > 0 and (refuses_host or not sharing)
        if not goes_there and not (may_be and node.proven.excuses(sharing=sharing)):
            return right_after_cut
        if sharing and refuses_host and goes_there and not node.proven.excuses(sharing=True):
            return False
        known.too_many(now)
        if gateway is not None:
            return True
        if own is None:
            own = node.own_limit = OwnLimit()
        if not goes_there:
            own.cut(before, now)
            return True
        return own.closed(attempt.started_at, attempt.in_flight, now, proven=proven)

    def _was_closed_for_number(self, attempt: Attempt, now: float) -> bool:
        """Return whether a connection may have been closed for the number of others; have fewer then."""
        node, gateway = attempt.node, attempt.gateway
        shared = node if gateway is None else gateway
        shared.proven.closed()
        closed = self._closed[attempt.target] = self._closed.get(attempt.target, 0) + 1
        if not node.answered or closed > _CLOSED_IN_A_ROW:
            return False  # where the number is the reason, others are answered in between
        if gateway is None and node.own_limit is not None:
            for_number = node.own_limit.closed(attempt.started_at, attempt.in_flight, now)
        else:
            for_number = attempt.in_flight > 1 and shared.proven.often_closed
            if for_number and gateway is None:
                node.own_limit = OwnLimit()
                node.own_limit.closed(attempt.started_at, attempt.in_flight, now)
        if for_number:
            shared.proven.too_many(now)
        elif gateway is None and shared.proven.was_too_many(now):
            attempt.too_many = True  # it is judged as any failure, and gets another try
        return for_number

    def _goes_there(self, attempt: Attempt) -> bool:
        """Return whether a proxy, or the gateway that it shares, has had answers of a target."""
        comparison = self._comparison
        return comparison.got_through(attempt) or (
            attempt.gateway is not None and comparison.answers_others(attempt)
        )

    def _refused_to_go(self, attempt: Attempt, failure: str, page: str | None, now: float) -> float:
        """Let a proxy rest at a host that it refuses; return what it is charged."""
        proxies = max(1, self._availability.serving)
        if failure == NO_CONNECT:
            before = self._pairs.rests(CONNECT, attempt.proxy.name)
            self._pairs.refused(CONNECT, attempt.proxy.name, now, proxies)
            self._tell_of_rest(attempt, CONNECT, failure, before, now)
            return 0.0
        part = self._comparison.odd(attempt, failure, now).part
        if attempt.tunnel is not None:
            page = None  # in CONNECT it is told the host and no page
        got_through = self._comparison.got_through(attempt)
        before = self._pairs.rests(attempt.target, attempt.proxy.name)
        by_all = self._pairs.refused(
            attempt.target,
            attempt.proxy.name,
            now,
            proxies,
            page=page,
            got_through=got_through,
            answers=self._comparison.answered_since(attempt, now - _LATELY),
        )
        self._tell_of_rest(attempt, attempt.target, failure, before, now)
        if by_all:
            until = self._pairs.refused_until(attempt.target)
            self._events.emit(TargetRefused(now=now, target=attempt.target, until=until))
        return part

    def keep_apart(self, attempt: Attempt, now: float) -> None:
        """Let a proxy rest at a target that refuses it alone."""
        before = self._pairs.rests(attempt.target, attempt.proxy.name)
        self._pairs.rest(attempt.target, attempt.proxy.name, now, least=_APART)
        self._tell_of_rest(attempt, attempt.target, "refused_alone", before, now)

    def _tell_of_rest(
        self, attempt: Attempt, target: str, reason: str, before: int, now: float
    ) -> None:
        """Emit that a pair rests, if it has rested fewer times before."""
        step = self._pairs.rests(target, attempt.proxy.name)
        if step > before:
            self._events.emit(
                PairRested(
                    now=now,
                    proxy=attempt.proxy,
                    target=target,
                    until=self._pairs.resting(target, now)[attempt.proxy.name],
                    step=step,
                    reason=reason,
                )
            )
