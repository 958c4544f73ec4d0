"""Answers compared: an odd one is the proxy's when others get none, and the target's when they do."""

from __future__ import annotations

import pickle
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core import HealthPolicy, HealthState, Outcome, Pool
from scrapy_proxybalance.core.attribution.answers import Answers
from scrapy_proxybalance.core.events import CooldownTakenBack
from scrapy_proxybalance.core.proxies.health import MOSTLY, Health

from .helpers import Events, acquire, carry, cooling, make_pool, proxies, proxy, shown

if TYPE_CHECKING:
    from scrapy_proxybalance.core import Attempt

SITE = "shop.test"
# How often a proxy is known to fail: one of which little is known, and one that often does.
LITTLE, OFTEN = 0.2, 0.9

names = st.sampled_from([f"p{number}" for number in range(6)])
kinds = st.sampled_from(["503", "404", "empty"])
targets = st.sampled_from(["a.test", "b.test"])
steps = st.lists(
    st.tuples(st.sampled_from(["useful", "odd", "confirmed"]), targets, kinds, names), max_size=60
)


def after(*useful: str) -> Answers:
    """Return what is known when these have had useful answers of the site."""
    answers = Answers()
    for who in useful:
        answers.useful(SITE, who)
    return answers


# Whose it is


def test_an_odd_answer_is_the_proxys_when_others_get_pages() -> None:
    answers = after(*["good"] * 20)
    assert answers.odd(SITE, "503", "bad", rate=LITTLE).part >= MOSTLY


def test_an_odd_answer_that_others_get_as_well_is_the_targets() -> None:
    answers = after("a", "b")
    for who in ("a", "b", "c") * 4:
        suspicion = answers.odd(SITE, "404", who, rate=LITTLE)
    assert suspicion.compared
    assert suspicion.part < MOSTLY


def test_a_kind_that_others_get_excuses_no_other_kind() -> None:
    answers = after(*["a"] * 20)
    for who in ("a", "b") * 10:
        answers.odd(SITE, "404", who, rate=LITTLE)
    assert (
        answers.odd(SITE, "503", "c", rate=LITTLE).part
        > answers.odd(SITE, "404", "c", rate=LITTLE).part
    )


def test_what_one_target_says_is_no_excuse_at_another() -> None:
    answers = after(*["a"] * 20)
    for who in ("a", "b") * 20:
        answers.odd("other.test", "503", who, rate=LITTLE)
    assert answers.odd(SITE, "503", "c", rate=LITTLE).part >= MOSTLY


def test_a_proxy_does_not_excuse_itself_by_giving_the_same_answer_often() -> None:
    answers = after(*["good"] * 20)
    first = answers.odd(SITE, "503", "bad", rate=LITTLE).part
    for _ in range(100):
        last = answers.odd(SITE, "503", "bad", rate=LITTLE).part
    assert last >= 0.9 * first


def test_one_voice_counts_no_more_than_a_few_times_however_often_it_speaks() -> None:
    good = [f"good-{number % 8}" for number in range(40)]
    mixed = [f"p{number}" for number in range(10)]
    one, several = after(*good, "first"), after(*good, *mixed * 2)
    for number in range(100):
        one.odd(SITE, "503", "first", rate=LITTLE)
        several.odd(SITE, "503", f"p{number % 10}", rate=LITTLE)
    assert one.odd(SITE, "503", "last", rate=LITTLE).part >= MOSTLY
    assert several.odd(SITE, "503", "last", rate=LITTLE).part < MOSTLY


def test_nothing_is_compared_while_nobody_else_has_had_an_answer() -> None:
    assert not after().odd(SITE, "503", "p0", rate=OFTEN).compared
    assert not after("p0", "p0").odd(SITE, "503", "p0", rate=OFTEN).compared
    assert after("p0", "p1").odd(SITE, "503", "p0", rate=OFTEN).compared
    assert after("p1").odd(SITE, "503", "p0", rate=OFTEN).compared


def test_what_is_not_compared_is_not_mostly_the_proxys_unless_it_fails_often() -> None:
    assert after().odd(SITE, "503", "p0", rate=LITTLE).part < MOSTLY
    assert after().odd(SITE, "503", "p0", rate=OFTEN).part >= MOSTLY


def test_what_two_proxies_got_for_one_page_is_the_targets() -> None:
    answers, control = after(*["a"] * 20), after(*["a"] * 20)
    for who in ("b", "c", "d", "e"):
        answers.confirmed(SITE, "404", who)
    assert answers.through_others(SITE, "404", "b") == 3
    assert (
        answers.odd(SITE, "404", "f", rate=LITTLE).part
        < control.odd(SITE, "404", "f", rate=LITTLE).part
    )


def test_a_proxy_that_may_refuse_just_this_host_is_blamed_for_less() -> None:
    parts = [
        after("a", "b").odd(SITE, "host_refused", "c", rate=LITTLE, pair=pair).part
        for pair in (0.0, 0.3)
    ]
    assert parts[0] > parts[1]


@given(steps, st.floats(0, 1), st.floats(0, 1))
def test_a_part_is_a_part_whatever_has_been_heard(
    heard: list[tuple[str, str, str, str]], rate: float, pair: float
) -> None:
    answers = Answers()
    for what, target, kind, who in heard:
        if what == "useful":
            answers.useful(target, who)
        elif what == "confirmed":
            answers.confirmed(target, kind, who)
        else:
            assert 0.0 <= answers.odd(target, kind, who, rate=rate, pair=pair).part <= 1.0


@given(steps, st.floats(0, 1), st.floats(0, 1))
def test_whoever_fails_more_often_is_never_suspected_less(
    heard: list[tuple[str, str, str, str]], one: float, other: float
) -> None:
    parts = []
    for rate in sorted((one, other)):
        answers = Answers()
        for what, target, kind, who in heard:
            if what == "useful":
                answers.useful(target, who)
            else:
                answers.confirmed(target, kind, who)
        parts.append(answers.odd("a.test", "503", "p0", rate=rate).part)
    assert parts[0] <= parts[1]


@given(st.integers(0, 300), st.integers(0, 30))
def test_the_more_others_get_useful_answers_the_more_an_odd_one_is_the_proxys(
    useful: int, more: int
) -> None:
    few, many = after(*["a"] * (1 + useful)), after(*["a"] * (1 + useful + more))
    if useful < 150 < useful + more or useful >= 150:
        return  # by then what is old counts half
    assert (
        few.odd(SITE, "503", "b", rate=LITTLE).part
        <= many.odd(SITE, "503", "b", rate=LITTLE).part + 1e-9
    )


# Whoever gets nothing else


def test_those_that_get_nothing_else_excuse_nobody_while_others_get_pages() -> None:
    answers = after("good", "good", "good")
    for who in ("bad-0", "bad-1", "bad-2") * 5:
        suspicion = answers.odd(SITE, "503", who, rate=LITTLE)
    assert suspicion.part >= MOSTLY


def test_those_that_get_nothing_else_confirm_nothing_while_others_get_pages() -> None:
    answers = after("good", "good", "mixed")
    for who in ("bad", "mixed"):
        answers.odd(SITE, "503", who, rate=LITTLE)
    assert not answers.convinces(SITE, "503", "bad")
    assert answers.convinces(SITE, "503", "mixed")
    assert answers.convinces(SITE, "503", "new")


def test_they_do_where_nobody_gets_anything_else() -> None:
    answers = Answers()
    for who in ("a", "b", "c"):
        answers.odd(SITE, "503", who, rate=LITTLE)
        assert answers.convinces(SITE, "503", who)


# Memory


def test_what_is_remembered_stops_growing() -> None:
    answers = Answers()
    sizes = []
    for number in range(9000):
        answers.useful(f"{number:04}.test", "p0")
        answers.odd(SITE, f"kind {number:04}", f"p{number:04}", rate=LITTLE)
        answers.odd(f"{number:04}.test", f"{number % 40:02}", f"p{number:04}", rate=LITTLE)
        answers.confirmed(SITE, "404", f"p{number:04}")
        if number % 3000 == 2999:
            sizes.append(len(pickle.dumps(answers)))
    assert sizes[2] <= 1.05 * sizes[1] <= 1.1 * sizes[0]
    assert answers.through_others(SITE, "404", "p0") <= 16
    assert answers.through_others(SITE, "kind 0000", "p0") == 0


def test_the_targets_that_were_asked_last_are_remembered() -> None:
    answers = Answers()
    for number in range(4000):
        answers.useful(SITE, "p0", number)
        answers.useful(f"{number}.test", "p0", number)
    assert answers.answered_since(SITE, 3998)
    assert not answers.answered_since(SITE, 3999)
    assert not answers.answered_since("0.test", -1)
    assert answers.answered_since("3999.test", 3998)


# In the pool


def test_exits_of_one_of_several_gateways_are_compared_as_one() -> None:
    behind = [proxy(f"g{number}", host="gate.test", username=f"u{number}") for number in range(3)]
    pool = make_pool([*behind, proxy("alone")])
    leases = {
        name: acquire(pool, 0, proxy_filter={"name": name}, target=SITE)
        for name in ("g0", "g1", "alone")
    }
    assert pool.comparison.who(leases["g0"]) == pool.comparison.who(leases["g1"])
    assert pool.comparison.who(leases["alone"]) == "alone"
    pool.comparison.page(leases["g0"], (), "")
    assert not pool.comparison.odd(leases["g1"], "503", 0).compared
    assert pool.comparison.odd(leases["alone"], "503", 0).compared


def test_exits_of_the_only_gateway_are_compared_each_for_itself() -> None:
    pool = make_pool(
        [proxy(f"g{number}", host="gate.test", username=f"u{number}") for number in range(3)]
    )
    attempt = acquire(pool, 0, target=SITE)
    assert pool.comparison.who(attempt) == attempt.proxy.name


@pytest.mark.parametrize("part", [0.2, 0.8])
def test_an_answer_that_was_of_no_use_earns_nothing(part: float) -> None:
    pool = make_pool(proxies(2))
    carry(pool, 0, proxy_filter={"name": "p1"})
    before = shown(pool, "p0", 0).success_rate
    attempt = acquire(pool, 0, proxy_filter={"name": "p0"}, target=SITE)
    pool.release(attempt, Outcome.SUCCESS, 0, part=part)
    assert pool.answers == 1
    assert shown(pool, "p0", 0).success_rate < before


@given(st.lists(st.floats(0, 1), max_size=20), st.floats(0, 1), st.floats(0.1, 10))
def test_a_proxy_that_is_acquitted_is_as_if_it_had_paid_nothing(
    before: list[float], part: float, seconds: float
) -> None:
    known = []
    for paid in (part, 0.0):
        health, policy = Health(), HealthPolicy(failure_threshold=100)
        health.succeeded(1.0, 0, 0, policy)
        for earlier in before:
            health.failed(earlier, 1.0, 0, 0, policy, Random(1))
        health.failed(paid, seconds, 0, 0, policy, Random(1))
        health.acquit(paid, 0)
        record, long_term = health.record, health.long_term
        known.append((record.failures, record.forgiven, long_term.success, health.faults_in_a_row))
    assert known[0] == pytest.approx(known[1])


def end_odd(pool: Pool, part: float, seconds: float) -> Attempt:
    attempt = acquire(pool, 0, proxy_filter={"name": "p0"}, target=SITE)
    pool.release(attempt, Outcome.PROXY_FAULT, 0, part=part, duration=seconds, failure="404")
    return attempt


def test_a_fault_that_is_taken_back_does_not_count_towards_a_cooldown() -> None:
    pool = make_pool(proxies(2), health=cooling(threshold=3))
    for _ in range(20):
        attempt = end_odd(pool, 0.8, 1.0)
        pool.acquit("p0", 0.8, attempt.generation, 0)
    assert shown(pool, "p0", 0).state is HealthState.HEALTHY


def test_the_cooldown_that_it_has_begun_is_taken_back() -> None:
    pool = make_pool(proxies(2), health=cooling(threshold=3))
    events = Events(pool.events)
    before = shown(pool, "p0", 0).success_rate
    leases = [end_odd(pool, 0.8, 1.0) for _ in range(3)]
    assert shown(pool, "p0", 0).state is HealthState.COOLING
    for attempt in leases:
        pool.acquit("p0", 0.8, attempt.generation, 1)
    assert [event.proxy.name for event in events.of(CooldownTakenBack)] == ["p0"]
    after = shown(pool, "p0", 1)
    assert after.state is HealthState.HEALTHY
    assert after.success_rate >= before
    assert pool.in_service == 2
    end_odd(pool, 0.8, 1.0)
    end_odd(pool, 0.8, 1.0)
    assert shown(pool, "p0", 1).state is HealthState.HEALTHY
    end_odd(pool, 0.8, 1.0)
    assert shown(pool, "p0", 1).state is HealthState.COOLING


def test_a_failed_probes_cooldown_goes_on_although_an_earlier_failure_is_taken_back() -> None:
    pool = make_pool(proxies(2), health=cooling(threshold=3, first=10.0))
    leases = [end_odd(pool, 0.8, 1.0) for _ in range(3)]
    probe = acquire(pool, 20, proxy_filter={"name": "p0"}, target=SITE)
    pool.release(probe, Outcome.PROXY_FAULT, 20, failure="404", part=0.8)
    for attempt in (*leases, probe):
        pool.acquit("p0", 0.8, attempt.generation, 21)
    assert shown(pool, "p0", 21).state is HealthState.COOLING
