"""Blame: a failure is split among the suspects by how often each fails elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core.attribution.blame import Blame

SHOP, GATE = "shop.test", "gateway gate.test:8000"
FLAWLESS, USUAL, BROKEN = 1e-6, 0.02, 0.95


def failing(target: str, times: int = 20, proxy_rate: float = USUAL) -> Blame:
    blame = Blame()
    for _ in range(times):
        blame.failed((target,), proxy_rate, 0)
    return blame


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.sampled_from([(SHOP,), (GATE,), (SHOP, GATE), ("books.test",)]),
            st.floats(1e-6, 1),
            st.floats(0, 100),
        )
    )
)
def test_parts_and_rates_lie_between_none_and_all(
    steps: list[tuple[bool, tuple[str, ...], float, float]],
) -> None:
    blame, now = Blame(), 0.0
    for success, suspects, proxy_rate, passed in steps:
        now += passed
        if success:
            blame.succeeded(suspects, now)
        else:
            assert 0 < blame.failed(suspects, proxy_rate, now) < 1
        assert all(0 < blame.rate(suspect, now) < 1 for suspect in (SHOP, GATE, "books.test"))


def test_the_parts_are_in_proportion_to_how_often_each_fails() -> None:
    blame = failing(SHOP)
    blame.failed((GATE,), USUAL, 0)
    shop, gateway = blame.rate(SHOP, 0), blame.rate(GATE, 0)
    assert blame.failed((SHOP, GATE), 0.1, 0) == pytest.approx(0.1 / (0.1 + shop + gateway))


def test_where_nobody_else_is_suspect_it_is_all_the_proxys() -> None:
    assert Blame().failed((), 0.3, 0) == 1


def test_a_proxy_that_fails_more_often_gets_more_of_it() -> None:
    parts = [failing(SHOP).failed((SHOP,), rate, 0) for rate in (FLAWLESS, USUAL, 0.3, BROKEN)]
    assert parts == sorted(set(parts))


def test_a_target_that_fails_more_often_leaves_less_of_it_to_the_proxy() -> None:
    parts = [failing(SHOP, times).failed((SHOP,), USUAL, 0) for times in (0, 1, 5, 50)]
    assert parts == sorted(set(parts), reverse=True)
    assert parts[-1] < 0.1


def test_a_targets_failures_say_nothing_of_another() -> None:
    assert failing("books.test").failed((SHOP,), USUAL, 0) == Blame().failed((SHOP,), USUAL, 0)


def test_failures_through_broken_proxies_say_little_of_the_target() -> None:
    assert failing(SHOP, proxy_rate=BROKEN).rate(SHOP, 0) < failing(SHOP).rate(SHOP, 0) / 3


def test_answers_clear_a_target() -> None:
    blame = failing(SHOP)
    rates = [blame.rate(SHOP, 0)]
    for _ in range(60):
        blame.succeeded((SHOP,), 0)
        rates.append(blame.rate(SHOP, 0))
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1


def test_what_is_known_of_a_target_fades() -> None:
    blame = failing(SHOP)
    rates = [blame.rate(SHOP, now) for now in (0, 60, 600, 6000)]
    assert rates == sorted(set(rates), reverse=True)
    assert rates[-1] == pytest.approx(Blame().rate(SHOP, 0), rel=0.01)


def test_the_oldest_records_are_forgotten_and_an_answering_target_is_hardly_suspect() -> None:
    blame = Blame()
    unknown = blame.rate(SHOP, 0)
    for number in range(10_001):
        for _ in range(3):
            blame.failed((f"{number}.test",), USUAL, 0)
        blame.succeeded((f"fine-{number}.test",), 0)
    assert blame.rate("fine-7.test", 0) < unknown / 10
    assert blame.rate("0.test", 0) == unknown
    assert blame.rate("1.test", 0) > unknown
    assert blame.rate("10000.test", 0) > unknown
