"""Pages that look the same: one page for different URLs is the proxy's own, unless others give it too.

A proxy may answer every URL with one page of its own: a portal, a notice, an empty shell. Sites have
such pages too, but they come through every proxy. Keeps counts and answers questions; knows looks as
words, and no HTTP.
"""

from __future__ import annotations

from typing import NamedTuple

from .bounded_dict import BoundedDict

_TARGETS = 500
_PAGES = 32
_PROXIES = 16
# What one proxy gave counts as no more than so many answers, however many it had.
_ONE_VOICE = 3.0
# A proxy that gives a page for so much of all has nothing to compare with.
ALWAYS = 0.9
# A target is taken to give a page for other URLs so often by itself, with the weight of so many answers.
_PRIOR, _WEIGHT = 0.02, 2.0


class Repeated(NamedTuple):
    """A page that one proxy gives for different URLs.

    ``look``: what it looks like. ``usual``: for how much of all others give it, 0 to 1.
    """

    look: str
    usual: float


class _Target:
    """``answers``: how many pages each proxy gave.

    ``pages``: who gave one, for how many URLs, and the last of these.
    """

    __slots__ = ("answers", "pages")

    def __init__(self) -> None:
        self.answers: BoundedDict[str, int] = BoundedDict(_PROXIES)
        self.pages: BoundedDict[str, BoundedDict[str, tuple[int, str]]] = BoundedDict(_PAGES)

    def share(self, look: str, who: str) -> float:
        """Return for how much of all a proxy gives a page, 0 to 1."""
        answers = self.answers.get(who, 0)
        givers = self.pages.get(look)
        if not answers or givers is None or who not in givers:
            return 0.0
        return min(1.0, givers[who][0] / answers)

    def usual(self, look: str, who: str) -> float | None:
        """Return for how much of all others give a page; ``None`` if there is nobody to compare with."""
        odd = answers = 0.0
        for name, count in self.answers.items():
            share = self.share(look, name)
            if name != who and share < ALWAYS:
                voice = min(_ONE_VOICE, count)
                answers += voice
                odd += voice * share
        return (odd + _WEIGHT * _PRIOR) / (answers + _WEIGHT) if answers else None


class Pages:
    """Remembers the looks of pages of the targets that were asked last.

    :param least: for so many different URLs a page is the same.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._targets: BoundedDict[str, _Target] = BoundedDict(_TARGETS)

    def seen(self, target: str, who: str, looks: tuple[str, ...], url: str) -> Repeated | None:
        """Take note of a page; return it if it is the same for different URLs.

        :param looks: each equal for pages that look the same in one way.
        :return: the look that others give least; ``None`` if there is none, or nobody to compare.
        """
        known = self._targets.get(target)
        if known is None:
            known = self._targets[target] = _Target()
        else:
            self._targets.move_to_end(target)
        known.answers[who] = known.answers.get(who, 0) + 1
        found: Repeated | None = None
        for look in looks:
            givers = known.pages.get(look)
            if givers is None:
                givers = known.pages[look] = BoundedDict(_PROXIES)
            else:
                known.pages.move_to_end(look)
            count, last = givers.get(who, (0, ""))
            if count == 0 or url != last:
                count += 1
                givers[who] = (count, url)
            if count < self._least:
                continue
            usual = known.usual(look, who)
            if usual is not None and (found is None or usual < found.usual):
                found = Repeated(look, usual)
        return found

    def gives_others(self, target: str, who: str, look: str) -> bool:
        """Return whether a proxy is known to give other pages of a target than one."""
        known = self._targets.get(target)
        return (
            known is not None and known.answers.get(who, 0) > 1 and known.share(look, who) < ALWAYS
        )
