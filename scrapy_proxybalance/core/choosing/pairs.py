"""Pairs of a proxy and a target that do not work together: the proxy rests at that target for a while.

A proxy may refuse one host and carry all others; a site may refuse one proxy and serve all others; and
a proxy that does no CONNECT still carries http. None of that is a matter of the proxy's health. Pure:
times come from the caller and never go back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..structures.bounded_dict import BoundedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The name under which those rest that do no CONNECT: at all targets that need it.
CONNECT = "CONNECT"

# A pair rests for so many seconds, each further time for twice as long, up to a longest time.
_REST, _LONGEST_REST = 60.0, 3600.0
# So many proxies that refuse a host stand for all: the provider forbids it.
_SPEAK_FOR_ALL = 8
# And so many refusals in a row of a pool of fewer: behind each of its proxies may be many exits, some of
# which are bad.
_REFUSALS = 6
_TARGETS = 2000

_NOBODY: Mapping[str, float] = {}


class _Target:
    __slots__ = ("denied", "due", "refused_by", "refused_until", "resting", "times")

    def __init__(self) -> None:
        self.resting: dict[str, float] = {}
        self.times: dict[str, int] = {}
        self.denied: dict[str, set[object]] = {}  # what a proxy has refused in a row
        self.due = float("inf")  # when the first of them is due
        self.refused_by: set[str] = set()
        self.refused_until = float("-inf")


class Pairs:
    """Who rests where, and until when."""

    def __init__(self) -> None:
        self._targets: BoundedDict[str, _Target] = BoundedDict(_TARGETS)

    def __contains__(self, target: str) -> bool:
        return target in self._targets

    def rest(self, target: str, proxy: str, now: float, *, least: float = _REST) -> None:
        """Have a proxy rest at a target.

        :param least: for how many seconds the first time.
        """
        known = self._known(target)
        if now < known.resting.get(proxy, float("-inf")):
            return  # it was under way before
        times = known.times[proxy] = known.times.get(proxy, 0) + 1
        until = now + min(_LONGEST_REST, least * 2.0 ** min(times - 1, 60))
        known.resting[proxy] = until
        known.due = min(known.due, until)

    def rests(self, target: str, proxy: str) -> int:
        """Return how often in a row a proxy has rested at a target."""
        known = self._targets.get(target)
        return known.times.get(proxy, 0) if known is not None else 0

    def count(self, now: float) -> int:
        """Return how many pairs rest now."""
        return sum(len(self.resting(target, now)) for target in self._targets)

    def refused(
        self,
        target: str,
        proxy: str,
        now: float,
        proxies: int,
        *,
        page: str | None = None,
        got_through: bool = False,
        answers: bool = False,
    ) -> bool:
        """Take note that a proxy will not go to a target: it rests there.

        :param target: :data:`CONNECT` for one that does not support CONNECT.
        :param proxies: how many proxies could be asked.
        :param page: which page it would not fetch, where it may be about that page alone: it rests once
            it has refused a second one, and has fetched none in between.
        :param got_through: whether it is known to have been at the target: then it rests after a second
            refusal in a row, too.
        :param answers: whether the target has answered somebody of late: then some do go there.
        :return: whether that makes it a target that no proxy goes to.
        """
        denied = self._known(target).denied.setdefault(proxy, set())
        enough = max(1 if page is None and not got_through else 2, -(-_REFUSALS // proxies))
        if len(denied) < enough:
            denied.add(object() if page is None else page)
        if len(denied) < enough:
            return False
        self.rest(target, proxy, now)
        self.resting(target, now)  # a proxy that is due again no longer counts
        known = self._targets[target]
        known.refused_by.add(proxy)
        speak = proxies if target == CONNECT else min(_SPEAK_FOR_ALL, proxies)
        if len(known.refused_by) < speak or now < known.refused_until or answers:
            return False
        known.refused_until = min(known.resting.values())
        return True

    def refused_until(self, target: str) -> float:
        """Return until when no proxy goes to a target; the past where some do."""
        known = self._targets.get(target)
        return known.refused_until if known is not None else float("-inf")

    def answered(self, target: str, proxy: str) -> None:
        """Take note that a proxy has got through to a target."""
        known = self._targets.get(target)
        if known is None:
            return
        known.resting.pop(proxy, None)
        known.times.pop(proxy, None)
        known.denied.pop(proxy, None)
        known.refused_by.discard(proxy)
        known.refused_until = float("-inf")
        if not (known.times or known.denied):
            del self._targets[target]

    def resting(self, target: str, now: float) -> Mapping[str, float]:
        """Return the proxies that rest at a target, with the moments they are due at."""
        known = self._targets.get(target)
        if known is None:
            return _NOBODY
        if now >= known.due:
            for proxy, until in list(known.resting.items()):
                if until <= now:
                    del known.resting[proxy]
                    known.refused_by.discard(proxy)
            known.due = min(known.resting.values(), default=float("inf"))
        return known.resting

    def forget(self, proxy: str) -> None:
        """Drop what is kept of a proxy."""
        for target, known in list(self._targets.items()):
            known.resting.pop(proxy, None)
            known.times.pop(proxy, None)
            known.denied.pop(proxy, None)
            known.refused_by.discard(proxy)
            if not (known.times or known.denied):
                del self._targets[target]

    def _known(self, target: str) -> _Target:
        known = self._targets.get(target)
        if known is None:
            known = self._targets[target] = _Target()
        return known
