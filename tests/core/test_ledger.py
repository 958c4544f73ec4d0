"""The ledger: the one place where a cap, a rate and a rest are decided."""

from __future__ import annotations

import pytest

from scrapy_proxybalance.core import LocalLedger, Rate


def claim(ledger: LocalLedger, *candidates: str, now: float = 0.0) -> str | None:
    return ledger.claim(candidates, "shop.test", None, now)


@pytest.fixture
def ledger() -> LocalLedger:
    ledger = LocalLedger()
    for name in ("a", "b", "c"):
        ledger.register(name, 1, None)
    return ledger


def test_the_first_candidate_that_allows_it_is_granted(ledger: LocalLedger) -> None:
    assert [claim(ledger, "b", "a", "c") for _ in range(4)] == ["b", "a", "c", None]
    assert [ledger.in_flight(name) for name in "abc"] == [1, 1, 1]


def test_a_claim_on_nobody_is_granted_nothing(ledger: LocalLedger) -> None:
    assert claim(ledger) is None


def test_a_candidate_that_is_passed_over_loses_nothing(ledger: LocalLedger) -> None:
    ledger.register("a", 1, Rate(1, 10))
    ledger.rest("a", 5)
    assert claim(ledger, "a", "b", now=0) == "b"
    assert ledger.in_flight("a") == 0
    assert claim(ledger, "a", now=5) == "a"


def test_what_is_given_back_can_be_claimed_again(ledger: LocalLedger) -> None:
    claim(ledger, "a")
    ledger.release("a")
    assert ledger.in_flight("a") == 0
    assert claim(ledger, "a") == "a"


def test_a_refused_claim_does_not_use_up_the_rate(ledger: LocalLedger) -> None:
    ledger.register("a", 1, Rate(1, 10, burst=2))
    assert claim(ledger, "a", now=0) == "a"
    assert claim(ledger, "a", now=1) is None
    ledger.release("a")
    assert claim(ledger, "a", now=1) == "a"


def test_a_rate_that_is_used_up_passes_to_the_next_candidate(ledger: LocalLedger) -> None:
    ledger.register("a", 9, Rate(1, 10))
    assert [claim(ledger, "a", "b", now=0) for _ in range(2)] == ["a", "b"]
    assert ledger.ready_at("a") == 10
    assert claim(ledger, "a", now=10) == "a"


def test_nothing_is_granted_during_a_rest(ledger: LocalLedger) -> None:
    ledger.rest("a", 30)
    assert ledger.ready_at("a") == 30
    assert (ledger.available("a", 29.9), claim(ledger, "a", now=29.9)) == (0, None)
    assert (ledger.available("a", 30), claim(ledger, "a", now=30)) == (1, "a")


def test_ready_at_is_the_later_of_rest_and_rate(ledger: LocalLedger) -> None:
    ledger.register("a", 9, Rate(1, 10))
    claim(ledger, "a", now=0)
    ledger.rest("a", 5)
    assert ledger.ready_at("a") == 10
    ledger.rest("a", 15)
    assert ledger.ready_at("a") == 15


def test_new_limits_keep_what_is_in_flight_and_what_was_sent(ledger: LocalLedger) -> None:
    ledger.register("a", 2, Rate(1, 10))
    claim(ledger, "a", now=0)
    ledger.register("a", 1, Rate(1, 10))
    assert ledger.in_flight("a") == 1
    ledger.release("a")
    assert claim(ledger, "a", now=9) is None
    assert claim(ledger, "a", now=10) == "a"


def test_registering_again_ends_a_rest(ledger: LocalLedger) -> None:
    ledger.rest("a", 30)
    ledger.register("a", 1, None)
    assert claim(ledger, "a", now=0) == "a"


def test_a_lowered_cap_waits_for_what_is_in_flight(ledger: LocalLedger) -> None:
    ledger.register("a", 3, None)
    for _ in range(3):
        claim(ledger, "a")
    ledger.register("a", 2, None)
    ledger.release("a")
    assert (ledger.available("a", 0), claim(ledger, "a")) == (0, None)
    ledger.release("a")
    assert (ledger.available("a", 0), claim(ledger, "a")) == (1, "a")


def test_a_rate_that_is_taken_away_no_longer_limits(ledger: LocalLedger) -> None:
    ledger.register("a", 5, Rate(1, 1000))
    claim(ledger, "a", now=0)
    ledger.register("a", 5, None)
    assert ledger.available("a", 0) == 4


def test_available_is_what_cap_and_rate_both_allow(ledger: LocalLedger) -> None:
    ledger.register("a", 2, Rate(1, 1, burst=5))
    ledger.register("b", 5, Rate(1, 1, burst=2))
    assert (ledger.available("a", 0), ledger.available("b", 0)) == (2, 2)
    claim(ledger, "a")
    claim(ledger, "b")
    assert (ledger.available("a", 0), ledger.available("b", 0)) == (1, 1)


def test_what_was_forgotten_begins_anew_when_it_is_registered_again(ledger: LocalLedger) -> None:
    ledger.register("a", 1, Rate(1, 1000))
    claim(ledger, "a", now=0)
    ledger.rest("a", 500)
    ledger.forget("a")
    with pytest.raises(KeyError):
        ledger.in_flight("a")
    ledger.register("a", 1, Rate(1, 1000))
    assert claim(ledger, "a", now=0) == "a"
