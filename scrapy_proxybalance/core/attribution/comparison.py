"""Compares the answer of a lease with what others got: connects the nodes and the answers.

Who is compared is a proxy; or its gateway, where the pool has several gateways and this one is shared:
what all exits of one gateway get may be the gateway's doing. Ends no lease and changes no health.
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

    from ..lease import Lease
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

    def who(self, lease: Lease) -> str:
        """Return who is compared with others."""
        sharing = self._nodes.sharing_gateway(lease.proxy)
        if 1 < sharing < len(self._nodes):
            return lease.proxy.gateway
        return lease.proxy.name

    def page(self, lease: Lease, looks: tuple[str, ...], url: str) -> SamePage | None:
        """Take note of an answer as one wants it; return how it is the proxy's own after all.

        :param looks: each equal for pages that look the same in one way.
        :param url: the page's.
        """
        who = self.who(lease)
        proxies = len(self._nodes)
        heard = self._answers.heard(lease.target, who)
        found = self._pages.seen(lease.target, who, looks, url, proxies=proxies, heard=heard)
        everywhere = self._everywhere.seen("", who, looks, lease.target, proxies=proxies)
        for same in (found, everywhere):
            if same is None or same.usual is None or same.usual > _USUAL:
                continue
            rate = self._rate(lease)
            part = rate / (rate + same.usual)
            if part >= _DOUBTED:
                self._answers.same_page(lease.target, who)
                return SamePage(same.look, part, compared=True)
        if found is not None and found.usual is None and found.look == looks[0]:
            self._answers.same_page(lease.target, who)
            rate = self._rate(lease)
            return SamePage(found.look, rate / (rate + UNHEARD_OF), compared=False)
        self._answers.useful(lease.target, who, lease.granted_at)
        self._refusals.useful(lease.target, lease.proxy.name)
        return None

    def _rate(self, lease: Lease) -> float:
        """Return how often a lease's proxy is taken to fail by itself, 0 to 1."""
        success, _, _ = self._scoring.expected(lease.node, lease.granted_at)
        return own_rate(success, None)

    def gives_others(self, lease: Lease) -> bool:
        """Return whether who is compared is known to give different pages of the lease's target."""
        return self._pages.gives_others(lease.target, self.who(lease))

    def convinces(self, lease: Lease, kind: str) -> bool:
        """Return whether an answer through the lease says that it is the target's, if another had it."""
        return self._answers.convinces(lease.target, kind, self.who(lease))

    def passed_on(self, lease: Lease, names: Sequence[str]) -> None:
        """Take note of a page that is not the proxy's own.

        :param names: the members of its ``Via``, the nearest server last.
        """
        self._via.passed_on(lease.proxy.gateway, lease.target, names)

    def is_its_own(self, lease: Lease, names: Sequence[str]) -> bool:
        """Return whether a page was made by the proxy, which names itself on all that it passes on.

        :param names: the members of its ``Via``.
        """
        return self._via.is_its_own(lease.proxy.gateway, lease.target, names)

    def may_be_too_many(self, lease: Lease, now: float) -> bool:
        """Return whether a page may be the gateway's because it is one too many, for all that is known.

        That is so while the first pages that have gone through that gateway are not back.
        """
        known = (lease.node if lease.gateway is None else lease.gateway).proven
        return known.most(now) == 0 and known.out_before(lease) > 1  # itself included

    def refused(self, lease: Lease, page: str, now: float) -> tuple[str, ...]:
        """Take note of a refusal; return the targets that it is not of, the lease's included, or none.

        Then it is the proxy's or its gateway's.

        :param page: equal for answers that look the same.
        """
        proxy = lease.proxy
        return self._refusals.refused(
            lease.target, proxy.name, proxy.gateway, page, granted_at=lease.granted_at, now=now
        )

    def refused_alone(self, lease: Lease, now: float, *, of_all: bool) -> bool:
        """Take note of a refusal by the target; return whether it is for the lease's proxy alone.

        :param of_all: whether it is about all that is asked, and not about a page.
        """
        return self._refusals.alone(
            lease.target,
            lease.proxy.name,
            granted_at=lease.granted_at,
            now=now,
            of_all=of_all,
        )

    def odd(self, lease: Lease, kind: str, now: float) -> Suspicion:
        """Take note of an odd answer; return whose it probably is.

        :param kind: the class of failure that it looked like.
        """
        success, _, _ = self._scoring.expected(lease.node, now)
        return self._answers.odd(
            lease.target,
            kind,
            self.who(lease),
            rate=own_rate(success, kind),
            pair=_JUST_THIS_HOST if kind == HOST_REFUSED else 0.0,
        )

    def confirmed(self, lease: Lease, kind: str) -> None:
        """Take note that two proxies got the same odd answer for the same page: it is the target's."""
        self._answers.confirmed(lease.target, kind, self.who(lease))

    def is_confirmed(self, lease: Lease, kind: str) -> bool:
        """Return whether the lease's target is known to give answers of a kind."""
        return self._answers.is_confirmed(lease.target, kind)

    def in_a_row(self, lease: Lease, kind: str) -> int:
        """Return how many answers of a kind who is compared has had in a row of the lease's target."""
        return self._answers.in_a_row(lease.target, kind, self.who(lease))

    def through_others(self, lease: Lease, kind: str) -> int:
        """Return through how many others the lease's target has given answers of a kind."""
        return self._answers.through_others(lease.target, kind, self.who(lease))

    def answered_since(self, lease: Lease, when: float) -> bool:
        """Return whether the target has given a useful answer to what was asked after a moment."""
        return self._answers.answered_since(lease.target, when)

    def answers_others(self, lease: Lease) -> bool:
        """Return whether others have had useful answers of the lease's target."""
        return self._answers.answers_others(lease.target, self.who(lease))

    def got_through(self, lease: Lease) -> bool:
        """Return whether who is compared has had useful answers of the lease's target."""
        return self._answers.answers(lease.target, self.who(lease))
