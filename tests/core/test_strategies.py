"""The strategies: what holds for all of them, and what each of them is for."""

from __future__ import annotations

from collections import Counter
from math import ceil
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrapy_proxybalance.core import (
    STRATEGIES,
    Attempt,
    HealthPolicy,
    Outcome,
    Pick,
    Pool,
    Strategy,
)
from scrapy_proxybalance.core.events import CooldownStarted, ProxyRecovered
from scrapy_proxybalance.core.strategies import sticky as sticky_module

from .helpers import (
    ALL_STRATEGIES,
    Events,
    acquire,
    blocked,
    carry,
    carry_through,
    chi_square,
    cooling,
    make_pool,
    proxies,
    proxy,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scrapy_proxybalance.core import Proxy

# A chi-square with k degrees of freedom is above these once in 100,000 times.
CHI_SQUARE_LIMIT = {2: 23.1, 3: 25.9, 4: 28.5, 5: 30.9}
# These give every proxy about the same, as long as all are alike.
EVEN = (
    "round_robin",
    "weighted_round_robin",
    "least_connections",
    "least_used",
    "latency",
    "random",
)
# No proxy of the pool is ever sent out for what it did.
NO_COOLDOWN = HealthPolicy(failure_threshold=1_000_000)

every_strategy = pytest.mark.parametrize("strategy", ALL_STRATEGIES)
even_ones = pytest.mark.parametrize("strategy", EVEN)


class Seen:
    """What a strategy may ask, where there is no pool: scores and names as a test has them."""

    def __init__(self, scores: dict[int, float] | None = None, names: list[str] | None = None):
        self._scores = scores or {}
        self._names = names

    def score(self, index: int, now: float) -> float:  # noqa: ARG002
        return self._scores.get(index, 1.0)

    def scores(self, indices: Sequence[int], now: float) -> list[float]:
        return [self.score(index, now) for index in indices]

    def proxy(self, index: int) -> Proxy:
        return proxy(self._names[index] if self._names is not None else f"p{index}")


def put(
    strategy: Strategy,
    index: int,
    *,
    usable: bool = True,
    on_trial: bool = False,
    weight: float = 1.0,
    in_flight: int = 0,
) -> None:
    strategy.set(index, usable=usable, on_trial=on_trial, weight=weight, in_flight=in_flight)


def made(name: str, weights: Iterable[float], view: Seen | None = None) -> Strategy:
    strategy = STRATEGIES[name](view or Seen())
    for index, weight in enumerate(weights):
        put(strategy, index, weight=weight)
    return strategy


def picks(
    strategy: Strategy, count: int, among: list[int] | None = None, target: str = ""
) -> list[int | None]:
    """Pick so often, without a request's being sent."""
    rng = Random(5)
    return [strategy.pick(Pick(0.0, rng, target, None, among)) for _ in range(count)]


def jain(counts: Iterable[int]) -> float:
    """Return Jain's index: 1 if all have the same, 1/n if one has everything."""
    values = list(counts)
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def run(
    pool: Pool,
    count: int,
    *,
    slots: int,
    start: float = 0.0,
    seconds: Callable[[str, Random], float] = lambda _, rng: rng.uniform(0.2, 2.0),
    outcome: Callable[[str, float], Outcome] = lambda _, __: Outcome.SUCCESS,
) -> list[tuple[float, str]]:
    """Send ``count`` requests, ``slots`` at once; return when and through which proxy each went."""
    rng, now, sent = Random(3), start, []
    out: list[tuple[float, Attempt]] = []

    def end_one() -> float:
        out.sort(key=lambda entry: entry[0])
        end, attempt = out.pop(0)
        ending = outcome(attempt.proxy.name, end)
        pool.release(attempt, ending, end, duration=end - attempt.started_at)
        return end

    for _ in range(count):
        if len(out) == slots:
            now = end_one()
        attempt = acquire(pool, now, target="shop.test")
        sent.append((now, attempt.proxy.name))
        out.append((now + seconds(attempt.proxy.name, rng), attempt))
    while out:
        end_one()
    return sent


def used(sent: Iterable[tuple[float, str]]) -> Counter[str]:
    return Counter(name for _, name in sent)


# What holds for all


def test_the_strategies_tested_here_are_all_there_are() -> None:
    assert set(ALL_STRATEGIES) == set(STRATEGIES)


@every_strategy
def test_nothing_is_picked_where_nothing_may_be_used(strategy: str) -> None:
    chooser = made(strategy, [1.0, 2.0, 3.0])
    for index in range(3):
        put(chooser, index, usable=False)
    assert picks(chooser, 1) == [None]
    assert picks(chooser, 1, [0, 2]) == [None]
    assert picks(chooser, 1, []) == [None]
    assert picks(made(strategy, []), 1) == [None]


@given(
    strategy=st.sampled_from(ALL_STRATEGIES),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["set", "set", "set", "forget", "ended"]),
            st.integers(0, 5),
            st.sampled_from([False, True, True]),
            st.booleans(),
            st.sampled_from([0.001, 1.0, 1.0, 7.0, 1e6]),
            st.integers(0, 5),
            st.none() | st.floats(0, 100),
            st.none() | st.lists(st.integers(0, 5), unique=True),
        ),
        max_size=60,
    ),
)
@settings(max_examples=400)
def test_a_pick_is_always_one_that_may_be_used_if_there_is_one(
    strategy: str,
    steps: list[tuple[str, int, bool, bool, float, int, float | None, list[int] | None]],
) -> None:
    chooser, rng = STRATEGIES[strategy](Seen()), Random(1)
    usable_now: dict[int, bool] = {}
    for now, step in enumerate(steps):
        what, index, usable, on_trial, weight, in_flight, duration, among = step
        if what == "set" or index not in usable_now:
            put(
                chooser,
                index,
                usable=usable,
                on_trial=on_trial,
                weight=weight,
                in_flight=in_flight,
            )
            usable_now[index] = usable
        elif what == "forget":
            chooser.forget(index)
            del usable_now[index]
        else:
            chooser.ended(index, now=now, duration=duration, rng=rng)
        candidates = usable_now if among is None else among
        expected = {candidate for candidate in candidates if usable_now.get(candidate)}
        for target in ("", "shop.test"):
            picked = chooser.pick(Pick(now, rng, target, None, among))
            assert picked in expected if expected else picked is None


@every_strategy
def test_every_proxy_gets_work_where_there_is_enough_of_it(strategy: str) -> None:
    sent = used(run(make_pool(proxies(8), strategy=strategy), 800, slots=31))
    assert set(sent) == {f"p{number}" for number in range(8)}


@even_ones
@pytest.mark.parametrize("slots", [1, 12, 31])
def test_every_proxy_gets_about_the_same(strategy: str, slots: int) -> None:
    sent = used(run(make_pool(proxies(8), strategy=strategy), 800, slots=slots))
    assert len(sent) == 8
    assert min(sent.values()) > 800 / 8 / 3


@even_ones
def test_every_proxy_gets_work_when_every_request_has_a_filter(strategy: str) -> None:
    pool = make_pool(proxies(6, country="de"), strategy=strategy)
    sent = Counter(
        carry(pool, now, proxy_filter={"country": "de"}).proxy.name for now in range(600)
    )
    assert len(sent) == 6
    assert min(sent.values()) > 40


@even_ones
@pytest.mark.parametrize("proxy_filter", [None, {"country": "de"}])
def test_asking_why_a_request_is_held_takes_nobodys_turn(
    strategy: str, proxy_filter: dict[str, str] | None
) -> None:
    pool = make_pool(proxies(2, country="de"), strategy=strategy)
    sent: Counter[str] = Counter()
    for now in range(200):
        assert blocked(pool, now, proxy_filter=proxy_filter) is None
        assert blocked(pool, now, proxy_filter=proxy_filter, session=f"new-{now}") is None
        sent[carry(pool, now, proxy_filter=proxy_filter).proxy.name] += 1
    assert min(sent["p0"], sent["p1"]) > 50


@even_ones
def test_every_proxy_gets_work_when_half_of_it_comes_in_sessions(strategy: str) -> None:
    pool = make_pool(proxies(4), strategy=strategy)
    sent: Counter[str] = Counter()
    for now in range(400):
        sent[carry(pool, now, session=f"s{now % 40}").proxy.name] += 1
        sent[carry(pool, now).proxy.name] += 1
    assert min(sent[f"p{number}"] for number in range(4)) > 100


@even_ones
def test_a_recovered_proxy_gets_its_fair_share_again(strategy: str) -> None:
    pool = make_pool(proxies(8), strategy=strategy, health=cooling(threshold=3, first=5))
    run(pool, 100, slots=4)
    for _ in range(3):
        carry_through(pool, "p3", 1000, Outcome.PROXY_FAULT)
    assert shown(pool, "p3", 1001).cooldown_left > 0
    run(pool, 2000, slots=4, start=1001)
    sent = used(run(pool, 4000, slots=4, start=5000))
    assert sent["p3"] == pytest.approx(4000 / 8, rel=0.25)


@every_strategy
def test_one_that_takes_anothers_place_inherits_nothing(strategy: str) -> None:
    pool = make_pool(proxies(3), strategy=strategy, max_in_flight=9)
    run(pool, 300, slots=4)
    pool.remove("p1", 1000)
    pool.add(proxy("new", weight=2), 1000)
    sent = used(run(pool, 300, slots=26, start=1000))
    assert set(sent) == {"p0", "p2", "new"}


# Round robin


def test_round_robin_goes_in_the_order_of_the_pool_whatever_the_weight() -> None:
    assert picks(made("round_robin", [1, 5, 9]), 7) == [0, 1, 2, 0, 1, 2, 0]


def test_round_robin_skips_what_may_not_be_used_and_comes_back_to_it() -> None:
    chooser = made("round_robin", [1, 1, 1, 1])
    assert picks(chooser, 1) == [0]
    put(chooser, 1, usable=False)
    assert picks(chooser, 4) == [2, 3, 0, 2]
    put(chooser, 1)
    assert picks(chooser, 4) == [3, 0, 1, 2]


def test_round_robin_among_some_goes_in_turn() -> None:
    assert picks(made("round_robin", [1] * 6), 5, [4, 1, 3]) == [1, 3, 4, 1, 3]


# Weighted round robin


def test_weighted_round_robin_keeps_the_weights_in_every_cycle() -> None:
    chooser = made("weighted_round_robin", [1, 2, 3])
    cycles = [Counter(picks(chooser, 6)) for _ in range(20)]
    assert cycles == [Counter({0: 1, 1: 2, 2: 3})] * 20


def test_weighted_round_robin_keeps_the_weights_among_some() -> None:
    chooser = made("weighted_round_robin", [1, 2, 3, 4])
    assert Counter(picks(chooser, 250, [0, 3])) == {0: 50, 3: 200}


@pytest.mark.parametrize("among", [None, [0, 1, 2]])
def test_weighted_round_robin_lets_nobody_catch_up_on_what_it_missed(
    among: list[int] | None,
) -> None:
    chooser = made("weighted_round_robin", [1, 1, 1])
    put(chooser, 2, usable=False)
    assert 2 not in picks(chooser, 300, among)
    put(chooser, 2)
    assert Counter(picks(chooser, 30, among))[2] <= 11


@pytest.mark.parametrize("among", [None, [0, 1, 2]])
def test_weighted_round_robin_gives_a_newcomer_its_share_and_no_more(
    among: list[int] | None,
) -> None:
    chooser = made("weighted_round_robin", [1, 1])
    picks(chooser, 300, None if among is None else [0, 1])
    put(chooser, 2)
    assert 9 <= Counter(picks(chooser, 30, among))[2] <= 11


def test_a_weight_that_was_raised_counts_at_once() -> None:
    pool = make_pool(
        [proxy("a"), proxy("b", weight=0.01)], strategy="weighted_round_robin", max_in_flight=9
    )
    for now in range(10):
        carry(pool, now)
    pool.update(proxy("b", weight=1), 10)
    sent = Counter(carry(pool, 10 + now).proxy.name for now in range(40))
    assert sent["b"] >= 15


def test_a_newcomer_does_not_wait_out_the_turn_of_the_one_whose_place_it_takes() -> None:
    pool = make_pool(
        [proxy("a"), proxy("b", weight=0.01)], strategy="weighted_round_robin", max_in_flight=9
    )
    for now in range(10):
        carry(pool, now)
    pool.remove("b", 10)
    pool.add(proxy("c"), 10)
    sent = Counter(carry(pool, 10 + now).proxy.name for now in range(40))
    assert sent["c"] >= 15


# Least connections


def test_least_connections_picks_the_least_loaded_for_its_weight() -> None:
    chooser = made("least_connections", [1, 1, 4])
    for index, (weight, in_flight) in enumerate([(1, 2), (1, 1), (4, 3)]):
        put(chooser, index, weight=weight, in_flight=in_flight)
    assert picks(chooser, 1) == [2]
    assert picks(chooser, 1, [0, 1]) == [1]


def test_least_connections_picks_the_longest_unused_among_equals() -> None:
    pool = make_pool(proxies(4), strategy="least_connections")
    names = [carry(pool, now).proxy.name for now in range(8)]
    assert names == ["p0", "p1", "p2", "p3"] * 2


def test_least_connections_spreads_leases_evenly() -> None:
    pool = make_pool(proxies(5), strategy="least_connections", max_in_flight=4)
    for _ in range(15):
        acquire(pool, 0)
    assert [seen.in_flight for seen in pool.snapshot(0)] == [3] * 5


# Least used


def test_least_used_keeps_the_counts_in_proportion_to_the_weights() -> None:
    nodes = [proxy("a", weight=1), proxy("b", weight=2), proxy("c", weight=3)]
    pool = make_pool(nodes, strategy="least_used", max_in_flight=50)
    sent = used(run(pool, 600, slots=20))
    assert sent == {"a": 100, "b": 200, "c": 300}


def test_least_used_counts_what_sessions_and_filters_have_sent_too() -> None:
    pool = make_pool(proxies(3), strategy="least_used")
    sent = Counter(carry_through(pool, "p0", now, Outcome.SUCCESS).proxy.name for now in range(40))
    session = carry(pool, 40, session="s").proxy.name
    sent[session] += 1
    for now in range(41, 70):
        sent[carry(pool, now, session="s").proxy.name] += 1
    for now in range(100, 150):
        sent[carry(pool, now).proxy.name] += 1
    assert set(sent.values()) == {40}


def test_least_used_gives_a_newcomer_no_more_than_the_others() -> None:
    pool = make_pool(proxies(3), strategy="least_used")
    run(pool, 300, slots=2)
    pool.add(proxy("new"), 1000)
    sent = used(run(pool, 80, slots=2, start=1000))
    assert set(sent.values()) == {20}


def test_least_used_gives_one_that_joins_while_all_are_busy_no_more_than_the_others() -> None:
    pool = make_pool(proxies(2), strategy="least_used", max_in_flight=1)
    run(pool, 200, slots=2)
    leases = [acquire(pool, 1000), acquire(pool, 1000)]
    pool.add(proxy("new"), 1000)
    for attempt in leases:
        pool.release(attempt, Outcome.SUCCESS, 1001)
    sent = Counter(carry(pool, now).proxy.name for now in range(1002, 1032))
    assert sent["new"] <= 12


def test_least_used_lets_one_that_sat_out_catch_up() -> None:
    pool = make_pool(proxies(2), strategy="least_used", health=cooling(threshold=1, first=50))
    carry_through(pool, "p0", 0, Outcome.PROXY_FAULT)
    assert {carry(pool, now).proxy.name for now in range(1, 21)} == {"p1"}
    back = [carry(pool, 100 + now).proxy.name for now in range(19)]
    assert set(back) == {"p0"}


# At random


@pytest.mark.parametrize("among", [None, [0, 2, 3], list(range(10))])
def test_random_picks_are_in_proportion_to_the_weights(among: list[int] | None) -> None:
    weights = [1.0, 2.0, 3.0, 0.5]
    chooser = made("random", weights)
    put(chooser, 4, weight=9.0, usable=False)
    shares = {index: weights[index] for index in range(4) if among is None or index in among}
    counts = Counter(picks(chooser, 20_000, among))
    assert set(counts) == set(shares)
    assert chi_square(counts, shares) < CHI_SQUARE_LIMIT[len(shares) - 1]


def test_random_picks_are_in_proportion_where_one_outweighs_all_others() -> None:
    weights = [1.0] * 4 + [10_000.0]
    counts = Counter(picks(made("random", weights), 200_000))
    small = {index: counts[index] for index in range(4)}
    assert chi_square(small, dict.fromkeys(small, 1.0)) < CHI_SQUARE_LIMIT[3]
    assert 40 <= sum(small.values()) <= 130  # 80 are expected


# The first available


def test_first_available_takes_the_first_in_the_order_of_the_pool_that_is_free() -> None:
    pool = make_pool(
        [proxy("a", weight=0.1), proxy("b", weight=9), proxy("c")],
        strategy="first_available",
        max_in_flight=2,
    )
    leases = [acquire(pool, 0) for _ in range(5)]
    assert [attempt.proxy.name for attempt in leases] == ["a", "a", "b", "b", "c"]
    pool.release(leases[1], Outcome.SUCCESS, 1)
    assert acquire(pool, 1).proxy.name == "a"
    assert acquire(pool, 1, proxy_filter={"name": ["c", "b"]}).proxy.name == "c"


def test_first_available_comes_back_to_the_first_when_its_cooldown_is_over() -> None:
    pool = make_pool(proxies(3), strategy="first_available", health=cooling(threshold=1, first=10))
    carry(pool, 0, Outcome.PROXY_FAULT)
    assert carry(pool, 1).proxy.name == "p1"
    assert carry(pool, 20).proxy.name == "p0"


# By latency


def test_latency_prefers_the_faster() -> None:
    pool = make_pool(proxies(6), strategy="latency")
    sent = used(run(pool, 600, slots=6, seconds=lambda name, _: 0.2 if name == "p0" else 2.0))
    assert sent["p0"] > 2 * max(count for name, count in sent.items() if name != "p0")


def test_latency_counts_what_a_proxy_carries() -> None:
    chooser = made("latency", [1, 1])
    put(chooser, 0, in_flight=3)
    assert set(picks(chooser, 50)) == {1}
    assert set(picks(chooser, 50, [0, 1])) == {1}


def test_latency_goes_by_weight_where_proxies_are_alike() -> None:
    counts = Counter(picks(made("latency", [1.0, 2.0, 3.0]), 20_000))
    assert chi_square(counts, {0: 1.0, 1: 2.0, 2: 3.0}) < CHI_SQUARE_LIMIT[2]


def test_latency_is_not_drawn_to_a_proxy_that_fails_fast() -> None:
    def outcome(name: str, _: float) -> Outcome:
        return Outcome.PROXY_FAULT if name == "p0" else Outcome.SUCCESS

    pool = make_pool(proxies(6), strategy="latency", health=NO_COOLDOWN)
    sent = run(
        pool,
        1200,
        slots=12,
        seconds=lambda name, rng: 0.01 if name == "p0" else rng.uniform(0.5, 1.5),
        outcome=outcome,
    )
    assert used(sent)["p0"] < 1200 * 0.04


def test_latency_leaves_a_proxy_that_becomes_slow_at_once_and_finds_it_again_when_it_is_well() -> (
    None
):
    pool = make_pool(proxies(6), strategy="latency")
    shares, now = {}, 0.0
    for phase, slow in (("before", False), ("slow", True), ("after", False)):
        sent = run(
            pool,
            900,
            slots=6,
            start=now,
            seconds=lambda name, _, slow=slow: 20.0 if slow and name == "p0" else 1.0,
        )
        shares[phase] = used(sent)["p0"] / 900
        now = sent[-1][0] + 30
    assert shares["before"] > 0.1
    assert shares["slow"] < 0.03
    assert shares["after"] > 0.1


def test_latency_tries_a_proxy_again_that_has_failed_a_while_ago() -> None:
    pool = make_pool(proxies(2), strategy="latency", health=NO_COOLDOWN)
    for now in range(20):
        carry(pool, now, duration=1)
    for _ in range(10):
        carry_through(pool, "p0", 20, Outcome.PROXY_FAULT)
    assert "p0" not in {carry(pool, 21, duration=1).proxy.name for _ in range(20)}
    assert "p0" in {carry(pool, 200, duration=1).proxy.name for _ in range(20)}


# Sticky


def sticky_names(
    names: list[str], keys: Iterable[str], *, weights: dict[str, float] | None = None
) -> dict[str, str]:
    """Return which of the proxies of these names each target gets, with nothing in flight."""
    chooser = made("sticky", [(weights or {}).get(name, 1.0) for name in names], Seen(names=names))
    rng = Random(1)
    return {key: names[chooser.pick(Pick(0.0, rng, key)) or 0] for key in keys}


def test_sticky_keeps_a_target_on_its_proxy_in_every_run() -> None:
    names = [f"exit-{number}" for number in range(10)]
    in_an_earlier_run = [
        "exit-0",
        "exit-4",
        "exit-9",
        "exit-7",
        "exit-1",
        "exit-3",
        "exit-1",
        "exit-7",
    ]
    assert list(sticky_names(names, "abcdefgh").values()) == in_an_earlier_run


@pytest.mark.parametrize("size", [7, 700])
def test_sticky_does_not_depend_on_the_order_of_the_pool(size: int) -> None:
    names = [f"exit-{number}" for number in range(size)]
    shuffled = Random(2).sample(names, size)
    keys = [f"host-{number}.test" for number in range(100)]
    assert sticky_names(names, keys) == sticky_names(shuffled, keys)


@pytest.mark.parametrize("size", [12, 700])
def test_a_proxy_that_leaves_moves_no_sticky_key_but_its_own(size: int) -> None:
    names = [f"exit-{number}" for number in range(size)]
    keys = [f"host-{number}.test" for number in range(300)]
    before = sticky_names(names, keys)
    gone = before[keys[0]]
    after = sticky_names([name for name in names if name != gone], keys)
    moved = {key for key in keys if before[key] != after[key]}
    assert moved == {key for key in keys if before[key] == gone}


def test_a_proxy_that_joins_takes_about_its_share_of_sticky_keys_and_moves_no_other() -> None:
    names = [f"exit-{number}" for number in range(9)]
    keys = [f"host-{number}.test" for number in range(2000)]
    before, after = sticky_names(names, keys), sticky_names([*names, "new"], keys)
    moved = {key for key in keys if before[key] != after[key]}
    assert {after[key] for key in moved} == {"new"}
    assert len(moved) == pytest.approx(200, rel=0.25)


def test_sticky_gives_keys_in_proportion_to_the_weights() -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 3.0}
    keys = [f"host-{number}.test" for number in range(6000)]
    counts = Counter(sticky_names(list(weights), keys, weights=weights).values())
    assert chi_square(counts, weights) < CHI_SQUARE_LIMIT[2]


def test_sticky_goes_by_the_session_before_the_target() -> None:
    chooser, rng = made("sticky", [1.0] * 50), Random(1)
    by_session = {
        chooser.pick(Pick(0.0, rng, f"host-{number}.test", "basket")) for number in range(20)
    }
    by_target = {chooser.pick(Pick(0.0, rng, "shop.test")) for _ in range(20)}
    others = {chooser.pick(Pick(0.0, rng, "shop.test", f"s{number}")) for number in range(20)}
    assert len(by_session) == len(by_target) == 1
    assert len(others) > 5


@given(
    size=st.integers(2, 12),
    targets=st.integers(1, 3),
    slots=st.integers(1, 40),
    weights=st.lists(st.sampled_from([1.0, 1.0, 2.0]), min_size=12, max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_sticky_lets_no_proxy_carry_more_than_a_quarter_above_its_share(
    size: int, targets: int, slots: int, weights: list[float]
) -> None:
    nodes = [proxy(f"p{number}", weight=weights[number]) for number in range(size)]
    pool = make_pool(nodes, strategy="sticky", max_in_flight=100)
    whole = sum(node.weight for node in nodes)
    for number in range(slots):
        attempt = acquire(pool, 0.0, target=f"host-{number % targets}.test")
        share = 1.25 * (number + 1) * attempt.proxy.weight / whole
        assert shown(pool, attempt.proxy.name, 0.0).in_flight <= ceil(share)


@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["a", "b", "c", "d", "e", None]),
            st.booleans(),
            st.sampled_from([1.0, 3.0]),
            st.integers(0, 3),
        ),
        max_size=40,
    )
)
def test_sticky_picks_by_how_things_stand_and_not_by_how_they_came_about(
    steps: list[tuple[int, str | None, bool, float, int]],
) -> None:
    names = ["", "", "", ""]
    chooser = made("sticky", [], Seen(names=names))
    here: dict[int, dict[str, Any]] = {}
    for index, name, usable, weight, in_flight in steps:
        if index in here and name != names[index]:
            chooser.forget(index)
            del here[index]
        if name is not None and name not in (names[other] for other in here if other != index):
            names[index] = name
            here[index] = {"usable": usable, "weight": weight, "in_flight": in_flight}
            put(chooser, index, **here[index])
        fresh = made("sticky", [], Seen(names=names))
        for known in sorted(here, reverse=True):
            put(fresh, known, **here[known])
        for target in ("one.test", "two.test", "three.test"):
            assert picks(chooser, 1, target=target) == picks(fresh, 1, target=target)


def test_sticky_comes_back_to_the_first_in_the_ranking_when_that_has_room_again() -> None:
    pool = make_pool(proxies(10), strategy="sticky", max_in_flight=1)
    first = acquire(pool, 0, target="shop.test")
    second = acquire(pool, 0, target="shop.test")
    assert second.proxy.name != first.proxy.name
    pool.release(first, Outcome.SUCCESS, 1)
    assert acquire(pool, 1, target="shop.test").proxy.name == first.proxy.name
    pool.release(second, Outcome.SUCCESS, 1)
    assert acquire(pool, 1, target="shop.test").proxy.name == second.proxy.name


def test_sticky_keeps_to_one_proxy_within_a_filter() -> None:
    nodes = [proxy(f"p{number}", country="de" if number % 2 else "fr") for number in range(600)]
    pool = make_pool(nodes, strategy="sticky")
    for wanted in ({"country": "de"}, {"name": ["p1", "p3", "p5"]}):
        names = {
            carry(pool, now, target="shop.test", proxy_filter=wanted).proxy.name for now in range(9)
        }
        assert len(names) == 1


def test_sticky_keeps_to_one_proxy_where_few_of_many_may_be_used() -> None:
    chooser = made("sticky", [1.0] * 20_000)
    for index in range(20_000):
        put(chooser, index, usable=index in (5, 1500, 2999))
    assert len(set(picks(chooser, 20, target="shop.test"))) == 1
    assert len({picks(chooser, 1, target=f"{number}.test")[0] for number in range(30)}) == 3


def test_a_sticky_key_ranks_a_part_of_a_large_pool_and_only_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashed = 0
    blake2s = sticky_module.blake2s

    def counted(*args: object, **kwargs: object) -> object:
        nonlocal hashed
        hashed += 1
        return blake2s(*args, **kwargs)  # type: ignore[call-overload]

    chooser = made("sticky", [1.0] * 5000)
    monkeypatch.setattr(sticky_module, "blake2s", counted)
    picks(chooser, 1, target="shop.test")
    assert hashed < 200
    picks(chooser, 100, target="shop.test")
    assert hashed < 200


# Weighted: by score


def test_weighted_prefers_the_better_score_and_keeps_the_worse_in_use() -> None:
    chooser = made("weighted", [1.0] * 6, Seen({0: 2.0, 5: 0.5}))
    for index in range(6):
        for in_flight in (1, 0):
            chooser.set(index, usable=True, on_trial=False, weight=1.0, in_flight=in_flight)
    counts = Counter(picks(chooser, 6000))
    assert counts[0] > 2 * 6000 / 6
    assert counts[5] < 6000 / 6 / 2


def test_weighted_gives_one_on_trial_a_small_share() -> None:
    chooser = made("weighted", [1.0] * 6)
    put(chooser, 2, on_trial=True)
    counts = Counter(picks(chooser, 6000))
    assert 0 < counts[2] < 6000 / 6 / 2


def test_weighted_sends_few_at_once_to_find_out_however_long_they_take() -> None:
    chooser, rng = made("weighted", [1.0] * 40), Random(5)
    for index in range(20):
        put(chooser, index, on_trial=True)
    in_flight = Counter[int]()
    for _ in range(2000):
        index = chooser.pick(Pick(0.0, rng))
        assert index is not None
        in_flight[index] += 1
        put(chooser, index, on_trial=index < 20, in_flight=in_flight[index])
        out = sum(in_flight.values())
        if out == 100:  # who is on trial never answers, the others do
            other = rng.choice([name for name in in_flight.elements() if name >= 20])
            in_flight[other] -= 1
            put(chooser, other, in_flight=in_flight[other])
    on_trial = sum(count for index, count in in_flight.items() if index < 20)
    assert 1 <= on_trial <= 6


def test_weighted_goes_on_finding_out_though_those_it_looked_at_are_never_idle() -> None:
    pool = make_pool(proxies(5, max_in_flight=8), health=HealthPolicy(failure_threshold=1))
    events, rng, now, out = Events(pool.events), Random(3), 0.0, list[tuple[float, Attempt]]()
    while now < 300:
        while len(out) < 16:
            attempt = acquire(pool, now, target="a.test")
            out.append((now + rng.lognormvariate(0.0, 0.5), attempt))
        now, attempt = min(out, key=lambda pair: pair[0])
        out.remove((now, attempt))
        failed = now > 60 and not events.of(CooldownStarted)
        pool.release(attempt, Outcome.PROXY_FAULT if failed else Outcome.SUCCESS, now)
    assert len(events.of(CooldownStarted)) == 1
    assert events.of(ProxyRecovered)


def test_weighted_does_not_wait_for_one_that_it_picked_in_vain() -> None:
    chooser, rng = made("weighted", [1.0] * 10), Random(5)
    put(chooser, 2, on_trial=True)
    counts = Counter[int | None]()
    for _ in range(3000):
        counts[chooser.pick(Pick(0.0, rng))] += 1  # and is never sent anything
    assert counts[2] > 50


def test_weighted_tries_no_dead_ones_in_a_row_when_a_trial_has_succeeded() -> None:
    chooser, rng = made("weighted", [1.0] * 40), Random(5)
    for index in range(20):
        put(chooser, index, on_trial=True)
    for index in range(20, 24):
        put(chooser, index, in_flight=1)
    tried = next(index for index in iter(lambda: chooser.pick(Pick(0.0, rng)), None) if index < 20)
    chooser.ended(tried, now=1.0, duration=1.0, rng=rng)
    put(chooser, 0, on_trial=True, usable=False, in_flight=1)
    chooser.pick(Pick(0.0, rng))
    on_trial = 0
    for _ in range(8):
        index = chooser.pick(Pick(1.0, rng))
        assert index is not None
        if index < 20:
            on_trial += 1
            put(chooser, index, on_trial=True, usable=False, in_flight=1)
    assert on_trial == 2  # of five or six in flight


def test_weighted_takes_one_on_trial_where_there_is_no_other() -> None:
    chooser = made("weighted", [1.0] * 2)
    put(chooser, 0, usable=False)
    put(chooser, 1, on_trial=True)
    assert set(picks(chooser, 20)) == set(picks(chooser, 20, [0, 1])) == {1}


def test_weighted_gives_the_faster_more() -> None:
    pool = make_pool(proxies(8))
    sent = used(run(pool, 1600, slots=12, seconds=lambda name, _: 0.4 if name == "p0" else 2.0))
    assert sent["p0"] > 2 * (1600 - sent["p0"]) / 7


def test_weighted_gives_the_one_that_fails_less() -> None:
    def outcome(name: str, now: float) -> Outcome:
        fails = name == "p0" and int(now * 1000) % 2
        return Outcome.PROXY_FAULT if fails else Outcome.SUCCESS

    pool = make_pool(proxies(8), health=NO_COOLDOWN)
    sent = used(run(pool, 1600, slots=12, outcome=outcome))
    assert 0 < sent["p0"] < (1600 - sent["p0"]) / 7 / 2


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_weighted_spreads_over_equal_proxies_evenly(seed: int) -> None:
    pool = make_pool(proxies(20), seed=seed, max_in_flight=4)
    sent = used(run(pool, 6000, slots=56, seconds=lambda _, rng: rng.lognormvariate(0.0, 0.63)))
    assert jain(sent[f"p{number}"] for number in range(20)) >= 0.9


def test_weighted_uses_a_part_of_a_large_pool_and_few_that_it_does_not_know() -> None:
    pool = make_pool(proxies(5000), max_in_flight=4)
    sent = run(pool, 5000, slots=20)
    known = {name for _, name in sent[:2000]}
    assert len(known) < 1000
    unknown = 0
    for _, name in sent[2000:]:
        unknown += name not in known
        known.add(name)
    assert 0 < unknown < 3000 * 0.08
