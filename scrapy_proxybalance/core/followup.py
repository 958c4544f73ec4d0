"""What follows from the end of an attempt: for its page, for its target and for the crawl.

Decides, and does nothing but tell the target gate: whoever drives the dispatcher sends pages again.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import attrs

from .outcome import AMBIGUOUS, GATEWAY_FAULT, PROXY_AUTH, PROXY_FAULT, TOO_MANY, TRAFFIC_USED_UP
from .proxies.credentials import REFUSED_BY
from .verdict import FORBIDDEN, IGNORED, in_words

if TYPE_CHECKING:
    from .attempt import Attempt, DirectAttempt
    from .attribution.answer import Answer
    from .history import History
    from .pool import Pool
    from .verdict import Verdict

#: The outcomes of an attempt that has failed.
FAILED = (PROXY_FAULT, GATEWAY_FAULT, AMBIGUOUS)

PAUSE, DROP_TARGET, CLOSE = "pause", "drop", "close_spider"
#: What may follow from a refusal.
REFUSAL_POLICIES = (PAUSE, CLOSE, DROP_TARGET)

# When so many proxies have refused their credentials for a page and no other page was answered since,
# it is about the page.
_REFUSED_BY_ALL = 6
# When so many say for a page that the traffic is used up, it counts as a failure like any other.
_USED_UP_AT = 6
# So many failures of a page cost no retry for looking like an outage: then it may be its site after all.
_SPARED_AT_MOST = 6
# When a page was one too many at once so often, it counts as a failure like any other.
_TOO_MANY_AT = 20


class Step(Enum):
    """What is to happen with a page."""

    #: It is what it is: a page, or a failure that counts.
    DELIVER = "deliver"
    #: It is to be asked for again as if this attempt had not been made.
    SEND_AGAIN = "send_again"
    #: It is to be asked for again through another proxy, as a retry that counts.
    RETRY = "retry"
    #: Its target is dropped from the crawl.
    DROP = "drop"


@attrs.frozen(kw_only=True)
class Followup:
    """What follows from the end of an attempt.

    :param step: what is to happen with the page.
    :param verdict: what the attempt ended with, once it was compared with others.
    :param delayed: whether a page that is sent again waits first, as nothing seems to get through.
    :param stopped: whether its target was just paused, or suspended: whatever else is on its way there,
        and not on the wire yet, is to be stopped.
    :param close: whether the crawl is to be closed.
    :param refused_by: how many proxies have refused their credentials for the page, if that is given up
        for it; else 0.
    """

    step: Step
    verdict: Verdict
    delayed: bool = False
    stopped: bool = False
    close: bool = False
    refused_by: int = 0

    @property
    def sends_again(self) -> bool:
        """Whether the page is to be asked for again."""
        return self.step is Step.SEND_AGAIN or self.step is Step.RETRY


#: What follows from an attempt of which nobody knows how it ended.
CANCELLED = Followup(step=Step.DELIVER, verdict=IGNORED)


@attrs.frozen(kw_only=True)
class RefusalPolicy:
    """What follows when a target refuses.

    :param on_rate_limited: one of :data:`REFUSAL_POLICIES`, after a 429 and the like.
    :param on_forbidden: the same, after several 403 in a row.
    """

    on_rate_limited: str = PAUSE
    on_forbidden: str = PAUSE


class Followups:
    """Decides what follows.

    :param pool: whose attempts they are.
    :param policy: what follows when a target refuses.
    :param dropped: the targets that are dropped; it is added to.
    """

    def __init__(self, pool: Pool, policy: RefusalPolicy, dropped: set[str]) -> None:
        self._pool = pool
        self._policy = policy
        self._dropped = dropped

    def of_refusal(
        self,
        attempt: Attempt | DirectAttempt,
        verdict: Verdict,
        answer: Answer | None,
        now: float,
    ) -> Followup:
        """Do as the policy says when a target refuses."""
        said = in_words(verdict, answer.status if answer is not None else None)
        targets, target = self._pool.targets, attempt.target
        started_at, forbidden = attempt.started_at, verdict.failure == FORBIDDEN
        if forbidden and not targets.forbidden(target, started_at=started_at, now=now):
            return Followup(step=Step.DELIVER, verdict=verdict)
        policy = self._policy.on_forbidden if forbidden else self._policy.on_rate_limited
        if policy == DROP_TARGET:
            self._dropped.add(target)
            stopped = targets.suspend(target, now, said)
        else:
            stopped = targets.refused(
                target, started_at=started_at, now=now, reason=said, wait=verdict.retry_after
            )
        step = Step.DROP if policy == DROP_TARGET else Step.SEND_AGAIN
        if forbidden:
            step = Step.DELIVER  # no page that was forbidden is asked for again
        return Followup(
            step=step, verdict=verdict, stopped=stopped, close=stopped and policy == CLOSE
        )

    def of_failure(self, attempt: Attempt, verdict: Verdict, history: History) -> Followup:
        """Keep that the proxy has failed the page; where it did not let us in, the next try is free.

        That ends when so many refuse their credentials for this page, and not for others, that it is
        about the page. So is another try free when nothing gets through the gateway, or the pool. What
        was sent as a probe may be sent as often as the outage lasts; anything else so many times.
        """
        pool, name, failure = self._pool, attempt.proxy.name, verdict.failure
        if failure == PROXY_AUTH and attempt.node.answered:
            if not history.refused_by:
                history.answers_before = pool.answers
            history.refused_by += (name,)
            refused = len(history.refused_by)
            single = pool.refused_pages.is_a_single_one
            if refused >= REFUSED_BY and (
                pool.answers > history.answers_before or (single and refused >= _REFUSED_BY_ALL)
            ):
                return Followup(step=Step.DELIVER, verdict=verdict, refused_by=refused)
        if attempt.outage_suspected:
            if attempt.gateway_probe or attempt.pool_probe:
                return Followup(step=Step.SEND_AGAIN, verdict=verdict)
            if history.spared < _SPARED_AT_MOST:
                history.spared += 1
                return Followup(step=Step.SEND_AGAIN, verdict=verdict, delayed=True)
        history.tried += (name,)
        if attempt.too_many:
            history.too_many += 1
        # Like a page that its target refuses, one that it is not let through for costs no retry.
        free = (
            failure == PROXY_AUTH
            or (failure == TOO_MANY and verdict.certain)
            or (attempt.too_many and history.too_many <= _TOO_MANY_AT)
            or (failure == TRAFFIC_USED_UP and len(history.tried) < min(len(pool), _USED_UP_AT))
        )
        return Followup(step=Step.SEND_AGAIN if free else Step.DELIVER, verdict=verdict)

    def of_answer(
        self, attempt: Attempt, verdict: Verdict, status: int, history: History
    ) -> Followup:
        """Have a page asked for elsewhere that may be a proxy's own, while there is another proxy."""
        if verdict.outcome in FAILED:
            followup = self.of_failure(attempt, verdict, history)
            if followup.step is not Step.DELIVER:
                return followup
        elif verdict.unsure or status >= 500:
            # Nobody is blamed for that; another proxy is to be asked while there is one.
            history.tried += (attempt.proxy.name,)
            followup = Followup(step=Step.DELIVER, verdict=verdict)
        else:
            return Followup(step=Step.DELIVER, verdict=verdict)
        others = attempt.session is None and len(self._pool) > len(history.tried)
        if others and (verdict.unsure or verdict.outcome in FAILED):
            return attrs.evolve(followup, step=Step.RETRY)
        return followup
