"""Refusals: whether a target's refusal is in fact a proxy's or a gateway's, or for one proxy alone.

Two sites do not send the same refusal. If two targets refuse through one proxy, or through one gateway,
within seconds and with the same page, while no other proxy is refused, the refusal is not theirs. And if
a target refuses one proxy far more often than all others, its refusal is for that proxy. All other
refusals are the target's. Keeps recent refusals, and answers questions.

How often a target refuses the others decides how much one more refusal says: a cumulated likelihood
ratio, which begins again when it says nothing (CUSUM: Page, 1954).
"""

from __future__ import annotations

from collections import deque
from math import log

import attrs

from ..structures.bounded_dict import BoundedDict

# Within so many seconds two refusals are one event.
_TOGETHER = 5.0
# So many refusals are looked back on.
_LATEST = 200
# A proxy that a target refuses alone is refused with such a chance; the others with that of their own
# refusals, but with so much at least.
_REFUSED_ALONE = 0.95
_REFUSED_LEAST = 0.01
# A refusal is for one proxy if that is so many times as likely as chance: for one of a page, and for one
# of all that is asked, which is rare and costs a pause. The more a target answers, the more often chance
# gets its turn: after so many answers, the more are needed in proportion.
_TIMES_AS_LIKELY, _TIMES_AS_LIKELY_OF_ALL = 10_000.0, 1_000.0
_ANSWERS_OF_ONE_TURN = 100.0
# And if the target has served others so often meanwhile.
_SERVED_OTHERS = 5
# About so many answers of a target are remembered, and so many proxies.
_ANSWERS = 1000
_PROXIES = 256
_TARGETS = 2000


@attrs.frozen
class _Refusal:
    at: float
    target: str
    proxy: str
    gateway: str
    page: str


class _Counts:
    """Answers and, among these, refusals."""

    __slots__ = ("answers", "refused")

    def __init__(self, answers: float = 0.0, refused: float = 0.0) -> None:
        self.answers = answers
        self.refused = refused

    def minus(self, other: _Counts) -> _Counts:
        return _Counts(self.answers - other.answers, self.refused - other.refused)

    def halve(self) -> None:
        self.answers *= 0.5
        self.refused *= 0.5

    @property
    def served(self) -> float:
        return self.answers - self.refused

    @property
    def share(self) -> float:
        """How many are refused, 0 to 1 (the rule of succession: Laplace, 1774)."""
        return (self.refused + 1.0) / (self.answers + 2.0)


_NOTHING = _Counts()


class _Run:
    """What a target has told one proxy since it began to refuse it.

    ``others``: what it had told the others by then; ``refused_at``: when the latest was refused.
    """

    __slots__ = ("others", "own", "refused_at")

    def __init__(self, others: _Counts) -> None:
        self.own = _Counts()
        self.others = others
        self.refused_at = float("-inf")

    def evidence(self, others: _Counts) -> float:
        """Return how much likelier than by chance these refusals are for this proxy alone.

        As a logarithm.

        :param others: what the target has told the others so far.
        """
        # A site may refuse more from some moment on: the present counts as well as all of the time.
        meanwhile = others.minus(self.others)
        usual = max(_REFUSED_LEAST, others.share, meanwhile.share)
        if usual >= _REFUSED_ALONE or meanwhile.served < _SERVED_OTHERS:
            return 0.0
        served = self.own.served
        return self.own.refused * log(_REFUSED_ALONE / usual) + served * log(
            (1.0 - _REFUSED_ALONE) / (1.0 - usual)
        )


class _Target:
    """``answers``: how many there were, forgotten ones included; ``all``, ``through``: those remembered.

    ``excused_at``: since when it has not answered although a refusal was not its.
    """

    __slots__ = ("all", "answers", "excused_at", "runs", "through")

    def __init__(self) -> None:
        self.answers = 0
        self.all = _Counts()
        self.through: BoundedDict[str, _Counts] = BoundedDict(_PROXIES)
        self.runs: BoundedDict[str, _Run] = BoundedDict(_PROXIES)
        self.excused_at = float("inf")

    def others(self, proxy: str) -> _Counts:
        """Return what it has told all others."""
        return self.all.minus(self.through.get(proxy, _NOTHING))

    def count(self, proxy: str, *, refused: bool) -> None:
        self.answers += 1
        own = self.through.get(proxy)
        if own is None:
            own = self.through[proxy] = _Counts()
        for counts in (self.all, own):
            counts.answers += 1.0
            counts.refused += refused
        if self.all.answers > _ANSWERS:
            for counts in (self.all, *self.through.values()):
                counts.halve()
            for run in self.runs.values():
                run.others.halve()


class Refusals:
    """The refusals of the targets of one pool."""

    def __init__(self) -> None:
        self._latest: deque[_Refusal] = deque(maxlen=_LATEST)
        self._targets: BoundedDict[str, _Target] = BoundedDict(_TARGETS)

    def useful(self, target: str, proxy: str) -> None:
        """Take note of an answer as one wants it."""
        known = self._targets.get(target)
        if known is None:
            return  # it has refused nobody
        known.excused_at = float("inf")
        known.count(proxy, refused=False)
        run = known.runs.get(proxy)
        if run is not None:
            run.own.answers += 1.0
            if run.evidence(known.others(proxy)) <= 0.0:
                del known.runs[proxy]

    def refused(
        self, target: str, proxy: str, gateway: str, page: str, *, started_at: float, now: float
    ) -> tuple[str, ...]:
        """Take note of a refusal; return the targets that it is not of, this one included, or none.

        :param gateway: that of the proxy.
        :param page: equal for answers that look the same.
        :param started_at: when the request was sent.
        """
        refusal = _Refusal(now, target, proxy, gateway, page)
        latest = [one for one in self._latest if now - one.at < _TOGETHER]
        self._latest.append(refusal)
        known = self._targets.get(target)
        if known is not None and started_at > known.excused_at + _TOGETHER:
            return ()  # less was sent that way, it has not answered since, and says so still
        for same in (
            [one for one in latest if one.proxy == proxy],
            [one for one in latest if one.gateway == gateway],
        ):
            alike = {one.target for one in same if one.page == page} - {target}
            concerned = {*alike, target}
            others = [one for one in latest if one not in same and one.target in concerned]
            if alike and not others:
                for one in concerned:
                    record = self._known(one)
                    record.excused_at = min(record.excused_at, now)
                return tuple(sorted(concerned))
        return ()

    def alone(
        self, target: str, proxy: str, *, started_at: float, now: float, of_all: bool
    ) -> bool:
        """Take note of a refusal by the target; return whether it is for one proxy alone.

        :param started_at: when the request was sent.
        :param of_all: whether it is about all that is asked, and not about a page: then all that had
            been sent before the latest one are one refusal.
        """
        known = self._known(target)
        run = known.runs.get(proxy)
        if run is None:
            run = known.runs[proxy] = _Run(known.others(proxy))
        if not of_all or started_at > run.refused_at:
            known.count(proxy, refused=True)
            run.own.answers += 1.0
            run.own.refused += 1.0
        run.refused_at = now
        enough = _TIMES_AS_LIKELY_OF_ALL if of_all else _TIMES_AS_LIKELY
        enough *= max(1.0, known.answers / _ANSWERS_OF_ONE_TURN)
        if run.evidence(known.others(proxy)) < log(enough):
            return False
        del known.runs[proxy]
        return True

    def _known(self, target: str) -> _Target:
        known = self._targets.get(target)
        if known is None:
            known = self._targets[target] = _Target()
        return known
