"""Answers: what a target recently answered through other proxies, and whose an odd answer probably is.

A proxy may answer with a page of its own in place of the site's: an error, nothing, a redirect to its
shop. One such page proves nothing; that nobody else gets it from the same target does. Keeps counts
and answers questions. It knows kinds of answers as words, and no HTTP.

The model is that of :mod:`.blame`, a noisy-or (Pearl, 1988): an odd answer is split between the proxy
and the target by how often each gives such an answer by itself::

    the proxy's part = q_proxy / (q_proxy + q_target + q_pair)

``q_target`` is ``(odd + 2 x usual) / (answers + 2)`` of what others got, ``usual`` the share of such
answers at all targets; 0.5 while no other has had an answer. ``q_pair`` is how often a proxy gives such
an answer for this target alone, or 0. Each of the others has a voice of the same weight: one that
answers everything itself at once has the most answers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..outcome import SAME_PAGE
from ..structures.bounded_dict import BoundedDict

# A target that others had answers of is taken to give an odd answer so often, with the weight of so
# many answers; and one of which only this proxy knows anything.
PRIOR, WEIGHT = 0.02, 2.0
UNHEARD_OF = 0.5
# The same for the share of odd answers of a kind among the answers of all targets.
_PRIOR_WEIGHT_OF_ALL = 50.0
# When so many answers through one proxy are known, they count half.
_WINDOW = 50.0
# What one proxy got counts as no more than so many answers, however many it had; so many proxies and
# kinds are remembered of a target.
ONE_VOICE = 3.0
PROXIES = 16
_KINDS = 16
_KINDS_IN_ALL = 1000
# The kind of a page as one wants it, and of one that is the same for different URLs.
_USEFUL = ""
_TARGETS = 2000
# Whoever gets an answer for so much of all that it asks for says nothing about others.
ALWAYS = 0.9


class Suspicion(NamedTuple):
    """Whose an odd answer probably is.

    ``part``: the proxy's, 0 to 1. ``compared``: whether others have had an answer of the target's, so
    that there was anything to compare with.
    """

    part: float
    compared: bool


class _Target:
    """``through``: for each of the last proxies, its answers by kind; pages as one wants them are "".

    ``row``: the kind of each one's last answer, and how many of that kind came in a row. ``asked_at``:
    when the last page was asked for that came as one wants it. ``confirmed``: kinds that are its own.
    """

    __slots__ = ("asked_at", "confirmed", "row", "through")

    def __init__(self) -> None:
        self.asked_at = float("-inf")
        self.confirmed: BoundedDict[str, None] = BoundedDict(_KINDS)
        self.through: BoundedDict[str, dict[str, float]] = BoundedDict(PROXIES)
        self.row: BoundedDict[str, list[Any]] = BoundedDict(PROXIES)

    def share(self, who: str, kind: str) -> float:
        """Return how much of what a proxy got was of a kind, 0 to 1."""
        counts = self.through.get(who)
        return counts.get(kind, 0.0) / sum(counts.values()) if counts else 0.0

    def others(self, who: str, kind: str) -> tuple[float, float]:
        """Return how many answers of a kind others got, and how many in all; each has one voice.

        Those that get nothing else are left out where others get pages: they may be as bad.
        """
        heard, pages = [], False
        for name, counts in self.through.items():
            if name != who:
                count = sum(counts.values())
                voice = min(ONE_VOICE, count)
                heard.append((voice * counts.get(kind, 0.0) / count, voice))
                pages = pages or self.gets_pages(name)
        if pages:
            heard = [one for one in heard if one[0] < ALWAYS * one[1]]
        return sum(odd for odd, _ in heard), sum(voice for _, voice in heard)

    def gets_pages(self, who: str) -> bool:
        """Return whether much of what a proxy gets is pages as one wants them."""
        counts = self.through[who]
        pages = counts.get(_USEFUL, 0.0)
        return pages >= max(1.0, 0.5 * sum(counts.values()))

    def note(self, who: str, kind: str) -> None:
        """Count an answer."""
        row = self.row.get(who)
        if row is None:
            self.row[who] = [kind, 1]
        elif row[0] == kind:
            row[1] += 1
        else:
            row[:] = kind, 1
        counts = self.through.get(who)
        if counts is None:
            counts = self.through[who] = {}
        else:
            self.through.move_to_end(who)
        if kind not in counts and len(counts) >= _KINDS:
            del counts[next(iter(counts))]
        counts[kind] = counts.get(kind, 0.0) + 1.0
        if counts[kind] > _WINDOW:
            for known in counts:
                counts[known] *= 0.5


class Answers:
    """Remembers the answers of the targets that were asked last.

    Who gave an answer is a proxy's name, or its gateway's where several gateways can be compared.
    """

    def __init__(self) -> None:
        self._targets: BoundedDict[str, _Target] = BoundedDict(_TARGETS)
        self._all = 0.0
        self._all_odd: BoundedDict[str, float] = BoundedDict(_KINDS_IN_ALL)

    def useful(self, target: str, who: str, asked_at: float = float("-inf")) -> None:
        """Take note of an answer as one wants it.

        :param asked_at: when it was asked for, in seconds.
        """
        known = self._known(target)
        known.asked_at = max(known.asked_at, asked_at)
        known.note(who, _USEFUL)
        self._all += 1.0

    def odd(self, target: str, kind: str, who: str, *, rate: float, pair: float = 0.0) -> Suspicion:
        """Take note of an odd answer; return whose it probably is.

        :param kind: the class of failure that it looked like.
        :param rate: how often the proxy fails, 0 to 1, as known before.
        :param pair: how often a proxy is taken to give such an answer for one target only.
        """
        known = self._known(target)
        odd, answers = known.others(who, kind)
        compared = answers > 0.0
        usual = UNHEARD_OF
        if compared:
            of_all = self._all_odd.get(kind, 0.0) + _PRIOR_WEIGHT_OF_ALL * PRIOR
            prior = of_all / (self._all + _PRIOR_WEIGHT_OF_ALL)
            usual = (odd + WEIGHT * prior) / (answers + WEIGHT)
        part = rate / (rate + usual + pair)
        known.note(who, kind)
        self._count(kind, 1.0 - part if compared else 0.0)
        return Suspicion(part, compared)

    def confirmed(self, target: str, kind: str, who: str) -> None:
        """Take note that two proxies got the same odd answer for the same page: it is the target's."""
        known = self._known(target)
        known.note(who, kind)
        known.confirmed[kind] = None
        self._count(kind, 1.0)

    def same_page(self, target: str, who: str) -> None:
        """Take note of a page that a proxy gives for different URLs, and others do not."""
        self._known(target).note(who, SAME_PAGE)

    def heard(self, target: str, who: str) -> int:
        """Return how many others have had an answer of a target."""
        known = self._targets.get(target)
        return 0 if known is None else len(known.through) - (who in known.through)

    def is_confirmed(self, target: str, kind: str) -> bool:
        """Return whether a target is known to give answers of a kind."""
        known = self._targets.get(target)
        return known is not None and kind in known.confirmed

    def in_a_row(self, target: str, kind: str, who: str) -> int:
        """Return how many answers of a kind somebody has had in a row of a target."""
        known = self._targets.get(target)
        row = known.row.get(who) if known is not None else None
        return row[1] if row is not None and row[0] == kind else 0

    def through_others(self, target: str, kind: str, who: str) -> int:
        """Return through how many others a target has given answers of a kind."""
        known = self._targets.get(target)
        if known is None:
            return 0
        return sum(1 for name, counts in known.through.items() if name != who and kind in counts)

    def convinces(self, target: str, kind: str, who: str) -> bool:
        """Return whether a proxy that gets an answer says that it is the target's.

        Not so if it gets nothing else of the target, and others get pages.
        """
        known = self._targets.get(target)
        if known is None or known.share(who, kind) < ALWAYS:
            return True
        return not any(name != who and known.gets_pages(name) for name in known.through)

    def answered_since(self, target: str, when: float) -> bool:
        """Return whether a target has given a useful answer to what was asked after a moment."""
        known = self._targets.get(target)
        return known is not None and known.asked_at > when

    def answers(self, target: str, who: str) -> bool:
        """Return whether somebody has had useful answers of a target."""
        known = self._targets.get(target)
        return known is not None and _USEFUL in known.through.get(who, ())

    def answers_others(self, target: str, who: str) -> bool:
        """Return whether others have had useful answers of a target."""
        known = self._targets.get(target)
        return known is not None and any(
            name != who and _USEFUL in counts for name, counts in known.through.items()
        )

    def _count(self, kind: str, targets: float) -> None:
        """Count an odd answer among all; ``targets`` is the part of it that was the target's."""
        self._all += 1.0
        self._all_odd[kind] = self._all_odd.get(kind, 0.0) + targets

    def _known(self, target: str) -> _Target:
        known = self._targets.get(target)
        if known is None:
            known = self._targets[target] = _Target()
        else:
            self._targets.move_to_end(target)
        return known
