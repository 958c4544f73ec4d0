"""What a gateway rejects because it has too much to do is no fault of its exits."""

from __future__ import annotations

from scrapy_proxybalance.pool import Outcome
from scrapy_proxybalance.pool.events import CooldownStarted

from .helpers import cooling, make_pool, proxy


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
        burst = [pool.acquire(now, target="a.test") for _ in range(pool.available(now))]
        for lease in burst[5:]:
            pool.release(lease, Outcome.GATEWAY_FAULT, now + 0.1, failure="connect_503")
        for lease in burst[:5]:
            pool.release(lease, Outcome.SUCCESS, now + 0.5)
    assert began == []
