"""The one word for how a proxy is doing: true at every moment, and the same wherever it is read."""

from __future__ import annotations

from random import Random

from scrapy_proxybalance.core import HealthPolicy, Outcome, Pool, PoolPolicy, Proxy
from scrapy_proxybalance.reporting.standing import standing

from ..core.helpers import acquire

SUCCESS, FAULT, TIMEOUT = Outcome.SUCCESS, Outcome.PROXY_FAULT, Outcome.AMBIGUOUS


def pool_of(*proxies: Proxy) -> Pool:
    policy = PoolPolicy(health=HealthPolicy(failure_threshold=3, cooldown=100))
    return Pool(proxies, policy, rng=Random(1))


def alone(name: str) -> Proxy:
    return Proxy(host=f"{name}.example", port=1, name=name)


def ended(pool: Pool, name: str, *outcomes: Outcome, now: float = 0.0, failure: str = "") -> None:
    for outcome in outcomes:
        attempt = acquire(pool, now, proxy_filter={"name": name}, target="a.example")
        pool.release(attempt, outcome, now, failure=failure or None)


def words(pool: Pool, now: float = 1.0) -> dict[str, str]:
    shown = {one.proxy.name: standing(one).value for one in pool.snapshot(now)}
    assert shown == {one.proxy.name: standing(one).value for one in pool.overview(now)}
    return shown


def test_only_a_proxy_that_something_useful_has_come_back_through_is_healthy() -> None:
    pool = pool_of(*map(alone, ("fresh", "tried", "hanging", "good", "refused")))
    ended(pool, "tried", FAULT, TIMEOUT)
    acquire(pool, 0.0, proxy_filter={"name": "hanging"})
    ended(pool, "good", SUCCESS, FAULT)
    ended(pool, "refused", Outcome.TARGET_SIGNAL)
    assert words(pool) == {
        "fresh": "unproven",
        "tried": "unproven",
        "hanging": "unproven",
        "good": "healthy",
        "refused": "unproven",  # by the target, as far as is known: it may be a page of the proxy's
    }


def test_a_drained_proxy_is_not_healthy_and_one_that_comes_back_is_not_unproven() -> None:
    pool = pool_of(*map(alone, ("one", "two")))
    ended(pool, "one", SUCCESS)
    pool.drain("one", 0.0)
    ended(pool, "two", SUCCESS, FAULT, FAULT, FAULT)
    assert words(pool) == {"one": "drained", "two": "cooling"}
    assert words(pool, now=500.0) == {"one": "drained", "two": "probing"}
    pool.enable("one", 500.0)
    ended(pool, "two", SUCCESS, now=500.0)
    assert words(pool, now=500.0) == {"one": "healthy", "two": "recovering"}


def test_new_credentials_have_to_prove_themselves() -> None:
    pool = pool_of(alone("one"), alone("two"))
    ended(pool, "one", SUCCESS)
    assert words(pool)["one"] == "healthy"
    pool.update(Proxy(host="one.example", port=1, name="one", username="new"), 1.0)
    assert words(pool)["one"] == "unproven"


def test_nobody_behind_a_gateway_that_nothing_gets_through_is_healthy() -> None:
    users = [Proxy(host="g.example", port=1, name=f"g{n}", username=f"u{n}") for n in range(4)]
    pool = pool_of(*users, alone("other"))
    for name in ("g0", "g1", "g2", "g3", "other"):
        ended(pool, name, *[SUCCESS] * 5)
    for step in range(6):
        for user in users:
            if words(pool, now=step)[user.name] == "healthy":
                ended(pool, user.name, FAULT, now=step, failure="connection_refused")
    shown = words(pool, now=6.0)
    assert shown.pop("other") == "healthy"
    assert set(shown.values()) == {"unreachable"}
    assert pool.in_service == 1
