"""Pairs of a proxy and a target that rest: who refuses to go where, told to whoever watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .choosing.pairs import CONNECT
from .events import PairRested, TargetRefused
from .outcome import NO_CONNECT

if TYPE_CHECKING:
    from .attempt import Attempt
    from .attribution.comparison import Comparison
    from .availability.availability import Availability
    from .choosing.pairs import Pairs
    from .events import EventBus

# A host that has answered what was asked within so many seconds is one that proxies go to.
_LATELY = 60.0
# Seconds for which a proxy rests at a target that refuses it alone.
_APART = 3600.0


class RestingPairs:
    """Lets pairs rest, and ends that.

    :param pairs: remember it.
    :param comparison: knows what others got.
    :param availability: knows how many proxies serve.
    :param events: is told.
    """

    def __init__(
        self, pairs: Pairs, comparison: Comparison, availability: Availability, events: EventBus
    ) -> None:
        self._pairs = pairs
        self._comparison = comparison
        self._availability = availability
        self._events = events

    def got_through(self, attempt: Attempt) -> None:
        """Take note of a success: nothing keeps its proxy from its target."""
        if attempt.target in self._pairs:
            self._pairs.answered(attempt.target, attempt.proxy.name)
        if attempt.tunnel is not None and CONNECT in self._pairs:
            self._pairs.answered(CONNECT, attempt.proxy.name)

    def refused_to_go(self, attempt: Attempt, failure: str, page: str | None, now: float) -> float:
        """Let a proxy rest at a host that it refuses; return what it is charged."""
        proxies = max(1, self._availability.serving)
        if failure == NO_CONNECT:
            before = self._pairs.rests(CONNECT, attempt.proxy.name)
            self._pairs.refused(CONNECT, attempt.proxy.name, now, proxies)
            self._tell_of_rest(attempt, CONNECT, failure, before, now)
            return 0.0
        part = self._comparison.odd(attempt, failure, now).part
        if attempt.tunnel is not None:
            page = None  # in CONNECT it is told the host and no page
        got_through = self._comparison.got_through(attempt)
        before = self._pairs.rests(attempt.target, attempt.proxy.name)
        by_all = self._pairs.refused(
            attempt.target,
            attempt.proxy.name,
            now,
            proxies,
            page=page,
            got_through=got_through,
            answers=self._comparison.answered_since(attempt, now - _LATELY),
        )
        self._tell_of_rest(attempt, attempt.target, failure, before, now)
        if by_all:
            until = self._pairs.refused_until(attempt.target)
            self._events.emit(TargetRefused(now=now, target=attempt.target, until=until))
        return part

    def keep_apart(self, attempt: Attempt, now: float) -> None:
        """Let a proxy rest at a target that refuses it alone."""
        before = self._pairs.rests(attempt.target, attempt.proxy.name)
        self._pairs.rest(attempt.target, attempt.proxy.name, now, least=_APART)
        self._tell_of_rest(attempt, attempt.target, "refused_alone", before, now)

    def _tell_of_rest(
        self, attempt: Attempt, target: str, reason: str, before: int, now: float
    ) -> None:
        """Emit that a pair rests, if it has rested fewer times before."""
        step = self._pairs.rests(target, attempt.proxy.name)
        if step > before:
            self._events.emit(
                PairRested(
                    now=now,
                    proxy=attempt.proxy,
                    target=target,
                    until=self._pairs.resting(target, now)[attempt.proxy.name],
                    step=step,
                    reason=reason,
                )
            )
