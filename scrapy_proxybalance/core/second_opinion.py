"""Whose an odd answer is: compared with what others got from the same target, and sent again if unsure.

The verdict on an answer by itself is given; here it is confirmed, or changed. What is kept of answers
is kept by :class:`Comparison`; what of a page, by its :class:`History`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .attribution.answers import Suspicion
from .events import RefusalWithdrawn
from .history import OddAnswer
from .outcome import (
    AMBIGUOUS,
    GATEWAY_FAULT,
    HOST_REFUSED,
    IGNORED,
    PROXY_AUTH,
    PROXY_FAULT,
    PROXY_PAGE,
    SAME_PAGE,
    SUCCESS,
    TARGET_SIGNAL,
    TOO_MANY,
    TRAFFIC_USED_UP,
)
from .proxies.health import MOSTLY
from .verdict import FORBIDDEN, SUCCEEDED, Verdict

if TYPE_CHECKING:
    from .attempt import Attempt
    from .attribution.answer import Answer
    from .history import History
    from .pool import Pool

# A proxy that got so many answers in a row that say so has no traffic left.
_USED_UP = 2


class SecondOpinion:
    """Compares the answers of one crawl.

    :param pool: whose proxies they came through.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._comparison = pool.comparison

    def compare(
        self, attempt: Attempt, verdict: Verdict, answer: Answer, history: History, now: float
    ) -> Verdict:
        """Return a verdict as it is after a comparison with the answers that others got."""
        outcome = verdict.outcome
        if outcome is IGNORED:
            return verdict
        if outcome is TARGET_SIGNAL:
            return self._of_refusal(attempt, verdict, answer, now)
        if (
            verdict.failure == PROXY_AUTH
            and attempt.node.answered
            and attempt.proxy.username is None
            and answer.is_anonymous
        ):
            # Nobody has sent credentials, and other pages needed none: it is about the page.
            verdict = answer.as_the_sites()
        if verdict.outcome is SUCCESS:
            if attempt.tunnel is None:
                self._comparison.passed_on(attempt, answer.via())
            kind = answer.oddity()
            if kind is None:
                return self._of_page(attempt, verdict, answer, history, now)
        elif verdict.certain:
            return self._of_certain(attempt, verdict, answer, now)
        elif attempt.tunnel is not None and verdict.outcome is AMBIGUOUS:
            return attrs.evolve(verdict, part=0.0)  # the proxy has carried what the target said
        elif verdict.outcome is not GATEWAY_FAULT and verdict.failure is not None:
            kind = verdict.failure
        else:
            return verdict  # who caused it is told by how often each fails elsewhere
        return self._of_odd(attempt, verdict, kind, history, now)

    def _of_page(
        self, attempt: Attempt, verdict: Verdict, answer: Answer, history: History, now: float
    ) -> Verdict:
        """Return whose a page is: the site's, unless one proxy gives it for different URLs."""
        comparison, looks = self._comparison, answer.looks()
        # Several hosts of one target may well have the same page under the same path.
        path = answer.url.split("/", 3)[-1]
        same = comparison.page(attempt, looks, path)
        earlier = history.odd
        if earlier is not None and earlier.kind in looks and earlier.who != comparison.who(attempt):
            if comparison.gives_others(attempt):
                self._acquit(earlier, now)
                return verdict
            return attrs.evolve(verdict, part=0.0, unsure=True)
        if same is None:
            return verdict
        history.odd = OddAnswer(
            same.look,
            comparison.who(attempt),
            attempt.proxy.name,
            same.part,
            attempt.started_at,
            attempt.generation,
        )
        if not same.compared and self._pool.in_service < 2:
            return verdict  # there is nobody to ask
        if not same.compared or same.part < MOSTLY:
            return attrs.evolve(verdict, part=same.part, unsure=not same.compared)
        return attrs.evolve(verdict, outcome=PROXY_FAULT, failure=SAME_PAGE, part=same.part)

    def _of_refusal(
        self, attempt: Attempt, verdict: Verdict, answer: Answer, now: float
    ) -> Verdict:
        """Return whose a refusal is: the target's, unless another target sends the same one."""
        comparison, pool = self._comparison, self._pool
        targets = comparison.refused(attempt, answer.signature(), now)
        if not targets:
            if comparison.refused_alone(attempt, now, of_all=verdict.failure != FORBIDDEN):
                pool.keep_apart(attempt, now)
            return verdict
        for target in targets:
            pool.targets.withdraw(target, now)
        pool.events.emit(
            RefusalWithdrawn(now=now, proxy=attempt.proxy, targets=targets, status=answer.status)
        )
        if verdict.failure == FORBIDDEN:
            return Verdict(outcome=PROXY_FAULT, failure=PROXY_PAGE, certain=True)
        return Verdict(outcome=GATEWAY_FAULT, failure=TOO_MANY, certain=True)

    def _of_certain(
        self, attempt: Attempt, verdict: Verdict, answer: Answer, now: float
    ) -> Verdict:
        """Let a mark decide, unless others get the same page from the target: then it is the site's.

        That the proxy names itself on all pages but this one shows that it has made it.
        """
        if verdict.failure in (PROXY_AUTH, TOO_MANY):
            return verdict  # that many are refused has a meaning of its own
        comparison = self._comparison
        if comparison.is_its_own(attempt, answer.via()) or (
            verdict.failure == HOST_REFUSED and comparison.may_be_too_many(attempt, now)
        ):
            return verdict
        page = answer.signature()
        others = comparison.through_others(attempt, page)
        comparison.confirmed(attempt, page)
        if not others:
            return verdict
        sites = answer.as_the_sites()
        return attrs.evolve(sites, part=0.0) if sites.outcome is SUCCESS else sites

    def _of_odd(
        self, attempt: Attempt, verdict: Verdict, kind: str, history: History, now: float
    ) -> Verdict:
        comparison = self._comparison
        who = comparison.who(attempt)
        # An account that is used up is so for every proxy and page. That it is the site which wants to
        # be paid takes more than two proxies: an answer of the site since, or that it was so before.
        account = kind == TRAFFIC_USED_UP and not comparison.is_confirmed(attempt, kind)
        # What may be a whole gateway's doing is told to whoever watches for outages, as what it is.
        targets = verdict if verdict.outcome is AMBIGUOUS else SUCCEEDED
        earlier = history.odd
        if (
            earlier is not None
            and earlier.kind == kind
            and earlier.who != who
            and comparison.convinces(attempt, kind)
            and (not account or comparison.answered_since(attempt, earlier.at))
        ):
            # The same answer for the same page through two proxies: it is the target's.
            comparison.confirmed(attempt, kind)
            self._acquit(earlier, now)
            return attrs.evolve(targets, part=0.0)
        suspicion = comparison.odd(attempt, kind, now)
        if account and comparison.in_a_row(attempt, kind) >= _USED_UP:
            suspicion = Suspicion(1.0, compared=True)
        history.odd = OddAnswer(
            kind, who, attempt.proxy.name, suspicion.part, now, attempt.generation
        )
        if suspicion.part >= MOSTLY or account:
            return attrs.evolve(verdict, outcome=PROXY_FAULT, failure=kind, part=suspicion.part)
        return attrs.evolve(targets, part=suspicion.part, unsure=not suspicion.compared)

    def _acquit(self, odd: OddAnswer, now: float) -> None:
        self._pool.acquit(odd.proxy, odd.part, odd.generation, now)
