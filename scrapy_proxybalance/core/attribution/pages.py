"""Pages that look the same: one page for different URLs is the proxy's own, unless others give it too.

A proxy may answer every URL with one page of its own: a portal, a notice, an empty shell. Sites have
such pages too, but they come through every proxy. Keeps counts and answers questions; knows looks as
words, and no HTTP.
"""

from __future__ import annotations

from typing import NamedTuple

from ..structures.bounded_dict import BoundedDict
from .answers import ALWAYS, ONE_VOICE, PRIOR, PROXIES, WEIGHT

_TARGETS = 500
_PAGES = 32
# When so many pages of one proxy are known, they count half.
_WINDOW = 20.0
# So many others have to be known for what is usual where none varies.
_SPEAK_FOR_ALL = 3
# While they are fewer, so many looks of a target's first pages are doubted.
_DOUBTED = 60


class Repeated(NamedTuple):
    """A page that one proxy gives for different URLs.

    ``look``: what it looks like. ``usual``: for how much of all others give it, 0 to 1; ``None`` while
    others have given nothing.
    """

    look: str
    usual: float | None


class _Giver:
    """How many pages a proxy gave of late; ``whole``: of these, its commonest."""

    __slots__ = ("answers", "whole")

    def __init__(self) -> None:
        self.answers = self.whole = 0.0


class _Given:
    """For how many URLs a proxy gave a page of late, and the last of these."""

    __slots__ = ("last", "urls")

    def __init__(self) -> None:
        self.urls = 0.0
        self.last = ""


class _Target:
    """``givers``: how many pages each proxy gave of late.

    ``pages``: who gave one, for how many URLs of late, and the last of these. ``doubted``: how often
    there was nobody to compare with.
    """

    __slots__ = ("doubted", "givers", "pages")

    def __init__(self) -> None:
        self.doubted = 0
        self.givers: BoundedDict[str, _Giver] = BoundedDict(PROXIES)
        self.pages: BoundedDict[str, BoundedDict[str, _Given]] = BoundedDict(_PAGES)

    def answered(self, who: str) -> _Giver:
        """Count a page."""
        giver = self.givers.get(who)
        if giver is None:
            giver = self.givers[who] = _Giver()
        giver.answers += 1.0
        if giver.answers > _WINDOW:
            giver.answers *= 0.5
            giver.whole *= 0.5
            for given_by in self.pages.values():
                if who in given_by:
                    given_by[who].urls *= 0.5
        return giver

    def share(self, look: str, who: str) -> float:
        """Return for how much of all a proxy gives a page, 0 to 1."""
        given_by = self.pages.get(look)
        if given_by is None or who not in given_by:
            return 0.0
        return min(1.0, given_by[who].urls / self.givers[who].answers)

    def varies(self, who: str) -> bool:
        """Return whether a proxy is known to give different pages."""
        giver = self.givers.get(who)
        return giver is not None and giver.answers > 1.0 and giver.whole < ALWAYS * giver.answers

    def usual(self, look: str, who: str, proxies: int, heard: int) -> float | None:
        """Return for how much of all others give a page; ``None`` if that is not known.

        Those that give one page only are left out where others vary, or most others give another one:
        they may be as bad.
        """
        others = [name for name in self.givers if name != who]
        telling = [name for name in others if self.varies(name)]
        if not telling:
            if max(heard, len(others)) < max(1, min(_SPEAK_FOR_ALL, proxies - 1)):
                if proxies < 2 or self.doubted >= _DOUBTED:
                    return 1.0
                self.doubted += 1
                return None
            if not others:
                return 1.0
            telling = [name for name in others if self.share(look, name) < 0.5]
            if 2 * len(telling) <= len(others):
                telling = others
        odd = answers = 0.0
        for name in telling:
            voice = min(ONE_VOICE, self.givers[name].answers)
            answers += voice
            odd += voice * self.share(look, name)
        return (odd + WEIGHT * PRIOR) / (answers + WEIGHT)


class Pages:
    """Remembers the looks of pages of the targets that were asked last.

    :param least: for so many different URLs a page is the same; one more for each further look.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._targets: BoundedDict[str, _Target] = BoundedDict(_TARGETS)

    def seen(
        self,
        target: str,
        who: str,
        looks: tuple[str, ...],
        url: str,
        *,
        proxies: int,
        heard: int = 0,
    ) -> Repeated | None:
        """Take note of a page; return it if it is the same for different URLs.

        :param looks: each equal for pages that look the same in one way; the last for most.
        :param proxies: how many could have given one.
        :param heard: how many others have had an answer of the target, of any kind.
        :return: the look that others give least; where there is nobody to compare, the first.
        """
        known = self._targets.get(target)
        if known is None:
            known = self._targets[target] = _Target()
        else:
            self._targets.move_to_end(target)
        giver = known.answered(who)
        found: Repeated | None = None
        for number, look in enumerate(looks):
            given_by = known.pages.get(look)
            if given_by is None:
                given_by = known.pages[look] = BoundedDict(PROXIES)
            else:
                known.pages.move_to_end(look)
            given = given_by.get(who)
            if given is None:
                given = given_by[who] = _Given()
            if url != given.last or given.urls == 0.0:
                given.urls += 1.0
                given.last = url
            urls = given.urls
            if look == looks[-1] and urls > giver.whole:
                giver.whole = urls
            if urls < self._least + number:
                continue
            usual = known.usual(look, who, proxies, heard)
            if found is None or (
                usual is not None and found.usual is not None and usual < found.usual
            ):
                found = Repeated(look, usual)
        return found

    def gives_others(self, target: str, who: str) -> bool:
        """Return whether a proxy is known to give different pages of a target."""
        known = self._targets.get(target)
        return known is not None and known.varies(who)
