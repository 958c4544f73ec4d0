"""Small builders that the tests of the core share. Time is a number that each test makes up."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from scrapy_proxybalance.core import (
    Blocked,
    HealthPolicy,
    HealthState,
    NoProxyAvailableError,
    Outcome,
    Pool,
    PoolPolicy,
    Proxy,
    ProxySnapshot,
    Want,
)
from scrapy_proxybalance.core.outcome import PROXY_AUTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scrapy_proxybalance.core import Attempt
    from scrapy_proxybalance.core.events import Event, EventBus

EventT = TypeVar("EventT", bound="Event")

ALL_STRATEGIES = (
    "weighted",
    "round_robin",
    "weighted_round_robin",
    "least_connections",
    "least_used",
    "latency",
    "random",
    "sticky",
    "first_available",
)


def proxy(name: str, **changes: Any) -> Proxy:
    return Proxy(**{"name": name, "host": f"{name}.test", "port": 8080, **changes})


def proxies(count: int, **changes: Any) -> list[Proxy]:
    return [proxy(f"p{number}", **changes) for number in range(count)]


def make_pool(nodes: Iterable[Proxy], *, seed: int = 1, **policy: Any) -> Pool:
    return Pool(nodes, PoolPolicy(**policy), rng=Random(seed))


def cooling(threshold: int = 3, first: float = 30.0, longest: float = 600.0) -> HealthPolicy:
    return HealthPolicy(failure_threshold=threshold, cooldown=first, cooldown_max=longest)


def acquire(pool: Pool, now: float, **want: Any) -> Attempt:
    """Lease a proxy, or raise."""
    attempt = pool.acquire(Want(**want), now)
    if isinstance(attempt, Blocked):
        raise NoProxyAvailableError(attempt.reason, attempt.retry_at)
    return attempt


def blocked(pool: Pool, now: float, *, ahead: int = 0, **want: Any) -> Blocked | None:
    """Return why a request would get no proxy now."""
    return pool.blocked(Want(**want), now, ahead)


def carry(
    pool: Pool,
    now: float,
    outcome: Outcome = Outcome.SUCCESS,
    *,
    latency: float | None = None,
    duration: float | None = None,
    failure: str | None = None,
    **request: Any,
) -> Attempt:
    """Send one request through the pool and end its attempt at once."""
    attempt = acquire(pool, now, **request)
    assert pool.release(attempt, outcome, now, latency=latency, duration=duration, failure=failure)
    return attempt


def carry_through(pool: Pool, name: str, now: float, outcome: Outcome, **how: Any) -> Attempt:
    return carry(pool, now, outcome, proxy_filter={"name": name}, **how)


def put_out(pool: Pool, name: str, now: float) -> None:
    """Have a proxy refuse its credentials for different targets until it is out."""
    for number in range(3):
        if shown(pool, name, now).state is not HealthState.OUT:
            target = f"{name}-{number}.refuses.test"
            refused = {"failure": PROXY_AUTH, "target": target}
            carry_through(pool, name, now, Outcome.PROXY_FAULT, **refused)
    assert shown(pool, name, now).state is HealthState.OUT


def refuses(pool: Pool, now: float, **request: Any) -> NoProxyAvailableError:
    """Check that the pool has no attempt for this request; return the error that says why."""
    with pytest.raises(NoProxyAvailableError) as caught:
        acquire(pool, now, **request)
    return caught.value


def shown(pool: Pool, name: str, now: float) -> ProxySnapshot:
    return next(seen for seen in pool.snapshot(now) if seen.proxy.name == name)


class Events:
    """Everything that a bus emits from now on."""

    def __init__(self, bus: EventBus) -> None:
        self.seen: list[Event] = []
        bus.subscribe(self.seen.append)

    def of(self, kind: type[EventT]) -> list[EventT]:
        return [event for event in self.seen if isinstance(event, kind)]


def chi_square(counts: Mapping[Any, int], shares: Mapping[Any, float]) -> float:
    """How far counts are from what their shares make one expect."""
    drawn, whole = sum(counts.values()), sum(shares.values())
    expected = {key: drawn * share / whole for key, share in shares.items()}
    return sum((counts[key] - expected[key]) ** 2 / expected[key] for key in shares)
