"""The ledger: who holds what. The seam at which one process's memory can become a shared store.

Health is local, because every process learns from its own traffic; limits are shared, because a
proxy does not care which process sends too much. So whatever must never be exceeded is decided by
:meth:`Ledger.claim`, in one atomic step, and everything else is only a proposal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .rate import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .rate import Rate


class Ledger(Protocol):
    """Counts what is in flight and holds every proxy's cap, rate and rest.

    Proxies are known by name; times are seconds.
    """

    def register(self, proxy: str, max_in_flight: int, rate: Rate | None) -> None:
        """Make a proxy known, or change its limits; what it holds is kept, its rest is over."""

    def forget(self, proxy: str) -> None:
        """Drop all that is known of a proxy."""

    def claim(
        self, candidates: Sequence[str], target: str, session: str | None, now: float
    ) -> str | None:
        """Grant one attempt on the first candidate whose cap, rate and rest allow it.

        :return: the proxy's name, or ``None`` if no candidate can take one.
        """

    def release(self, proxy: str) -> None:
        """Give back one attempt."""

    def rest(self, proxy: str, until: float) -> None:
        """Grant nothing on a proxy before ``until``."""

    def in_flight(self, proxy: str) -> int:
        """Return how many leases on a proxy are out."""

    def available(self, proxy: str, now: float) -> int:
        """Return how many leases could be granted on a proxy at this moment."""

    def ready_at(self, proxy: str) -> float:
        """Return when the rate and the rest of a proxy allow its next attempt."""


class _Holding:
    __slots__ = ("in_flight", "limiter", "max_in_flight", "rest_until")

    def __init__(self) -> None:
        self.in_flight = 0
        self.max_in_flight = 0
        self.limiter: RateLimiter | None = None
        self.rest_until = float("-inf")


class LocalLedger:
    """The ledger of one process: a dictionary."""

    def __init__(self) -> None:
        self._holdings: dict[str, _Holding] = {}

    def register(self, proxy: str, max_in_flight: int, rate: Rate | None) -> None:
        """Make a proxy known, or change its limits; what it holds is kept, its rest is over."""
        holding = self._holdings.setdefault(proxy, _Holding())
        holding.max_in_flight = max_in_flight
        holding.rest_until = float("-inf")
        holding.limiter = RateLimiter(rate, holding.limiter) if rate is not None else None

    def forget(self, proxy: str) -> None:
        """Drop all that is known of a proxy."""
        del self._holdings[proxy]

    def claim(
        self,
        candidates: Sequence[str],
        target: str,  # noqa: ARG002
        session: str | None,  # noqa: ARG002
        now: float,
    ) -> str | None:
        """Grant one attempt on the first candidate whose cap, rate and rest allow it."""
        for proxy in candidates:
            holding = self._holdings[proxy]
            if holding.in_flight >= holding.max_in_flight or now < holding.rest_until:
                continue
            limiter = holding.limiter
            if limiter is not None:
                if now < limiter.ready_at():
                    continue
                limiter.take(now)
            holding.in_flight += 1
            return proxy
        return None

    def release(self, proxy: str) -> None:
        """Give back one attempt."""
        self._holdings[proxy].in_flight -= 1

    def rest(self, proxy: str, until: float) -> None:
        """Grant nothing on a proxy before ``until``."""
        self._holdings[proxy].rest_until = until

    def in_flight(self, proxy: str) -> int:
        """Return how many leases on a proxy are out."""
        return self._holdings[proxy].in_flight

    def available(self, proxy: str, now: float) -> int:
        """Return how many leases could be granted on a proxy at this moment."""
        holding = self._holdings[proxy]
        free = holding.max_in_flight - holding.in_flight
        if free <= 0 or now < holding.rest_until:
            return 0
        if holding.limiter is not None:
            return min(free, holding.limiter.available(now))
        return free

    def ready_at(self, proxy: str) -> float:
        """Return when the rate and the rest of a proxy allow its next attempt."""
        holding = self._holdings[proxy]
        if holding.limiter is None:
            return holding.rest_until
        return max(holding.rest_until, holding.limiter.ready_at())
