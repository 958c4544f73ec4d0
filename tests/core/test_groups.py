"""Groups: what to expect of a proxy that nothing is known of, by the company it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core import Outcome, Pool
from scrapy_proxybalance.core.proxies.groups import Group, Groups
from scrapy_proxybalance.core.proxies.record import Record

from .helpers import carry_through, cooling, make_pool, proxy

if TYPE_CHECKING:
    from scrapy_proxybalance.core import Proxy

FAULT, SUCCESS = Outcome.PROXY_FAULT, Outcome.SUCCESS
AMBIGUOUS = Outcome.AMBIGUOUS


def exits(gateway: str, count: int) -> list[Proxy]:
    return [
        proxy(f"{gateway}-{number}", host=f"{gateway}.test", username=f"user-{number}")
        for number in range(count)
    ]


def of_provider(provider: str, count: int) -> list[Proxy]:
    return [proxy(f"{provider}-{number}", provider=provider) for number in range(count)]


def success(pool: Pool, name: str, now: float = 0) -> float:
    return pool.explain(name, now).success


def worked(pool: Pool, group: str, outcome: Outcome, nodes: range, times: int = 10) -> None:
    for _ in range(times):
        for number in nodes:
            carry_through(pool, f"{group}-{number}", 0, outcome, target="t", latency=1.0)


# Who is in which


def test_proxies_are_grouped_by_shared_gateway_or_else_by_provider_and_country() -> None:
    groups = Groups()
    gateway = [
        proxy("a", host="gate.test", username="a"),
        proxy("b", host="gate.test", username="b"),
    ]
    assert groups.of(gateway[0], shares_gateway=True) is groups.of(gateway[1], shares_gateway=True)
    lone = proxy("c")
    assert groups.of(lone, shares_gateway=False) is groups.whole
    german = [proxy(name, provider="one", country="de") for name in "de"]
    french = proxy("f", provider="one", country="fr")
    same = groups.of(german[0], shares_gateway=False)
    assert groups.of(german[1], shares_gateway=False) is same
    assert groups.of(french, shares_gateway=False) is not same
    assert same.top is groups.whole


@pytest.mark.parametrize("first", [0, 1, 2])
def test_every_exit_of_a_gateway_is_in_its_group(first: int) -> None:
    pool = make_pool([*exits("bad", 3), *exits("good", 3)], health=cooling(threshold=1000))
    others = [number for number in range(3) if number != first]
    for _ in range(10):
        for number in others:
            carry_through(pool, f"bad-{number}", 0, AMBIGUOUS, target="t")
            carry_through(pool, f"good-{number}", 0, SUCCESS, target="t", latency=1.0)
    assert success(pool, f"bad-{first}") < success(pool, f"good-{first}")


def test_a_proxy_whose_gateway_is_shared_from_now_on_joins_its_group() -> None:
    pool = make_pool([*exits("gate", 1), proxy("other")], health=cooling(threshold=1000))
    pool.add(exits("gate", 2)[1], 0)
    for _ in range(10):
        carry_through(pool, "gate-1", 0, FAULT)
    assert success(pool, "gate-0") < success(pool, "other")


# What follows from it


def test_an_unknown_proxy_of_a_bad_group_expects_worse_than_one_of_a_good_group() -> None:
    nodes = [*of_provider("bad", 6), *of_provider("good", 6), *of_provider("new", 1)]
    pool = make_pool(nodes, health=cooling(threshold=1000))
    worked(pool, "bad", FAULT, range(5))
    worked(pool, "good", SUCCESS, range(5))
    bad, new, good = (pool.explain(name, 0) for name in ("bad-5", "new-0", "good-5"))
    assert bad.success < new.success < good.success
    assert bad.value < new.value < good.value


def test_a_slow_group_lets_an_unknown_proxy_expect_to_be_slow() -> None:
    pool = make_pool([*of_provider("slow", 6), *of_provider("fast", 6)])
    for turn in range(30):
        for number in range(5):
            carry_through(pool, f"slow-{number}", turn, SUCCESS, target="t", latency=4.0)
            carry_through(pool, f"fast-{number}", turn, SUCCESS, target="t", latency=1.0)
    assert pool.explain("slow-5", 30).slowness > 1.2 * pool.explain("fast-5", 30).slowness


def test_a_proxy_that_is_known_is_judged_by_its_own_record() -> None:
    pool = make_pool([*of_provider("bad", 6)], health=cooling(threshold=1000))
    worked(pool, "bad", FAULT, range(5), times=50)
    worked(pool, "bad", SUCCESS, range(5, 6), times=50)
    assert success(pool, "bad-5") > 0.7
    assert success(pool, "bad-0") < 0.1


def test_a_bad_group_lowers_what_is_expected_of_the_pool_less_than_of_its_own() -> None:
    pool = make_pool([*of_provider("bad", 6), proxy("other")], health=cooling(threshold=1000))
    before = success(pool, "other")
    worked(pool, "bad", FAULT, range(5))
    assert success(pool, "bad-5") < success(pool, "other") < before


def test_a_group_tells_of_a_member_taken_at_random_and_not_of_the_busiest() -> None:
    pool = make_pool(of_provider("mixed", 12), health=cooling(threshold=1000))
    worked(pool, "mixed", FAULT, range(1, 11), times=5)
    worked(pool, "mixed", SUCCESS, range(1), times=400)
    assert success(pool, "mixed-11") < 0.7  # of the attempts, 0.89 succeeded


@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(0, 1), st.floats(0.05, 20), st.floats(0, 100)),
        max_size=60,
    )
)
def test_an_expectation_is_always_one_that_can_be_reckoned_with(
    steps: list[tuple[bool, float, float, float]],
) -> None:
    group, own, now = Group(Group()), Record(), 0.0
    for well, share, time, passed in steps:
        now += passed
        if well:
            group.succeeded(time, own, now)
            own.succeeded(time, now, 50)
        else:
            group.failed(share, time, own, now)
            own.failed(share, time, now, 50)
        for known in (group, group.top):
            assert 0 < known.expectation.success < 1
            assert 0.04 < known.expectation.slowness < 21
            assert 0 < known.expectation.lost < 21
