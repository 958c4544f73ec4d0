"""What people are shown of a pool: which proxies, in which order, and in which words."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from scrapy_proxybalance.core import HealthPolicy, Outcome, Pool, PoolPolicy, Proxy
from scrapy_proxybalance.reporting.figures import Figures
from scrapy_proxybalance.reporting.pool_view import PoolView, printable

from ..core.helpers import acquire

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrapy_proxybalance.reporting.pool_view import ProxyRow


class Watched:
    """A pool whose proxies get the outcomes that a test wants."""

    def __init__(self, names: str) -> None:
        self.pool = Pool(
            [Proxy(host=f"{name}.example", port=1, name=name) for name in names],
            PoolPolicy(health=HealthPolicy(failure_threshold=2, cooldown=100)),
            rng=Random(1),
        )
        self.figures = Figures(self.pool)
        self.now = 0.0

    def ended(self, name: str, *outcomes: Outcome, failure: str | None = None) -> None:
        for outcome in outcomes:
            self.now += 0.01
            attempt = acquire(self.pool, self.now, proxy_filter={"name": name}, target="a.example")
            self.pool.release(attempt, outcome, self.now, latency=0.02, failure=failure)

    def view(self) -> PoolView:
        context: Any = SimpleNamespace(pool=self.pool, clock=lambda: self.now)
        return PoolView(context, self.figures)


def names(rows: Iterable[ProxyRow]) -> str:
    return "".join(row.cells[0] for row in rows)


SUCCESS, FAULT = Outcome.SUCCESS, Outcome.PROXY_FAULT


def test_the_worst_are_those_that_are_out_then_those_that_cool_then_by_their_success() -> None:
    watched = Watched("abcdef")
    watched.ended("b", *[SUCCESS] * 3)
    watched.ended("c", FAULT, SUCCESS)
    watched.ended("d", SUCCESS, SUCCESS, FAULT, FAULT)
    watched.ended("e", *[SUCCESS] * 9)
    watched.ended("e", *[FAULT] * 6, failure="proxy_auth")
    watched.ended("f", FAULT, SUCCESS, SUCCESS)
    view = watched.view()
    # Nothing is known of a: that is no worse than to have succeeded, and less to be seen.
    assert names(view.worst(6)) == "edcfba"
    assert names(view.worst(2)) == "ed"
    assert view.worst(2)[1].cells[:5] == ("d", "cooling", "0/4", "4", "50.0%")
    [cooling] = watched.pool.snapshot(watched.now, ["d"])
    assert view.worst(2)[1].cells[5:] == ("20 ms", f"{cooling.cooldown_left:.0f} s")


def test_the_busiest_leave_up_to_half_of_the_room_to_those_that_are_not_in_service() -> None:
    watched = Watched("abcdefgh")
    for count, name in enumerate("abcd", start=1):
        watched.ended(name, *[SUCCESS] * count)
    for count, name in enumerate("efgh"):
        watched.ended(name, *[SUCCESS] * count, FAULT, FAULT)
    view = watched.view()
    assert names(view.busiest(4)) == "dchg"
    assert names(view.busiest(6)) == "dcbhgf"
    assert names(view.busiest(8)) == names(view.busiest(20)) == "dcbahgfe"
    assert names(view.busiest(1)) == "d"


def test_where_few_are_in_service_the_others_have_their_room() -> None:
    watched = Watched("abcd")
    watched.ended("a", SUCCESS)
    for name in "bcd":
        watched.ended(name, FAULT, FAULT)
    assert names(watched.view().busiest(3)) == "abc"


def test_to_be_shown_counts_nothing() -> None:
    watched = Watched("abc")
    watched.ended("a", SUCCESS)
    view = watched.view()
    assert len(view.worst(3)) == len(view.busiest(3)) == 3
    assert list(watched.figures.proxies) == ["a"]


def test_a_proxy_that_takes_no_more_requests_is_drained() -> None:
    watched = Watched("a")
    acquire(watched.pool, 1.0)
    watched.pool.drain("a", 1.0)
    watched.now = 2.0
    assert watched.view().worst(1)[0].cells[:3] == ("a", "drained", "1/4")


def test_the_lines_say_what_the_pool_has_carried_and_who_is_paused() -> None:
    watched = Watched("ab")
    assert watched.view().line() == "Proxies: 2 unproven; in flight 0 of 8"
    assert watched.view().requests_line() == "Requests: 0, success -"
    watched.ended("a", SUCCESS, FAULT, Outcome.IGNORED, Outcome.TARGET_SIGNAL, FAULT)
    gate, now = watched.pool.targets, watched.now
    for name in ("shop.example", "b.example", "c.example", "d.example"):
        gate.refused(name, started_at=now, now=now, reason="429", wait=3000)
    gate.suspend("b.example", now, "enough")
    gate.send("c.example", now + 5000)  # it is being asked again
    watched.now = now + 1000
    view = watched.view()
    shop, suspended, probing, last = map(str, view.targets())
    left = shop.removeprefix("target shop.example: paused, ").removesuffix(" s left, held 0")
    assert 2000 <= int(left) <= 2300
    assert suspended == "target b.example: suspended, held 0"
    assert probing == "target c.example: probing, held 0"
    assert last.startswith("target d.example: paused, ")
    assert view.requests_line() == "Requests: 5, success 50.0%"
    states = "Proxies: 1 healthy, 1 unproven; in flight 0 of 8"
    assert view.line(targets=False) == states
    line = view.line()
    assert line.startswith(
        f"{states}; paused: shop.example ({left} s left), b.example (suspended), d.example ("
    )


def test_what_a_terminal_might_obey_is_replaced_and_the_rest_is_not() -> None:
    assert printable("[red]Zürich 北京 a b[/]") == "[red]Zürich 北京 a b[/]"
    assert printable("\x1b[2J\r\n\x07\u202e\x9b") == "\ufffd[2J" + "\ufffd" * 5
