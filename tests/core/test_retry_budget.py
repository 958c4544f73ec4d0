"""The retry budget in virtual time: what it lets through, and that it always lets something through."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core.limits.retry_budget import RetryBudget, full_jitter


def budget(share: float = 0.2, floor: float = 1.0) -> RetryBudget:
    return RetryBudget(share=share, floor=floor, now=0.0)


def take_all(made: RetryBudget, now: float) -> int:
    """Have as many retries go as may; return how many."""
    taken = 0
    while made.room(now) > 0:
        made.take(now)
        taken += 1
    return taken


def test_at_first_one_second_of_the_floor_may_go() -> None:
    assert take_all(budget(floor=10), 0) == 10
    assert take_all(budget(floor=0.1), 0) == 1


def test_each_request_that_is_sent_earns_its_share() -> None:
    made = budget(share=0.2, floor=1)
    take_all(made, 0)
    for _ in range(50):
        made.sent(0)
    assert made.room(0) == 10
    assert take_all(made, 0) == 10


def test_what_was_earned_fades() -> None:
    made = budget(share=1, floor=1)
    for _ in range(100):
        made.sent(0)
    assert made.room(0) == 101
    assert made.room(10) == 37  # 100 / e, and one second of the floor
    assert made.room(100) == 1


def test_the_floor_is_not_saved_up() -> None:
    made = budget(floor=5)
    assert take_all(made, 0) == 5
    assert take_all(made, 3600) == 5


def test_it_says_when_the_next_one_may_go() -> None:
    made = budget(floor=4)
    assert made.ready_at(1) == 1
    take_all(made, 1)
    assert made.ready_at(1) == pytest.approx(1.25)
    assert made.room(1.2) == 0
    assert made.room(1.25) == 1


def test_with_a_share_of_none_the_floor_is_left() -> None:
    made = budget(share=0, floor=2)
    take_all(made, 0)
    for _ in range(1000):
        made.sent(0)
    assert made.room(0) == 0
    assert take_all(made, 1) == 2


def test_a_retry_that_got_its_answer_is_given_back() -> None:
    made = budget(share=0, floor=0.001)
    for number in range(100):
        assert made.room(number * 0.2) == 1
        made.take(number * 0.2)
        made.give_back(number * 0.2 + 0.1)
    assert made.room(20) == 1


def test_one_that_went_without_leave_is_paid_back() -> None:
    made = budget(floor=2)
    take_all(made, 0)
    for _ in range(4):
        made.take(0)
    assert made.room(2) == 0
    assert made.ready_at(2) == pytest.approx(2.5)
    assert made.room(2.5) == 1


@given(
    share=st.floats(0, 2),
    floor=st.floats(0.01, 50),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["sent", "retry", "retries", "answered"]),
            st.sampled_from([0.0, 0.0, 0.01, 0.3, 1.0, 7.0, 60.0]),
        ),
        max_size=120,
    ),
)
def test_in_no_span_more_retries_come_to_nothing_than_the_budget_allows(
    share: float, floor: float, steps: list[tuple[str, float]]
) -> None:
    made = budget(share, floor)
    now, under_way = 0.0, 0
    log: list[tuple[float, float, int]] = []  # when, what it earned, what it has cost
    for what, passed in steps:
        now += passed
        if what == "sent":
            made.sent(now)
            log.append((now, share, 0))
        elif what == "answered" and under_way:
            under_way -= 1
            made.give_back(now)
            log.append((now, 0, -1))
        elif what == "retry" and made.room(now) > 0:
            under_way += 1
            made.take(now)
            log.append((now, 0, 1))
        elif what == "retries":
            taken = take_all(made, now)
            under_way += taken
            log.append((now, 0, taken))
    # From the start to each moment.
    earned = cost = 0.0
    for when, gain, spent in log:
        earned, cost = earned + gain, cost + spent
        assert cost <= earned + floor * when + max(1.0, floor) + 1e-6
    # In the last minute, of which nothing before an hour ago is remembered.
    quiet = now + 3600
    assert take_all(made, quiet) == int(max(1.0, floor) + 1e-9)


@given(
    share=st.floats(0, 2),
    floor=st.floats(0.01, 50),
    rate=st.floats(0.5, 200),
    begin=st.integers(0, 20),
    seconds=st.integers(1, 20),
)
def test_in_any_window_of_a_steady_crawl_retries_are_a_share_and_the_floor(
    share: float, floor: float, rate: float, begin: int, seconds: int
) -> None:
    made = budget(share, floor)
    sent_every, moments, retries = 1 / rate, [], []
    for number in range(min(2000, int((begin + seconds) * rate) + 1)):
        moments.append(number * sent_every)
        made.sent(moments[-1])
        retries += [moments[-1]] * take_all(made, moments[-1])
    end = begin + seconds
    sent = sum(begin < when <= end for when in moments)
    assert sum(begin < when <= end for when in retries) <= (
        share * sent + floor * seconds + max(1.0, floor) + 1 + share
    )


@given(
    share=st.floats(0, 1),
    floor=st.floats(0.01, 50),
    sent=st.lists(st.floats(0, 2), max_size=30),
    more=st.integers(0, 5),
)
def test_when_it_says_that_a_retry_may_go_it_may(
    share: float, floor: float, sent: list[float], more: int
) -> None:
    made, now = budget(share, floor), 0.0
    for passed in sent:
        now += passed
        made.sent(now)
        take_all(made, now)
    for _ in range(more):
        made.take(now)
    when = made.ready_at(now)
    assert now <= when <= now + (more + 1) / floor + 1e-6
    assert made.room(when) > 0


# How long a retry waits first


def test_each_retry_waits_anything_up_to_twice_what_the_one_before_may() -> None:
    rng = Random(1)
    for retry, longest in [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 4.0), (2000, 4.0)]:
        waits = [full_jitter(retry, 0.5, rng) for _ in range(2000)]
        assert 0 <= min(waits) < 0.05 * longest
        assert 0.95 * longest < max(waits) <= longest
        assert sum(waits) / len(waits) == pytest.approx(longest / 2, rel=0.1)


def test_without_a_base_nothing_waits() -> None:
    assert full_jitter(3, 0, Random(1)) == 0
