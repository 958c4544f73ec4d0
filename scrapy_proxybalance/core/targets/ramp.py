"""The rate that a target has sustained, and how its traffic grows back after it refused.

Arithmetic on times that the caller passes in; the gate keeps the state of a target.
"""

from __future__ import annotations

from math import ceil, exp

import attrs

# What was sustained counts with this time constant, in seconds, and over a second at least: sites
# mostly limit by the second or more, and a burst says nothing about less.
_MEMORY = 10.0
_SHORTEST = 1.0

# The curve, in parts of what was sustained: where it begins, and where it levels off.
_START = 0.8
_LEVEL = 0.95
# To how many seconds the moment of the next request is worked out.
_PRECISION = 0.0005


class Traffic:
    """Counts a target's normal answers, to know at a refusal what rate it has sustained."""

    __slots__ = ("_count", "_counted_at", "_since", "_weight", "peak")

    def __init__(self, now: float) -> None:
        self.start_over(now)

    def start_over(self, now: float) -> None:
        """Start over, as at the beginning of a pause."""
        self._since = self._counted_at = now
        self._weight = 0.0
        self._count = 0
        #: The most requests that were in flight at once since then.
        self.peak = 0

    def answered(self, now: float) -> None:
        """Count an answer."""
        self._weight = self._weight * exp((self._counted_at - now) / _MEMORY) + 1.0
        self._counted_at = now
        self._count += 1

    def sustained(self, now: float, *, lately: bool) -> Sustained:
        """Return what the target has sustained.

        :param lately: in the last ten seconds or so; or else since the beginning, quiet times
            included.
        """
        observed = now - self._since
        if lately:
            answers = self._weight * exp((self._counted_at - now) / _MEMORY)
            seconds = _MEMORY * (1.0 - exp(-observed / _MEMORY))
        else:
            answers, seconds = self._count, observed
        return Sustained(
            answers=answers,
            seconds=max(_SHORTEST, seconds),
            peak=max(1, self.peak),
            observed=observed,
        )


@attrs.define(kw_only=True)
class Sustained:
    """What a target sustained before it refused.

    :param answers: as usual, in ``seconds``; those that came late count too.
    :param seconds: the time that the answers count for.
    :param peak: requests in flight at once.
    :param observed: seconds for which the target had been crawled.
    :param ceiling: requests per second that were allowed.
    """

    answers: float
    seconds: float
    peak: int
    observed: float
    ceiling: float = float("inf")

    @property
    def rate(self) -> float:
        """The requests per second that were sustained; at least one answer is assumed."""
        return min(self.ceiling, max(1.0, self.answers) / self.seconds)


class Ramp:
    """Lets a target's traffic grow back: the rate and the requests at once.

    The rate begins at 0.8 of what was sustained, levels off at 0.95 of it over ``seconds``, and then
    grows beyond, slowly at first, in the shape of CUBIC (RFC 9438, section 4.2): so it stays long
    near the sustained rate, and still finds out when the target can do more. After a half, 1, 2, 3 and
    4 times ``seconds`` it is 0.93, 0.95, 1.00, 1.35 and 2.30 of what was sustained. Requests
    are spaced evenly. Time in which less than half of what is allowed was sent proves nothing, and
    counts as much less (as for TCP, RFC 7661, section 4.3).

    :param sustained: requests per second that were sustained; above 0.
    :param peak: the most requests at once before.
    :param seconds: how long the growth takes.
    :param now: when it begins.
    """

    __slots__ = ("_due", "_peak", "_ready_at", "_seconds", "_started_at", "_sustained")

    def __init__(self, sustained: float, peak: int, seconds: float, now: float) -> None:
        self._sustained = sustained
        self._peak = peak
        self._seconds = seconds
        self._started_at = now
        # When the next request is due, on a clock that counts the requests which the rate allows.
        self._due = 1.0
        self._ready_at = self._moment_of(1.0, now)

    @property
    def ends_at(self) -> float:
        """When the rate has grown back as far as it was cut."""
        return self._started_at + self._seconds

    def rate(self, now: float) -> float:
        """Return the requests per second that may go now."""
        return self._sustained * self._part(now)

    def max_in_flight(self, now: float) -> int:
        """Return how many requests may be in flight now."""
        return max(1, ceil(self._peak * self._part(now)))

    def ready_at(self) -> float:
        """Return when the next request may go."""
        return self._ready_at

    def take(self, now: float, in_flight: int) -> None:
        """Count a request that is sent now; being late by half an interval is made up for.

        :param in_flight: requests that are under way already.
        """
        idle = now - self._ready_at - 1.0 / self.rate(self._ready_at)
        if idle > 0.0 and 2 * in_flight < self.max_in_flight(now - idle):
            self._started_at += idle
        self._due = max(self._due, self._allowed_by(now) - 0.5) + 1.0
        self._ready_at = self._moment_of(self._due, now)

    def _part(self, now: float) -> float:
        passed = (now - self._started_at) / self._seconds
        if passed < 1.0:
            return _LEVEL - (_LEVEL - _START) * (1.0 - passed) ** 3
        return _LEVEL + (1.0 - _LEVEL) * (passed - 1.0) ** 3

    def _allowed_by(self, now: float) -> float:
        """Return how many requests the rate allows from the beginning until now: its integral."""
        passed = (now - self._started_at) / self._seconds
        start = min(1.0, passed)
        allowed = _LEVEL * passed - (_LEVEL - _START) * (1.0 - (1.0 - start) ** 4) / 4.0
        if passed > 1.0:
            allowed += (1.0 - _LEVEL) * (passed - 1.0) ** 4 / 4.0
        return self._sustained * self._seconds * allowed

    def _moment_of(self, due: float, now: float) -> float:
        """Return when so many requests will have been allowed, not before ``now``."""
        early, late = now, now + max(0.0, due - self._allowed_by(now)) / self.rate(now)
        while late - early > _PRECISION:
            middle = (early + late) / 2.0
            if self._allowed_by(middle) < due:
                early = middle
            else:
                late = middle
        return late
