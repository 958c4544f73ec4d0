"""What the simulator asks of a rule that chooses proxies, our pool behind it, and the plainest rules.

A contender knows what a crawler can know: the proxies' number and cap, and how attempts ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Protocol

from scrapy_proxybalance.core import (
    Attempt,
    Blocked,
    Dispatcher,
    Pool,
    PoolPolicy,
    Proxy,
    Step,
    Verdict,
    Want,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .plan import Scenario
    from .world import End


@dataclass(frozen=True)
class Handle:
    """The right to send one attempt through a proxy; ``ticket`` is the contender's own."""

    proxy: int
    target: int
    at: float
    ticket: object = None


@dataclass(frozen=True)
class Held:
    """No proxy now; ``retry_at`` is when to ask again, ``None`` when an attempt has to end first."""

    retry_at: float | None = None


class Contender(Protocol):
    """A rule that chooses proxies."""

    #: So many attempts for a page cost it nothing that were cut short by the contender's own timeout.
    free_cuts: int

    def acquire(self, now: float, target: int, tried: Sequence[int]) -> Handle | Held:
        """Choose a proxy, if it can be one that was not tried for the page."""

    def timeout(self, handle: Handle, cuts: int, *, last: bool) -> float:
        """Return the seconds to allow; the user's own timeout holds besides.

        :param cuts: how often the page was cut short by the contender's own timeout.
        :param last: whether the page is lost if this attempt fails.
        """

    def release(self, handle: Handle, end: End, now: float) -> bool:
        """Learn how an attempt ended; return whether it leaves the page as many attempts as it had."""


def target_name(target: int) -> str:
    """Return a target's host."""
    return f"target-{target}.example"


class Ours:
    """The pool, as a crawl drives it."""

    free_cuts = 3

    def __init__(self, scenario: Scenario, seed: int, strategy: str) -> None:
        shared = len(scenario.gateways)
        proxies = [
            Proxy(
                name=str(index),
                host=f"gateway-{index % shared}" if shared else f"proxy-{index}",
                port=8000,
                username=f"session-{index}" if shared else None,
            )
            for index in range(scenario.pool.size)
        ]
        policy = PoolPolicy(strategy=strategy, max_in_flight=scenario.pool.cap)
        self.pool = Pool(proxies, policy, rng=Random(seed))
        self._dispatcher = Dispatcher(self.pool)
        self._own_timeout = scenario.load.timeout

    def acquire(self, now: float, target: int, tried: Sequence[int]) -> Handle | Held:
        """Start an attempt."""
        want = Want(target=target_name(target), avoid=[str(index) for index in tried])
        attempt = self._dispatcher.start(want, now)
        if isinstance(attempt, Blocked):
            return Held(attempt.retry_at)
        if not isinstance(attempt, Attempt):
            raise TypeError(f"not through the pool: {attempt!r}")
        return Handle(int(attempt.proxy.name), target, now, attempt)

    def timeout(self, handle: Handle, cuts: int, *, last: bool) -> float:
        """Return the pool's adaptive timeout."""
        attempt = _attempt(handle)
        attempt.cuts = cuts
        if not last:
            self.pool.limit_time(attempt, self._own_timeout, handle.at)
        return attempt.timeout or self._own_timeout

    def release(self, handle: Handle, end: End, now: float) -> bool:
        """Finish the attempt; return whether it is free of charge."""
        verdict = Verdict(outcome=end.outcome, failure=end.failure, retry_after=end.retry_after)
        followup = self._dispatcher.finish(
            _attempt(handle), verdict, now, latency=end.latency, duration=end.seconds
        )
        return followup.step is Step.SEND_AGAIN


def _attempt(handle: Handle) -> Attempt:
    attempt = handle.ticket
    if not isinstance(attempt, Attempt):
        raise TypeError(f"not an attempt of the pool: {attempt!r}")
    return attempt


class Plain:
    """What rules of our own making share: the count of what is in flight, and the user's timeout."""

    free_cuts = 0

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.size = scenario.pool.size
        self.cap = scenario.pool.cap
        self.rng = Random(seed)
        self.in_flight = [0] * self.size
        self.total = 0

    def acquire(self, now: float, target: int, tried: Sequence[int]) -> Handle | Held:
        """Choose a proxy with :meth:`pick`."""
        if self.total >= self.size * self.cap:
            return Held()
        index = self.pick(now, tried)
        if index is None:
            return Held(self.ready_at())
        self.in_flight[index] += 1
        self.total += 1
        return Handle(index, target, now)

    def pick(self, now: float, tried: Sequence[int]) -> int | None:
        """Return a proxy below its cap."""
        raise NotImplementedError

    def ready_at(self) -> float | None:
        """Return when time alone makes a proxy usable."""
        return None

    def timeout(self, handle: Handle, cuts: int, *, last: bool) -> float:  # noqa: ARG002
        """Return no timeout of its own."""
        return float("inf")

    def release(self, handle: Handle, end: End, now: float) -> bool:
        """Count the attempt off, and learn."""
        self.in_flight[handle.proxy] -= 1
        self.total -= 1
        self.learn(handle.proxy, end, now)
        return False

    def learn(self, index: int, end: End, now: float) -> None:
        """Learn how an attempt ended."""

    def drawn(self, tried: Sequence[int]) -> int:
        """Return a proxy below its cap at random, one that was not tried if that is soon found."""
        randrange, size, cap, in_flight = self.rng.randrange, self.size, self.cap, self.in_flight
        for _ in range(64):
            index = randrange(size)
            if in_flight[index] < cap and index not in tried:
                return index
        free = [index for index in range(size) if in_flight[index] < cap]
        return self.rng.choice([index for index in free if index not in tried] or free)


class RandomChoice(Plain):
    """Any proxy that is below its cap."""

    def pick(self, now: float, tried: Sequence[int]) -> int | None:  # noqa: ARG002
        """Draw one."""
        return self.drawn(tried)
