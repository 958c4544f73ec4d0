"""What a gateway rejects because it has too much to do is no fault of its exits."""

from __future__ import annotations

import pytest

from scrapy_proxybalance.core import Outcome
from scrapy_proxybalance.core.events import CooldownStarted

from .helpers import acquire, carry_through, cooling, make_pool, proxy


def test_rejections_that_the_load_causes_cool_no_exit_of_which_nothing_is_known() -> None:
    exits = [
        proxy(f"p{number}", host="gateway.test", username=f"user-{number}") for number in range(12)
    ]
    pool = make_pool(exits, health=cooling(threshold=2))
    began: list[CooldownStarted] = []
    pool.events.subscribe(began.append, CooldownStarted)
    now = 0.0
    for _ in range(30):
        now += 1.0
        burst = [acquire(pool, now, target="a.test") for _ in range(pool.available(now))]
        for attempt in burst[5:]:
            pool.release(attempt, Outcome.GATEWAY_FAULT, now + 0.1, failure="connect_503")
        for attempt in burst[:5]:
            pool.release(attempt, Outcome.SUCCESS, now + 0.5)
    assert began == []


@pytest.mark.parametrize(
    ("failure", "lowers"),
    [
        ("connect_503", True),
        ("connect_429", True),
        ("connect_525", True),
        ("too_many", True),
        ("connect_500", False),
        ("connect_502", False),
        ("connect_504", False),
        ("upstream", False),
        ("squid_err_connect_fail", False),
    ],
)
def test_only_what_says_that_there_is_too_much_to_do_lowers_the_limit(
    failure: str, lowers: bool
) -> None:
    exits = [
        proxy(f"p{number}", host="gateway.test", username=f"user-{number}") for number in range(12)
    ]
    pool = make_pool(exits)
    for one in exits:
        carry_through(pool, one.name, 0.0, Outcome.SUCCESS, target="a.test")
    [before] = pool.gateway_limits()
    for now in range(1, 31):
        burst = [acquire(pool, now, target="a.test") for _ in range(pool.available(now))]
        for attempt in burst[5:]:
            pool.release(attempt, Outcome.GATEWAY_FAULT, now + 0.1, failure=failure)
        for attempt in burst[:5]:
            pool.release(attempt, Outcome.SUCCESS, now + 0.5)
    [after] = pool.gateway_limits()
    assert (after.limit < before.limit) is lowers
