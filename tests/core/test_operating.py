"""What an operator may say: drain a proxy, enable it, end its cooldown; pause a target, release it."""

from __future__ import annotations

import pytest

from scrapy_proxybalance.core import HealthState, Outcome, SessionLostError, TargetState
from scrapy_proxybalance.core.events import (
    CooldownShortened,
    ProxyDrained,
    ProxyEnabled,
    ProxyRemoved,
    TargetPaused,
    TargetPauseExtended,
    TargetReleased,
)
from scrapy_proxybalance.core.outcome import PROXY_AUTH

from .helpers import (
    Events,
    acquire,
    carry,
    carry_through,
    cooling,
    make_pool,
    proxies,
    proxy,
    put_out,
    refuses,
    shown,
)

SHOP = "shop.test"


def test_a_drained_proxy_ends_what_it_carries_and_gets_nothing_until_it_is_enabled() -> None:
    pool = make_pool(proxies(2))
    events = Events(pool.events)
    attempt = acquire(pool, 0, proxy_filter={"name": "p0"})
    assert pool.drain("p0", 0)
    assert {carry(pool, 0).proxy.name for _ in range(20)} == {"p1"}
    assert pool.release(attempt, Outcome.SUCCESS, 1)
    assert "p0" in pool
    assert shown(pool, "p0", 1).draining
    assert pool.in_service == 1
    assert pool.enable("p0", 2)
    assert pool.in_service == 2
    assert carry_through(pool, "p0", 2, Outcome.SUCCESS)
    assert [event.proxy.name for event in events.of(ProxyDrained)] == ["p0"]
    assert [event.proxy.name for event in events.of(ProxyEnabled)] == ["p0"]
    assert not events.of(ProxyRemoved)


def test_what_changes_nothing_is_said_to_change_nothing() -> None:
    pool = make_pool(proxies(2))
    events = Events(pool.events)
    assert not pool.enable("p0", 0)
    assert not pool.end_cooldown("p0", 0)
    assert not pool.targets.release(SHOP, 0)
    assert pool.drain("p0", 0)
    assert not pool.drain("p0", 0)
    assert [type(event) for event in events.seen] == [ProxyDrained]


@pytest.mark.parametrize("act", ["drain", "enable", "end_cooldown"])
def test_a_proxy_that_is_not_there_cannot_be_acted_on(act: str) -> None:
    with pytest.raises(KeyError):
        getattr(make_pool(proxies(1)), act)("p1", 0)


def test_a_pool_of_which_all_is_drained_is_not_beyond_hope() -> None:
    pool = make_pool(proxies(1))
    pool.drain("p0", 0)
    refuses(pool, 0)
    assert not pool.beyond_hope
    assert pool.all_drained
    pool.enable("p0", 1)
    assert not pool.all_drained
    carry(pool, 1)


def test_a_proxy_that_leaves_is_not_enabled_again() -> None:
    pool = make_pool(proxies(2))
    attempt = acquire(pool, 0, proxy_filter={"name": "p0"})
    pool.remove("p0", 0)
    assert not pool.enable("p0", 0)
    pool.release(attempt, Outcome.SUCCESS, 1)
    assert "p0" not in pool


def test_a_proxy_that_is_updated_stays_drained_and_one_that_was_leaving_stays() -> None:
    pool = make_pool(proxies(2))
    pool.drain("p0", 0)
    attempt = acquire(pool, 0, proxy_filter={"name": "p1"})
    pool.remove("p1", 0)
    for name in ("p0", "p1"):
        pool.update(proxy(name, weight=2.0), 0)
    pool.release(attempt, Outcome.SUCCESS, 1)
    assert shown(pool, "p0", 1).draining
    assert not shown(pool, "p1", 1).draining


def test_a_proxy_that_is_out_begins_anew_when_it_is_enabled() -> None:
    pool = make_pool(proxies(2))
    put_out(pool, "p0", 0)
    assert pool.enable("p0", 1)
    assert shown(pool, "p0", 1).state is HealthState.HEALTHY
    carry_through(pool, "p0", 1, Outcome.SUCCESS)


def test_what_was_under_way_or_resting_before_does_not_keep_an_enabled_proxy_out() -> None:
    pool = make_pool(proxies(2), health=cooling(threshold=1, first=30))
    *refused, late, failed = (
        acquire(pool, 0, proxy_filter={"name": "p0"}, target=f"{number}.test")
        for number in range(4)
    )
    pool.release(failed, Outcome.PROXY_FAULT, 0)
    for attempt in refused:
        pool.release(attempt, Outcome.PROXY_FAULT, 1, failure=PROXY_AUTH)
    assert shown(pool, "p0", 1).state is HealthState.OUT
    assert pool.enable("p0", 2)
    new = [
        acquire(pool, 2, proxy_filter={"name": "p0"}, target=f"{number}.test")
        for number in range(2)
    ]
    pool.release(new[0], Outcome.PROXY_FAULT, 3, failure=PROXY_AUTH)
    pool.release(late, Outcome.PROXY_FAULT, 3, failure=PROXY_AUTH)
    assert shown(pool, "p0", 3).state is HealthState.HEALTHY
    pool.release(new[1], Outcome.PROXY_FAULT, 4, failure=PROXY_AUTH)
    assert shown(pool, "p0", 4).state is HealthState.OUT


def test_a_cooldown_that_is_ended_leads_to_a_probe_and_no_more() -> None:
    pool = make_pool(proxies(2), health=cooling(threshold=1))
    events = Events(pool.events)
    carry_through(pool, "p0", 0, Outcome.PROXY_FAULT)
    assert pool.end_cooldown("p0", 1)
    probe = acquire(pool, 1, proxy_filter={"name": "p0"})
    assert probe.probe
    refuses(pool, 1, proxy_filter={"name": "p0"})
    pool.release(probe, Outcome.SUCCESS, 1)
    assert shown(pool, "p0", 1).state is HealthState.RECOVERING
    assert [event.proxy.name for event in events.of(CooldownShortened)] == ["p0"]


def test_a_cooldown_goes_on_while_the_proxy_is_drained() -> None:
    pool = make_pool(proxies(2), health=cooling(threshold=1, first=30))
    carry_through(pool, "p0", 0, Outcome.PROXY_FAULT)
    pool.drain("p0", 0)
    pool.enable("p0", 1)
    refuses(pool, 1, proxy_filter={"name": "p0"})
    pool.drain("p0", 2)
    pool.enable("p0", 100)
    assert acquire(pool, 100, proxy_filter={"name": "p0"}).probe


def test_a_session_moves_away_from_a_drained_proxy() -> None:
    pool = make_pool(proxies(2))
    first = carry(pool, 0, session="s").proxy.name
    pool.drain(first, 0)
    assert carry(pool, 0, session="s").proxy.name != first


def test_a_session_that_waits_for_its_proxy_waits_until_it_is_enabled() -> None:
    pool = make_pool(proxies(2), session_lost="wait")
    first = carry(pool, 0, session="s").proxy.name
    pool.drain(first, 0)
    assert refuses(pool, 0, session="s").retry_at is None
    pool.enable(first, 1)
    assert carry(pool, 1, session="s").proxy.name == first


def test_a_session_that_has_to_fail_fails_when_its_proxy_is_drained() -> None:
    pool = make_pool(proxies(2), session_lost="fail")
    pool.drain(carry(pool, 0, session="s").proxy.name, 0)
    with pytest.raises(SessionLostError):
        acquire(pool, 0, session="s")


def test_a_target_is_paused_by_hand_for_as_long_as_that_says_and_then_probed() -> None:
    pool = make_pool(proxies(2))
    events, targets = Events(pool.events), pool.targets
    carry(pool, 0, target=SHOP)
    assert targets.pause(SHOP, 7200, 10, "by hand")
    assert not targets.may_send(SHOP, 7209)
    assert targets.may_send(SHOP, 7210)
    assert targets.send(SHOP, 7210)
    targets.answered(SHOP, 7210, 7211)
    targets.ended(SHOP)
    assert targets.state(SHOP) is TargetState.RAMPING
    [paused] = events.of(TargetPaused)
    assert (paused.step, paused.until, paused.reason) == (0, 7210, "by hand")


def test_a_pause_that_a_target_asked_for_gets_no_shorter_by_a_pause_by_hand() -> None:
    targets = make_pool(proxies(1)).targets
    targets.refused(SHOP, started_at=0, now=0, reason="429", wait=100)
    assert not targets.pause(SHOP, 50, 1, "by hand")
    assert not targets.may_send(SHOP, 99)


def test_a_pause_by_hand_lengthens_one_that_is_running() -> None:
    pool = make_pool(proxies(1))
    events, targets = Events(pool.events), pool.targets
    targets.refused(SHOP, started_at=0, now=0, reason="429", wait=10)
    assert targets.pause(SHOP, 500, 1, "by hand")
    assert not targets.may_send(SHOP, 500)
    assert targets.may_send(SHOP, 501)
    assert [event.until for event in events.of(TargetPauseExtended)] == [501]


def test_a_target_that_is_released_gets_one_request_first_and_grows_back() -> None:
    pool = make_pool(proxies(4))
    events, targets = Events(pool.events), pool.targets
    targets.refused(SHOP, started_at=0, now=0, reason="429", wait=1000)
    assert targets.release(SHOP, 5)
    assert targets.available(SHOP, 5) == 1
    assert targets.send(SHOP, 5)
    assert targets.available(SHOP, 5) == 0
    targets.answered(SHOP, 5, 6)
    assert targets.state(SHOP) is TargetState.RAMPING
    assert [event.target for event in events.of(TargetReleased)] == [SHOP]


def test_a_released_target_that_refuses_its_probe_is_paused_for_longer_than_before() -> None:
    targets = make_pool(proxies(1)).targets
    targets.refused(SHOP, started_at=0, now=0, reason="429", wait=100)
    targets.release(SHOP, 5)
    targets.send(SHOP, 5)
    assert targets.refused(SHOP, started_at=5, now=6, reason="429")
    assert not targets.may_send(SHOP, 205)


def test_answers_from_before_a_release_do_not_open_the_target() -> None:
    targets = make_pool(proxies(1)).targets
    targets.send(SHOP, 0)
    targets.refused(SHOP, started_at=0, now=1, reason="429", wait=100)
    targets.release(SHOP, 5)
    targets.send(SHOP, 5)
    targets.answered(SHOP, 0.5, 6)
    assert targets.state(SHOP) is TargetState.PROBING


def test_a_probe_of_before_a_pause_that_is_lost_does_not_let_a_second_one_out() -> None:
    targets = make_pool(proxies(1)).targets
    targets.refused(SHOP, started_at=0, now=0, reason="429", wait=10)
    targets.send(SHOP, 20)
    targets.pause(SHOP, 5, 21, "by hand")
    assert targets.send(SHOP, 26)
    targets.probe_lost(SHOP, 27, arrived=True, started_at=20)
    assert not targets.may_send(SHOP, 100)
    targets.probe_lost(SHOP, 100, arrived=False, started_at=26)
    assert targets.may_send(SHOP, 100)


def test_a_suspended_target_is_tried_again_when_it_is_released() -> None:
    targets = make_pool(proxies(1)).targets
    targets.suspend(SHOP, 0, "too many pauses")
    assert targets.release(SHOP, 5)
    [memory] = targets.memories(5)
    assert memory.suspended is None
    assert targets.ready_at(SHOP, 5) == 5
    targets.send(SHOP, 5)
    targets.answered(SHOP, 5, 6)
    assert targets.state(SHOP) is TargetState.RAMPING


def test_a_pause_by_hand_is_remembered_until_the_crawl_goes_on() -> None:
    earlier, later = make_pool(proxies(1)).targets, make_pool(proxies(1)).targets
    earlier.pause(SHOP, 500, 0, "by hand")
    [memory] = earlier.memories(100)
    later.recall(memory, 0)
    assert not later.may_send(SHOP, 399)
    assert later.may_send(SHOP, 400)


def test_a_target_whose_probe_is_out_is_probed_first_when_the_crawl_goes_on() -> None:
    earlier, later = make_pool(proxies(1)).targets, make_pool(proxies(1)).targets
    earlier.pause(SHOP, 500, 0, "by hand")
    earlier.send(SHOP, 500)
    [memory] = earlier.memories(501)
    later.recall(memory, 0)
    assert later.available(SHOP, 0) == 1


def test_a_pause_by_hand_that_is_longer_than_any_other_stays_so_when_the_crawl_goes_on() -> None:
    earlier = make_pool(proxies(1)).targets
    earlier.pause(SHOP, 86400, 0, "by hand")
    for _ in range(2):
        [memory] = earlier.memories(100)
        later = make_pool(proxies(1)).targets
        later.recall(memory, 100)
        assert later.ready_at(SHOP, 100) == 86400
        earlier = later
