"""Usual times: how long a target takes, whoever asks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core.proxies.typical_times import TypicalTimes

SHOP, BOOKS = "shop.test", "books.test"
durations = st.floats(0, 1e6)


def times(*answers: tuple[str, float]) -> TypicalTimes:
    usual = TypicalTimes()
    for target, seconds in answers:
        usual.add(target, seconds)
    return usual


def test_nothing_is_usual_before_the_first_answer() -> None:
    usual = TypicalTimes()
    assert usual.of(SHOP) is None
    assert usual.of_all is None


def test_the_first_answers_count_alike() -> None:
    usual = times((SHOP, 1.0), (SHOP, 2.0), (SHOP, 6.0))
    assert usual.of(SHOP) == pytest.approx(3.0)


def test_each_target_has_a_time_of_its_own() -> None:
    usual = times((SHOP, 1.0), (BOOKS, 9.0))
    assert (usual.of(SHOP), usual.of(BOOKS)) == (1.0, 9.0)
    assert usual.of_all == pytest.approx(5.0)


def test_a_target_that_has_not_answered_is_taken_for_a_usual_one() -> None:
    usual = times((SHOP, 1.0), (BOOKS, 9.0))
    assert usual.of("new.test") == usual.of_all


def test_a_target_that_becomes_slower_is_followed() -> None:
    usual = times(*[(SHOP, 1.0)] * 1000, *[(SHOP, 10.0)] * 200)
    assert usual.of(SHOP) == pytest.approx(10.0, rel=0.05)


def test_a_single_slow_answer_changes_little() -> None:
    usual = times(*[(SHOP, 1.0)] * 1000, (SHOP, 2.0))
    assert usual.of(SHOP) == pytest.approx(1.0, rel=0.1)


@given(st.lists(st.tuples(st.sampled_from([SHOP, BOOKS]), durations), min_size=1))
def test_what_is_usual_lies_among_the_answers_and_above_zero(
    answers: list[tuple[str, float]],
) -> None:
    usual = times(*answers)
    for target in (SHOP, BOOKS, "new.test"):
        own = [seconds for name, seconds in answers if name == target]
        seen = own or [seconds for _, seconds in answers]
        value = usual.of(target)
        assert value is not None
        assert value > 0
        assert min(seen) - 1e-6 <= value <= max(max(seen) * (1 + 1e-9), 0.001)


def test_in_a_crawl_of_very_many_targets_the_oldest_are_forgotten() -> None:
    usual = times(*[(f"{number}.test", 1.0 + number) for number in range(10_001)])
    assert usual.of("0.test") == usual.of_all
    assert usual.of("1.test") == 2.0
    assert usual.of("10000.test") == 10_001.0
