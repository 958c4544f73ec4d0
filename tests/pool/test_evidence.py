"""Evidence: whether recent failures speak against the target or against the proxy."""

from __future__ import annotations

import pytest

from scrapy_proxybalance.pool.evidence import Evidence

SHOP = "shop.test"


@pytest.mark.parametrize(("failures", "speaks"), [(3, False), (4, True)])
def test_failures_speak_against_a_target_from_four_on_and_only_through_others(
    failures: int, speaks: bool
) -> None:
    evidence = Evidence()
    for _ in range(failures):
        evidence.failed(SHOP, "p0")
    assert evidence.fails_through_others(SHOP, "p1") is speaks
    assert not evidence.fails_through_others(SHOP, "p0")
    assert not evidence.fails_through_others("books.test", "p1")


def test_half_of_the_attempts_are_not_most() -> None:
    evidence = Evidence()
    for _ in range(4):
        evidence.failed(SHOP, "p0")
        evidence.answered(SHOP, "p2")
    assert not evidence.fails_through_others(SHOP, "p1")
    evidence.failed(SHOP, "p0")
    assert evidence.fails_through_others(SHOP, "p1")


def test_an_answer_counts_for_the_other_proxies_until_it_is_long_ago() -> None:
    evidence = Evidence()
    evidence.failed(SHOP, "p1")
    assert not evidence.answers_through_others(SHOP, "p1")
    evidence.answered(SHOP, "p0")
    assert evidence.answers_through_others(SHOP, "p1")
    assert not evidence.answers_through_others(SHOP, "p0")
    for _ in range(20):
        evidence.failed(SHOP, "p2")
    assert not evidence.answers_through_others(SHOP, "p1")


def test_a_target_that_never_failed_costs_nothing_and_the_oldest_records_are_forgotten() -> None:
    evidence = Evidence()
    for number in range(10_001):
        for _ in range(4):
            evidence.failed(f"{number}.test", "p0")
        evidence.answered(f"fine-{number}.test", "p0")
    assert not evidence.answers_through_others("fine-7.test", "p1")
    assert not evidence.fails_through_others("0.test", "p1")
    assert evidence.fails_through_others("1.test", "p1")
    assert evidence.fails_through_others("10000.test", "p1")
