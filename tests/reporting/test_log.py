"""What the log says of proxies that are out, and that rest: a line each for a few, one for others."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pydispatch import dispatcher
from scrapy import signals
from scrapy.signalmanager import SignalManager

from scrapy_proxybalance.core import Pool, PoolPolicy, Proxy
from scrapy_proxybalance.core.events import PairRested, ProxyOut, ProxyRecovered, TargetRefused
from scrapy_proxybalance.reporting.figures import Figures
from scrapy_proxybalance.reporting.log import EventLog

if TYPE_CHECKING:
    import pytest


class Logged:
    """A pool whose events are logged."""

    def __init__(self, count: int) -> None:
        self.proxies = [
            Proxy(host="p.example", port=n + 1, name=f"p{n:04}", username="u") for n in range(count)
        ]
        self.pool = Pool(self.proxies, PoolPolicy(), rng=Random(1))
        self._signals = SignalManager(dispatcher.Anonymous)
        context: Any = SimpleNamespace(
            pool=self.pool, crawler=SimpleNamespace(signals=self._signals)
        )
        self._log = EventLog(context, Figures(self.pool))

    def out(self, proxy: Proxy) -> None:
        self.pool.events.emit(
            ProxyOut(now=0, proxy=proxy, reason="its credentials were refused", until=15)
        )

    def rests(self, number: int, *, step: int = 1, reason: str = "host_refused") -> None:
        self.pool.events.emit(
            PairRested(
                now=0,
                proxy=self.proxies[number],
                target="shop.example",
                until=60,
                step=step,
                reason=reason,
            )
        )

    def close(self) -> None:
        self._signals.send_catch_log(signals.spider_closed, spider=None, reason="finished")
        self._signals.disconnect_all(signals.spider_closed)


def test_a_proxy_that_is_out_again_and_again_has_one_line(caplog: pytest.LogCaptureFixture) -> None:
    logged = Logged(2)
    for _ in range(3):
        logged.out(logged.proxies[0])
    logged.close()
    assert caplog.messages == [
        "Proxy p0000 is out of the pool: its credentials were refused. Correct its credentials; it is "
        "asked again after a while."
    ]
    logged.pool.events.emit(ProxyRecovered(now=0, proxy=logged.proxies[0]))
    logged.out(logged.proxies[0])
    assert len(caplog.messages) == 2


def test_five_thousand_wrong_passwords_are_a_handful_of_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logged = Logged(5000)
    for proxy in logged.proxies:
        logged.out(proxy)
    assert len(caplog.messages) == 6
    assert caplog.messages[5].startswith("More proxies are out of the pool for the same reason")
    logged.close()
    assert caplog.messages[6:] == [
        "The credentials of 5000 proxies were refused and have not worked since: p0000, p0001, p0002, "
        "p0003, p0004, ..."
    ]


def test_a_proxy_that_begins_to_rest_has_one_line_whatever_the_rests_in_a_row(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    logged = Logged(3)
    for step in (1, 2, 3):
        logged.rests(0, step=step)
    logged.rests(1, reason="no_connect")
    logged.rests(2, reason="refused_alone")
    logged.pool.events.emit(TargetRefused(now=0, target="shop.example", until=60))
    assert caplog.messages == [
        "Proxy p0000 refuses to go to shop.example: it is not asked for that host for 60 s",
        "Proxy p0001 does no CONNECT: it gets no https pages for 60 s",
        "shop.example refuses proxy p0002 and serves the others: it is not asked through p0002 for 60 s",
        "No proxy goes to shop.example: all that were asked refuse it. Its requests fail for 60 s, then "
        "it is asked for again",
    ]


def test_thousands_of_pairs_that_rest_are_a_handful_of_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    logged = Logged(2000)
    for number in range(2000):
        logged.rests(number)
    assert len(caplog.messages) == 11
    assert "proxybalance/pairs/rests" in caplog.messages[-1]
