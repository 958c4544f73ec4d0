"""The life of one attempt: may it go, it goes, how did it end, what follows.

Every request passes :meth:`Dispatcher.start` and :meth:`Dispatcher.finish`, and nothing else needs to be
told of it: the target's gate, the retry budget, the proxy, its gateway and its session are asked, and
told, here. Like the core it has no clock, sends nothing and waits for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .attempt import Blocked, DirectAttempt
from .followup import FAILED, Followup, Followups, RefusalPolicy, Step
from .history import History
from .outcome import AMBIGUOUS, GATEWAY_FAULT, IGNORED, SUCCESS, TARGET_SIGNAL
from .second_opinion import SecondOpinion
from .verdict import SUCCEEDED

if TYPE_CHECKING:
    from .attempt import Attempt, Want
    from .attribution.answer import Answer
    from .limits.retry_budget import RetryBudget
    from .pool import Pool
    from .verdict import Verdict

#: What a retry waits for while the budget has no room.
RETRIES = "retries"
#: What a request waits for that takes any proxy.
ANY_PROXY = "any proxy"

_DELIVERED = Followup(step=Step.DELIVER, verdict=SUCCEEDED)


class Dispatcher:
    """Starts and finishes attempts.

    :param pool: the proxies, and the gate of the targets.
    :param retry_budget: how many retries may go; ``None`` for any number.
    :param on_refusal: what follows when a target refuses.

    ``dropped_targets``: those that are dropped from the crawl, as they refuse. ``answered_at``: when
    anything was last answered through the pool, minus infinity before that; ``has_failed``: whether an
    attempt through it has failed.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        retry_budget: RetryBudget | None = None,
        on_refusal: RefusalPolicy | None = None,
    ) -> None:
        self.pool = pool
        self.retry_budget = retry_budget
        self.dropped_targets: set[str] = set()
        self.answered_at = float("-inf")
        self.has_failed = False
        self._targets = pool.targets
        self._second_opinion = SecondOpinion(pool)
        self._followups = Followups(pool, on_refusal or RefusalPolicy(), self.dropped_targets)

    def blocked(
        self, want: Want, now: float, ahead: int = 0, *, ahead_of_all: int = 0
    ) -> Blocked | None:
        """Return why a request cannot start now, or ``None`` if it can. Changes nothing.

        :param ahead: how many requests like this one (the same session; or else the same target and
            filter) were let out already and have yet to start.
        :param ahead_of_all: how many were, whatever they want.
        :raises NoProxyMatchesError: as :meth:`start` does.
        :raises SessionLostError: as :meth:`start` does.
        """
        pool, targets = self.pool, self._targets
        target = pool.rules.target_of(want.target)
        if not want.direct and pool.available(now) <= ahead_of_all:
            return Blocked(
                reason="every proxy is busy, cooling down or out",
                waits_for=ANY_PROXY,
                retry_at=pool.next_change(),
            )
        if targets.available(target, now) <= ahead:
            return self._held_by_target(target, now)
        if want.retry and not want.overdue and self._retries_left(now) <= ahead:
            return self._held_by_budget(now)
        if want.direct or not (
            want.session is not None
            or want.proxy_filter is not None
            or want.tunnel is not None
            or pool.narrows(target)
        ):
            return None
        return pool.blocked(want, now, ahead)

    def start(self, want: Want, now: float) -> Attempt | DirectAttempt | Blocked:
        """Let a request go now, and charge all that limits it; or charge nothing and say why not.

        :raises NoProxyMatchesError: if no proxy of the pool, in whatever state, will do, or the
            target's filter does not accept the session's; as :class:`TargetRefusedError` while
            all proxies refuse the target.
        :raises SessionLostError: while the session's proxy is gone and the policy is to fail.
        :raises ConfigurationError: for an unknown strategy.
        """
        target, targets = self.pool.rules.target_of(want.target), self._targets
        if targets.available(target, now) <= 0:
            return self._held_by_target(target, now)
        if want.retry and not want.overdue and not self._retries_left(now):
            return self._held_by_budget(now)
        if want.direct:
            direct = DirectAttempt(target, want.session, now)
            direct.target_probe = targets.send(target, now)
            return direct
        attempt = self.pool.acquire(want, now)
        if isinstance(attempt, Blocked):
            return attempt
        budget = self.retry_budget
        if budget is not None:
            if want.retry:
                budget.take(now)
            else:
                budget.sent(now)
        attempt.target_probe = targets.send(attempt.target, now)
        attempt.cuts = want.cuts
        if want.timeout is not None and not attempt.target_probe:  # for that, others wait
            self.pool.limit_time(attempt, want.timeout, now)
        return attempt

    def finish(
        self,
        attempt: Attempt | DirectAttempt,
        verdict: Verdict,
        now: float,
        *,
        latency: float | None = None,
        duration: float | None = None,
        answer: Answer | None = None,
        compare: bool = True,
        cut_off: bool = False,
        page: str | None = None,
        history: History | None = None,
    ) -> Followup:
        """End an attempt, learn from it, and say what follows. Only once for each.

        :param verdict: whose fault it was.
        :param latency: seconds to the response's headers.
        :param duration: seconds from the request to the end, that is to the last byte of the body, or
            to the failure. Left out, the score takes the latency, or else the time since the start.
        :param answer: the response, if one came. It is compared with what others got from the target.
        :param compare: whether it is; a verdict of the user's own stands as it is.
        :param cut_off: whether ``attempt.timeout`` has ended it: then it is to be sent again.
        :param page: what was asked for, such as its URL: tells apart refusals of one page and of all.
        :param history: of the page; it is changed. Left out, each attempt is the first at its page.
        :raises ValueError: if it has ended already.
        """
        if attempt.ended:
            raise ValueError(f"{attempt} has ended already; finish or cancel each attempt once")
        if isinstance(attempt, DirectAttempt):
            return self._finish_direct(attempt, verdict, now, answer)
        if history is None:
            history = History()
        if answer is not None and compare:
            verdict = self._second_opinion.compare(attempt, verdict, answer, history, now)
        outcome = verdict.outcome
        answered = (
            outcome is SUCCESS
            or outcome is TARGET_SIGNAL
            # Through a tunnel even an error is the target's.
            or (answer is not None and outcome is AMBIGUOUS and attempt.tunnel is not None)
        )
        if answered:
            self.answered_at = now
        elif outcome is not IGNORED:
            self.has_failed = True
        if attempt.retry and self.retry_budget is not None and _is_page(verdict, answer):
            self.retry_budget.give_back(now)
        self.pool.release(
            attempt,
            outcome,
            now,
            latency=latency,
            duration=duration,
            failure=verdict.failure,
            part=verdict.part,
            page=page,
            answered=answered,
        )
        self._end_at_target(attempt, verdict, now)
        if outcome is TARGET_SIGNAL:
            return self._followups.of_refusal(attempt, verdict, answer, now)
        if answer is not None:
            if verdict is SUCCEEDED and answer.status < 500:
                return _DELIVERED
            return self._followups.of_answer(attempt, verdict, answer.status, history)
        if outcome is IGNORED and not cut_off:
            return Followup(step=Step.DELIVER, verdict=verdict)
        followup = self._followups.of_failure(attempt, verdict, history)
        return attrs.evolve(followup, step=Step.SEND_AGAIN) if cut_off else followup

    def cancel(self, attempt: Attempt | DirectAttempt, now: float) -> None:
        """End an attempt of which nothing was sent, or of which nobody knows how it ended."""
        if attempt.ended:
            return
        if isinstance(attempt, DirectAttempt):
            attempt.ended = True
        else:
            self.pool.release(attempt, IGNORED, now)
        if attempt.target_probe:
            self._targets.probe_lost(
                attempt.target, now, arrived=False, started_at=attempt.started_at
            )
        self._targets.ended(attempt.target)

    # What has no proxy, or does not go

    def _finish_direct(
        self, attempt: DirectAttempt, verdict: Verdict, now: float, answer: Answer | None
    ) -> Followup:
        attempt.ended = True
        if verdict.outcome is SUCCESS:
            self._targets.answered(attempt.target, attempt.started_at, now)
        self._end_at_target(attempt, verdict, now)
        if verdict.outcome is TARGET_SIGNAL:
            return self._followups.of_refusal(attempt, verdict, answer, now)
        return Followup(step=Step.DELIVER, verdict=verdict)

    def _end_at_target(
        self, attempt: Attempt | DirectAttempt, verdict: Verdict, now: float
    ) -> None:
        targets, outcome = self._targets, verdict.outcome
        if attempt.target_probe and outcome is not SUCCESS and outcome is not TARGET_SIGNAL:
            arrived = outcome is AMBIGUOUS or outcome is GATEWAY_FAULT
            targets.probe_lost(attempt.target, now, arrived=arrived, started_at=attempt.started_at)
        targets.ended(attempt.target)

    def _held_by_target(self, target: str, now: float) -> Blocked:
        return Blocked(
            reason=f"{target} is paused or at its limit",
            waits_for=("target", target),
            retry_at=self._targets.ready_at(target, now),
            by_target=True,
        )

    def _held_by_budget(self, now: float) -> Blocked:
        retry_at = self.retry_budget.ready_at(now) if self.retry_budget is not None else None
        return Blocked(reason="retries are held back", waits_for=RETRIES, retry_at=retry_at)

    def _retries_left(self, now: float) -> int:
        return 1 << 30 if self.retry_budget is None else self.retry_budget.room(now)


def _is_page(verdict: Verdict, answer: Answer | None) -> bool:
    """Return whether a request got what it asked for, as far as its target can give it now."""
    return answer is not None and verdict.outcome not in FAILED and answer.status < 500
