"""Events: everybody hears everything, in order, and a bad observer harms nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy_proxybalance.core import Outcome
from scrapy_proxybalance.core.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    EventBus,
    ProxyAdded,
    ProxyRemoved,
)

from .helpers import Events, acquire, carry, make_pool, proxies, proxy

if TYPE_CHECKING:
    import pytest


def test_every_observer_hears_every_event_in_order() -> None:
    bus = EventBus()
    one, two = Events(bus), Events(bus)
    sent = [Event(now=float(now)) for now in range(5)]
    for event in sent:
        bus.emit(event)
    assert one.seen == two.seen == sent


def test_an_observer_of_some_types_hears_of_those_and_no_others() -> None:
    pool = make_pool(proxies(1))
    seen: list[Event] = []
    pool.events.subscribe(seen.append, AttemptEnded, ProxyAdded)
    attempt = carry(pool, 0)
    pool.add(proxy("new"), 1)
    assert [type(event) for event in seen] == [AttemptEnded, ProxyAdded]
    assert isinstance(seen[0], AttemptEnded)
    assert seen[0].attempt is attempt


def test_a_bus_knows_whether_anybody_listens() -> None:
    bus = EventBus()
    assert not bus.wants(AttemptEnded)
    seen: list[Event] = []
    bus.subscribe(seen.append, AttemptEnded)
    assert (bus.wants(AttemptEnded), bus.wants(AttemptStarted)) == (True, False)
    bus.subscribe(seen.append)
    assert bus.wants(AttemptStarted)


def test_an_observer_that_raises_is_logged_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = make_pool(proxies(1))

    def raises(event: Event) -> None:
        raise RuntimeError(event)

    pool.events.subscribe(raises)
    events = Events(pool.events)
    carry(pool, 0)
    assert [type(event) for event in events.seen] == [AttemptStarted, AttemptEnded]
    assert pool.in_flight == 0
    assert [record.getMessage() for record in caplog.records] == [
        "An observer failed on AttemptStarted",
        "An observer failed on AttemptEnded",
    ]


def test_proxies_are_announced_as_they_come_and_go() -> None:
    pool = make_pool([])
    events = Events(pool.events)
    new = proxy("a")
    pool.add(new, 1)
    attempt = acquire(pool, 2)
    pool.remove("a", 3)
    assert events.of(ProxyRemoved) == []
    pool.release(attempt, Outcome.SUCCESS, 4)
    assert [(event.now, event.proxy) for event in events.of(ProxyAdded)] == [(1, new)]
    assert [(event.now, event.proxy) for event in events.of(ProxyRemoved)] == [(4, new)]
