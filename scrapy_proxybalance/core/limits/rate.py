"""Rates, as pure arithmetic on times that the caller passes in."""

from __future__ import annotations

import re
from math import floor

import attrs

from ..errors import ConfigurationError

_UNITS = {"s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0}
_UNITS |= {"h": 3600.0, "hour": 3600.0, "d": 86400.0, "day": 86400.0}
_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*([a-z]+)(?:[\s,]+burst=(\d+))?\s*")


@attrs.frozen
class Rate:
    """So many requests in so many seconds, with a burst no larger than asked for.

    :param requests: requests allowed per period; above 0.
    :param period: seconds; above 0.
    :param burst: requests that may go at once after a quiet time; 1 spaces all requests evenly.
    """

    requests: float
    period: float
    burst: int = 1

    def __attrs_post_init__(self) -> None:
        if not (0 < self.requests < float("inf") and 0 < self.period < float("inf")):
            raise ConfigurationError(f"rate {self}: requests and period have to be above 0")
        if self.burst < 1:
            raise ConfigurationError(f"rate {self}: burst has to be at least 1")

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read ``"30/min"``, ``"5/s"``, ``"100/h burst=10"`` or ``"100/h,burst=10"``.

        :raises ConfigurationError: for anything else.
        """
        match = _RATE.fullmatch(text.lower())
        if match is None or match[2] not in _UNITS or float(match[1]) == 0:
            raise ConfigurationError(
                f"{text!r} is not a rate; write requests per unit, like '30/min', '5/s' or "
                "'100/h burst=10' (units: s, min, h, d)"
            )
        return cls(float(match[1]), _UNITS[match[2]], int(match[3] or 1))

    def __str__(self) -> str:
        burst = f" burst={self.burst}" if self.burst != 1 else ""
        return f"{self.requests:g} per {self.period:g} s{burst}"


class RateLimiter:
    """Holds one rate by the generic cell rate algorithm (ITU-T I.371).

    A request conforms when it comes no earlier than ``burst - 1`` intervals before its theoretical
    arrival time; each one sent moves that time on by an interval. The time is kept as an anchor and
    a number of intervals, so that no rounding adds up.

    :param rate: the rate to hold.
    :param before: the limiter that this one replaces; what it let through counts.
    """

    __slots__ = ("_anchor", "_burst", "_interval", "_intervals")

    def __init__(self, rate: Rate, before: RateLimiter | None = None) -> None:
        self._interval = rate.period / rate.requests
        self._burst = rate.burst
        self._anchor = before.arrival if before is not None else float("-inf")
        self._intervals = 0

    @property
    def arrival(self) -> float:
        """The theoretical arrival time of the next request."""
        return self._anchor + self._intervals * self._interval

    def ready_at(self) -> float:
        """The moment from which one more request conforms."""
        return self._anchor + (self._intervals - self._burst + 1) * self._interval

    def available(self, now: float) -> int:
        """How many requests may be sent at this moment."""
        if now < self.ready_at():
            return 0
        if now >= self.arrival:
            return self._burst
        passed = floor((now - self._anchor) / self._interval + 1e-9)
        return max(1, passed - self._intervals + self._burst)

    def take(self, now: float) -> None:
        """Count a request that is sent at ``now``."""
        if now >= self.arrival:
            self._anchor, self._intervals = now, 0
        self._intervals += 1
