"""The end of an attempt: who learns what from it, in the right order.

Everything that keeps something of an attempt is told here that it has ended, and nowhere else. Chooses
nothing and grants nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .events import AttemptEnded, CooldownShortened
from .excess import Excess
from .outcome import (
    AMBIGUOUS,
    CLOSED,
    GATEWAY_FAULT,
    HOST_REFUSED,
    IGNORED,
    NO_CONNECT,
    PROXY_AUTH,
    PROXY_FAULT,
    SUCCESS,
    TARGET_SIGNAL,
    TIMEOUT,
    Outcome,
)
from .proxies.health import MOSTLY, PROBING, RECOVERING
from .proxies.score import usual_slowness
from .proxies.timeouts import slowness_of
from .resting import RestingPairs

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
        self._refused_pages = refused_pages
        self._availability = availability
        self._strategies = strategies
        self._administration = administration
        self._warm_connections = warm_connections
        self._rng = rng
        self._events = events
        self._excess = Excess(comparison)
        #: Who does not go where.
        self.resting = RestingPairs(pairs, comparison, availability, events)
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
            self.resting.got_through(attempt)
            self._excess.got_through(attempt, now)
        elif (
            outcome in (PROXY_FAULT, AMBIGUOUS, GATEWAY_FAULT)
            and (failure == HOST_REFUSED or not self._outages.explained(attempt))
            and self._excess.was_too_many(attempt, failure, now)
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
            part = self.resting.refused_to_go(attempt, str(failure), page, now)
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
                    in_flight=self._gateways.in_flight + 1,
                )
            )
        return True
