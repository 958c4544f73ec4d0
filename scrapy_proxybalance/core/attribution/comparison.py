"""Compares the answer of an attempt with what others got: connects the nodes and the answers.

Who is compared is a proxy; or its gateway, where the pool has several gateways and this one is shared:
what all exits of one gateway get may be the gateway's doing. Ends no attempt and changes no health.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..outcome import CLOSED, HOST_REFUSED
from .answers import UNHEARD_OF, Answers, Suspicion
from .pages import Pages
from .refusals import Refusals
from .via import Via

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..attempt import Attempt
    from ..proxies.scoring_view import ScoringView
    from ..proxies.table import Nodes

# A proxy that refuses one host is taken to refuse just that one so often, 0 to 1.
_JUST_THIS_HOST = 0.3
# A proxy through which the connection was closed may have passed on what the site did: it is as likely
# to be that as its own doing.
_HALF_CLEARED = 0.5


# A page that others give more often, and one that is the proxy's own with less than this chance, is as
# one wants it.
_USUAL, _DOUBTED = 0.3, 0.1
# A page is the proxy's own when it was given for so many URLs of a target, and at so many targets.
_SAME_PAGE, _SAME_PAGE_EVERYWHERE = 2, 3


class SamePage(NamedTuple):
    """A page that one proxy gives for different URLs, and others do not.

    ``look``: what it looks like. ``part``: how much of it is the proxy's, 0 to 1. ``compared``: whether
    others have given pages, so that there was anything to compare with.
    """

    look: str
    part: float
    compared: bool


def own_rate(success: float, failure: str | None) -> float:
    """Return how often a proxy is taken to cause a failure of a class by itself, 0 to 1.

    :param success: the chance that an attempt through it succeeds, as known before.
    """
    return (1.0 - success) * (_HALF_CLEARED if failure in CLOSED else 1.0)


class Comparison:
    """Compares answers.

    :param nodes: the pool's.
    :param scoring: knows how often a proxy fails.
    """

    def __init__(self, nodes: Nodes, scoring: ScoringView) -> None:
        self._nodes = nodes
        self._scoring = scoring
        self._answers = Answers()
        self._pages = Pages(_SAME_PAGE)
        self._everywhere = Pages(_SAME_PAGE_EVERYWHERE)
        self._refusals = Refusals()
        self._via = Via()

    def who(self, attempt: Attempt) -> str:
        """Return who is compared with others."""
        sharing = self._nodes.sharing_gateway(attempt.proxy)
        if 1 < sharing < len(self._nodes):
            return attempt.proxy.gateway
        return attempt.proxy.name

    def page(self, attempt: Attempt, looks: tuple[str, ...], url: str) -> SamePage | None:
        """Take note of an answer as one wants it; return how it is the proxy's own after all.

        :param looks: each equal for pages that look the same in one way.
        :param url: the page's.
        """
        who = self.who(attempt)
        proxies = len(self._nodes)
        heard = self._answers.heard(attempt.target, who)
        found = self._pages.seen(attempt.target, who, looks, url, proxies=proxies, heard=heard)
        everywhere = self._everywhere.seen("", who, looks, attempt.target, proxies=proxies)
        for same in (found, everywhere):
            if same is None or same.usual is None or same.usual > _USUAL:
                continue
            rate = self._rate(attempt)
            part = rate / (rate + same.usual)
            if part >= _DOUBTED:
                self._answers.same_page(attempt.target, who)
                return SamePage(same.look, part, compared=True)
        if found is not None and found.usual is None and found.look == looks[0]:
            self._answers.same_page(attempt.target, who)
            rate = self._rate(attempt)
            return SamePage(found.look, rate / (rate + UNHEARD_OF), compared=False)
        self._answers.useful(attempt.target, who, attempt.started_at)
        self._refusals.useful(attempt.target, attempt.proxy.name)
        return None

    def _rate(self, attempt: Attempt) -> float:
        """Return how often an attempt's proxy is taken to fail by itself, 0 to 1."""
        success, _, _ = self._scoring.expected(attempt.node, attempt.started_at)
        return own_rate(success, None)

    def gives_others(self, attempt: Attempt) -> bool:
        """Return whether who is compared is known to give different pages of the attempt's target."""
        return self._pages.gives_others(attempt.target, self.who(attempt))

    def convinces(self, attempt: Attempt, kind: str) -> bool:
        """Return whether an answer says that it is the target's, if another one got it as well."""
        return self._answers.convinces(attempt.target, kind, self.who(attempt))

    def passed_on(self, attempt: Attempt, names: Sequence[str]) -> None:
        """Take note of a page that is not the proxy's own.

        :param names: the members of its ``Via``, the nearest server last.
        """
        self._via.passed_on(attempt.proxy.gateway, attempt.target, names)

    def is_its_own(self, attempt: Attempt, names: Sequence[str]) -> bool:
        """Return whether a page was made by the proxy, which names itself on all that it passes on.

        :param names: the members of its ``Via``.
        """
        return self._via.is_its_own(attempt.proxy.gateway, attempt.target, names)

    def may_be_too_many(self, attempt: Attempt, now: float) -> bool:
        """Return whether a page may be the gateway's because it is one too many, for all that is known.

        That is so while the first pages that have gone through that gateway are not back.
        """
        known = (attempt.node if attempt.gateway is None else attempt.gateway).proven
        return known.most(now) == 0 and known.out_before(attempt.started_at) > 1  # itself included

    def refused(self, attempt: Attempt, page: str, now: float) -> tuple[str, ...]:
        """Take note of a refusal; return the targets that it is not of, the attempt's included, or none.

        Then it is the proxy's or its gateway's.

        :param page: equal for answers that look the same.
        """
        proxy = attempt.proxy
        return self._refusals.refused(
            attempt.target, proxy.name, proxy.gateway, page, started_at=attempt.started_at, now=now
        )

    def refused_alone(self, attempt: Attempt, now: float, *, of_all: bool) -> bool:
        """Take note of a refusal by the target; return whether it is for the attempt's proxy alone.

        :param of_all: whether it is about all that is asked, and not about a page.
        """
        return self._refusals.alone(
            attempt.target,
            attempt.proxy.name,
            started_at=attempt.started_at,
            now=now,
            of_all=of_all,
        )

    def odd(self, attempt: Attempt, kind: str, now: float) -> Suspicion:
        """Take note of an odd answer; return whose it probably is.

        :param kind: the class of failure that it looked like.
        """
        success, _, _ = self._scoring.expected(attempt.node, now)
        return self._answers.odd(
            attempt.target,
            kind,
            self.who(attempt),
            rate=own_rate(success, kind),
            pair=_JUST_THIS_HOST if kind == HOST_REFUSED else 0.0,
        )

    def confirmed(self, attempt: Attempt, kind: str) -> None:
        """Take note that two proxies got the same odd answer for the same page: it is the target's."""
        self._answers.confirmed(attempt.target, kind, self.who(attempt))

    def is_confirmed(self, attempt: Attempt, kind: str) -> bool:
        """Return whether the attempt's target is known to give answers of a kind."""
        return self._answers.is_confirmed(attempt.target, kind)

    def in_a_row(self, attempt: Attempt, kind: str) -> int:
        """Return how many answers of a kind who is compared has had in a row of the attempt's target."""
        return self._answers.in_a_row(attempt.target, kind, self.who(attempt))

    def through_others(self, attempt: Attempt, kind: str) -> int:
        """Return through how many others the attempt's target has given answers of a kind."""
        return self._answers.through_others(attempt.target, kind, self.who(attempt))

    def answered_since(self, attempt: Attempt, when: float) -> bool:
        """Return whether the target has given a useful answer to what was asked after a moment."""
        return self._answers.answered_since(attempt.target, when)

    def answers_others(self, attempt: Attempt) -> bool:
        """Return whether others have had useful answers of the attempt's target."""
        return self._answers.answers_others(attempt.target, self.who(attempt))

    def got_through(self, attempt: Attempt) -> bool:
        """Return whether who is compared has had useful answers of the attempt's target."""
        return self._answers.answers(attempt.target, self.who(attempt))
