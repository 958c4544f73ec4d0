"""Warm connections: who has one as far as can be told, and that nobody is used too much for it."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from math import exp
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from scrapy_proxybalance.core import (
    ConfigurationError,
    GatewayPolicy,
    HealthState,
    Outcome,
    Pool,
    PoolPolicy,
    TargetPolicy,
    WarmPolicy,
)
from scrapy_proxybalance.core.proxies import warm_connections as warmth_module
from scrapy_proxybalance.core.proxies.table import Nodes
from scrapy_proxybalance.core.proxies.warm_connections import RUN, SHARE, WarmConnections

from .helpers import acquire, carry, make_pool, proxies, proxy, refuses

if TYPE_CHECKING:
    from scrapy_proxybalance.core import Attempt, Proxy

SITE = "shop.test"
HTTPS: dict[str, Any] = {"target": SITE, "tunnel": SITE}
WARM = WarmPolicy(idle_seconds=60.0, most_idle=2)


def warm_pool(count: int | list[Proxy] = 50, **policy: Any) -> Pool:
    nodes = proxies(count) if isinstance(count, int) else count
    return make_pool(nodes, **{"warm": WARM, **policy})


def through(pool: Pool, name: str, now: float, outcome: Outcome = Outcome.SUCCESS) -> Attempt:
    return carry(pool, now, outcome, proxy_filter={"name": name}, **HTTPS)


def run(pool: Pool, requests: int, at_once: int = 4, **request: Any) -> list[Attempt]:
    """Send requests, so many at once, a hundredth of a second each."""
    leases: list[Attempt] = []
    under_way: deque[Attempt] = deque()
    for number in range(requests):
        now = number / 100
        if len(under_way) == at_once:
            pool.release(under_way.popleft(), Outcome.SUCCESS, now, duration=0.1)
        attempt = acquire(pool, now, **{**HTTPS, **request})
        under_way.append(attempt)
        leases.append(attempt)
    return leases


def opened(leases: list[Attempt]) -> int:
    return sum(attempt.carried == 0 for attempt in leases)


# Who has a connection


def test_a_proxy_that_has_answered_is_used_again_for_the_same_site() -> None:
    pool = warm_pool()
    through(pool, "p7", 0.0)
    attempt = acquire(pool, 1.0, **HTTPS)
    assert (attempt.proxy.name, attempt.carried) == ("p7", 1)


@pytest.mark.parametrize(
    "request_", [{"target": SITE}, {"target": SITE, "tunnel": f"{SITE}:8443"}], ids=["http", "port"]
)
def test_a_connection_is_of_no_use_to_anything_else(request_: dict[str, Any]) -> None:
    pool = warm_pool()
    through(pool, "p7", 0.0)
    leases = [carry(pool, 1.0, **request_) for _ in range(5)]
    assert opened(leases[:1]) == 1
    assert [attempt.proxy.name for attempt in leases] != ["p7"] * 5


@pytest.mark.parametrize(
    "outcome", [Outcome.AMBIGUOUS, Outcome.PROXY_FAULT, Outcome.TARGET_SIGNAL, Outcome.IGNORED]
)
def test_nothing_but_a_success_leaves_a_connection(outcome: Outcome) -> None:
    pool = warm_pool()
    through(pool, "p7", 0.0, outcome)
    assert through(pool, "p7", 1.0).carried == 0


def test_a_failure_closes_its_own_connection_only() -> None:
    pool = warm_pool(1)
    both = [acquire(pool, 0.0, **HTTPS) for _ in range(2)]
    for attempt in both:
        pool.release(attempt, Outcome.SUCCESS, 1.0)
    carry(pool, 2.0, Outcome.AMBIGUOUS, **HTTPS)
    assert [acquire(pool, 3.0, **HTTPS).carried for _ in range(2)] == [1, 0]


def test_a_busy_connection_is_not_there_for_others() -> None:
    pool = warm_pool()
    through(pool, "p7", 0.0)
    assert acquire(pool, 1.0, **HTTPS).proxy.name == "p7"
    assert acquire(pool, 1.0, **HTTPS).carried == 0


def test_a_connection_is_believed_in_until_it_has_been_idle_for_long() -> None:
    pool = warm_pool(1)
    carry(pool, 0.0, **HTTPS)
    assert carry(pool, 60.0, **HTTPS).carried == 1
    assert carry(pool, 120.1, **HTTPS).carried == 0


def test_no_more_are_kept_than_the_handler_keeps() -> None:
    pool = warm_pool(1)
    for attempt in [acquire(pool, 0.0, **HTTPS) for _ in range(3)]:
        pool.release(attempt, Outcome.SUCCESS, 1.0)
    assert [acquire(pool, 2.0, **HTTPS).carried for _ in range(3)] == [1, 1, 0]


def test_without_a_policy_nothing_is_remembered() -> None:
    pool = warm_pool(warm=None)
    assert opened(run(pool, 200)) == 200


@pytest.mark.parametrize("key", ["named", "every"])
def test_gateways_that_rotate_are_left_out(key: str) -> None:
    policy = GatewayPolicy(rotating=True)
    how: dict[str, Any] = (
        {"gateways_by_name": {"p0.test:8080": policy}} if key == "named" else {"gateways": policy}
    )
    pool = warm_pool(2, **how)
    through(pool, "p0", 0.0)
    through(pool, "p1", 0.0)
    assert through(pool, "p0", 1.0).carried == 0
    assert through(pool, "p1", 1.0).carried == (1 if key == "named" else 0)


def test_what_joins_in_the_place_of_a_proxy_that_is_gone_has_no_connections() -> None:
    pool = warm_pool(3)
    through(pool, "p1", 0.0)
    pool.remove("p1", 1.0)
    pool.add(proxy("new"), 1.0)
    assert carry(pool, 2.0, proxy_filter={"name": "new"}, **HTTPS).carried == 0


@pytest.mark.parametrize("values", [{"idle_seconds": 0}, {"most_idle": 0}])
def test_a_policy_that_cannot_work_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(values))):
        WarmPolicy(**values)


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmth_module, "_MOST", 50)
    nodes = Nodes()
    one = nodes.add(proxy("p"))
    books = WarmConnections(WARM, GatewayPolicy(), {}, 0.0)
    for number in range(500):
        books.put_back(one, f"site-{number}", number / 100, 1)
        assert len(books) <= 50
    assert books.take(one, "site-499", 5.0) == 1


def test_sites_that_are_crawled_no_longer_are_forgotten() -> None:
    nodes = Nodes()
    one = nodes.add(proxy("p"))
    books = WarmConnections(WARM, GatewayPolicy(), {}, 0.0)
    for number in range(2000):
        books.put_back(one, f"site-{number}", float(number), 1)
    assert len(books) <= WARM.idle_seconds + 2


# Who is preferred


def test_connections_are_used_again_where_without_there_are_new_ones() -> None:
    assert opened(run(warm_pool(100), 2000)) < 2000 / 12


def test_a_much_worse_proxy_is_not_used_for_being_warm() -> None:
    nodes = [proxy("slow", weight=0.1), *proxies(30)]
    pool = warm_pool(nodes)
    through(pool, "slow", 0.0)
    assert acquire(pool, 1.0, **HTTPS).proxy.name != "slow"


def test_the_longest_unused_comes_first_to_be_looked_at() -> None:
    nodes = Nodes()
    books = WarmConnections(WARM, GatewayPolicy(), {}, 0.0)
    for name in ("a", "b", "c"):
        node = nodes.add(proxy(name))
        node.free = 1
        books.put_back(node, SITE, 0.0, 1)
    assert books.offer(SITE, 1.0, proxies=3) == [0, 1, 2]
    books.put_back(nodes["a"], SITE, 2.0, books.take(nodes["a"], SITE, 1.0) + 1)
    assert books.offer(SITE, 3.0, proxies=3) == [1, 2, 0]


def test_one_that_cannot_be_used_now_hides_no_other() -> None:
    nodes = Nodes()
    books = WarmConnections(WARM, GatewayPolicy(), {}, 0.0)
    for number in range(40):
        node = nodes.add(proxy(f"p{number}"))
        node.free = 1 if number == 39 else 0
        books.put_back(node, SITE, 0.0, 1)
    assert [39] in [books.offer(SITE, 1.0, proxies=40) for _ in range(5)]


def test_filters_sessions_and_avoided_proxies_go_before() -> None:
    pool = warm_pool([*proxies(20, country="de"), proxy("fr", country="fr")])
    for number in range(10):
        through(pool, f"p{number}", 0.0)
    assert carry(pool, 1.0, proxy_filter={"country": "fr"}, **HTTPS).proxy.name == "fr"
    german = carry(pool, 1.0, proxy_filter={"country": "de"}, **HTTPS)
    assert german.carried == 1
    avoid = [f"p{number}" for number in range(10)]
    assert carry(pool, 1.0, avoid=avoid, **HTTPS).proxy.name not in avoid
    through(pool, "p15", 1.0)
    carry(pool, 1.0, session="login", proxy_filter={"name": "p17"}, **HTTPS)
    assert {carry(pool, 2.0, session="login", **HTTPS).proxy.name for _ in range(5)} == {"p17"}


def test_a_proxy_that_rests_at_its_target_is_not_used_for_being_warm() -> None:
    pool = warm_pool(10, targets=TargetPolicy(spacing=5.0))
    used = [carry(pool, number / 10, **HTTPS).proxy.name for number in range(10)]
    assert sorted(used) == sorted(f"p{number}" for number in range(10))
    refuses(pool, 1.0, **HTTPS)
    assert carry(pool, 5.0, **HTTPS).carried == 1


def test_a_proxy_in_a_cooldown_is_not_used_for_being_warm() -> None:
    pool = warm_pool(5)
    for second in range(3):
        through(pool, "p3", float(second))
    for _ in range(3):
        carry(pool, 4.0, Outcome.PROXY_FAULT, proxy_filter={"name": "p3"}, target="other.test")
    assert all(carry(pool, 5.0, **HTTPS).proxy.name != "p3" for _ in range(20))


def test_caps_hold() -> None:
    pool = warm_pool(3, max_in_flight=2)
    run(pool, 30, at_once=2)
    for _ in range(4):
        acquire(pool, 1.0, **HTTPS)
    refuses(pool, 1.0, **HTTPS)


# How much


def test_nobody_is_used_for_being_warm_more_than_a_run() -> None:
    pool = warm_pool(100)
    leases = run(pool, 3000, at_once=1)
    assert max(attempt.carried for attempt in leases) == RUN - 1


def test_no_proxy_has_more_than_its_part_of_a_crawl() -> None:
    requests = 10_000
    pool = warm_pool(100)
    leases = run(pool, requests, at_once=16)
    used = Counter(attempt.proxy.name for attempt in leases)
    assert opened(leases) < requests / 10
    assert max(used.values()) <= SHARE * requests / 100


def test_a_proxy_that_had_more_than_three_times_its_even_share_is_not_preferred() -> None:
    nodes = Nodes()
    books = WarmConnections(WARM, GatewayPolicy(), {}, 0.0)
    busy, others = nodes.add(proxy("busy")), [nodes.add(proxy(f"p{n}")) for n in range(9)]
    busy.free = 1
    for _ in range(RUN - 1):
        books.take(busy, "elsewhere.test", 0.0)
    books.put_back(busy, SITE, 0.0, 1)
    assert books.offer(SITE, 0.0, proxies=10) == [busy.index]
    for _ in range(RUN):
        books.take(busy, "elsewhere.test", 0.0)
    for _ in range(15):
        for other in others:
            books.take(other, "elsewhere.test", 0.0)
    # 59 of 194 requests, where an even share is 19.4.
    assert books.offer(SITE, 0.0, proxies=10) == []
    books.put_back(busy, SITE, 0.0, 1)
    assert books.offer(SITE, 0.0, proxies=9) == [busy.index]


def test_what_a_proxy_had_is_forgotten_in_minutes() -> None:
    nodes = Nodes()
    books = WarmConnections(WARM, GatewayPolicy(), {}, 0.0)
    busy = nodes.add(proxy("busy"))
    busy.free = 1
    for _ in range(2 * RUN):
        books.take(busy, SITE, 0.0)
    for now, offered in ((1.0, []), (150.0, []), (250.0, [busy.index])):
        books.put_back(busy, SITE, now, 1)
        assert books.offer(SITE, now, proxies=1000) == offered


def test_a_proxy_that_is_still_recovering_is_not_preferred() -> None:
    nodes = Nodes()
    books = WarmConnections(WARM, GatewayPolicy(), {}, 0.0)
    one = nodes.add(proxy("p"))
    one.free = 1
    books.put_back(one, SITE, 0.0, 1)
    one.health.state = HealthState.RECOVERING
    assert books.offer(SITE, 0.0, proxies=1) == []


class Model:
    """The same books, kept the slow way."""

    def __init__(self) -> None:
        self.leases: list[tuple[float, int]] = []
        self.idle: dict[tuple[int, str], list[tuple[float, int]]] = defaultdict(list)

    def used(self, now: float, index: int | None = None) -> float:
        return sum(
            exp((at - now) / 300) for at, who in self.leases if index is None or who == index
        )


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "fail", "offer", "wait", "long"]),
        st.integers(0, 3),
        st.sampled_from(["a.test", "b.test"]),
    ),
    max_size=150,
)


@hypothesis_settings(deadline=None)
@given(STEPS, st.integers(1, 6))
def test_who_is_offered_has_a_connection_and_has_not_had_too_much(
    steps: list[tuple[str, int, str]], proxies_: int
) -> None:
    nodes = Nodes()
    for number in range(4):
        nodes.add(proxy(f"p{number}")).free = 1
    books, model, now = WarmConnections(WARM, GatewayPolicy(), {}, 0.0), Model(), 0.0
    for what, index, tunnel in steps:
        node = nodes.at(index)
        if what in ("wait", "long"):
            now += 0.5 if what == "wait" else 25.0
        elif what == "offer":
            for offered in books.offer(tunnel, now, proxies=proxies_):
                alive = [c for c in model.idle[offered, tunnel] if c[0] >= now - WARM.idle_seconds]
                assert alive
                allowed = max(RUN, SHARE * model.used(now) / proxies_)
                assert model.used(now, offered) < allowed + 1e-6
        else:
            model.leases.append((now, index))
            idle = model.idle[index, tunnel]
            idle[:] = [one for one in idle if one[0] >= now - WARM.idle_seconds]
            expected = idle.pop(0)[1] if idle else 0
            carried = books.take(node, tunnel, now)
            # Those of a proxy that had its part are forgotten together.
            assert carried in (expected, 0)
            if not carried:
                idle.clear()
            if what == "take" and carried + 1 < RUN:
                books.put_back(node, tunnel, now, carried + 1)
                idle.append((now, carried + 1))
                del idle[: -WARM.most_idle]
        assert 0 <= len(books) <= sum(map(len, model.idle.values()))


def test_the_books_go_on_for_weeks() -> None:
    nodes = Nodes()
    one = nodes.add(proxy("p"))
    one.free = 1
    books = WarmConnections(WARM, GatewayPolicy(), {}, 0.0)
    for hour in range(24 * 30):
        now = hour * 3600.0
        for _ in range(3):
            books.put_back(one, SITE, now, books.take(one, SITE, now) + 1)
        assert books.offer(SITE, now, proxies=1) == [0]
    assert books.offer(SITE, 1e9, proxies=1) == []
    books.put_back(one, SITE, 1e9, books.take(one, SITE, 1e9) + 1)
    assert books.offer(SITE, 1e9, proxies=1) == [0]


# What is learned


def test_a_new_connection_does_not_make_a_proxy_look_slow() -> None:
    pool = Pool(proxies(2), PoolPolicy(warm=WARM), rng=Random(1))
    for number in range(200):
        now = float(number)
        # p1 gets a request a minute or more apart, and so a new connection each time.
        name = "p1" if number % 65 == 64 else "p0"
        attempt = acquire(pool, now, proxy_filter={"name": name}, **HTTPS)
        pool.release(attempt, Outcome.SUCCESS, now, duration=0.1 if attempt.carried else 0.5)
    assert pool.explain("p1", 200.0).slowness == pytest.approx(1.0, abs=0.3)
