"""The target gate: a refusal stops all traffic to a target, and one probe finds out when it is over."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.pool import TargetGate, TargetPolicy, TargetState
from scrapy_proxybalance.pool.events import (
    EventBus,
    TargetPaused,
    TargetReopened,
    TargetSuspended,
)

from .helpers import Events

SHOP = "shop.test"


class Gate:
    """A target gate and what it announces, with one target that is told to refuse or to answer."""

    def __init__(self, *, seed: int = 1, **policy: Any) -> None:
        bus = EventBus()
        self.gate = TargetGate(TargetPolicy(**policy), Random(seed), bus)
        self.events = Events(bus)

    def refuse(self, now: float, sent_at: float | None = None, wait: float | None = None) -> bool:
        sent_at = now if sent_at is None else sent_at
        return self.gate.refused(SHOP, sent_at=sent_at, now=now, reason="429", wait=wait)

    def forbid(self, now: float, sent_at: float | None = None) -> bool:
        """A 403, dealt with as the gate's caller does; return whether a pause began."""
        sent_at = now if sent_at is None else sent_at
        if not self.gate.forbidden(SHOP, sent_at=sent_at):
            return False
        return self.gate.refused(SHOP, sent_at=sent_at, now=now, reason="403s")

    def answer(self, now: float, sent_at: float | None = None) -> None:
        self.gate.answered(SHOP, "p0", now if sent_at is None else sent_at, now)

    def probe(self) -> float:
        """Send the probe at the first moment that allows it; return that moment."""
        now = self.gate.opens_at(SHOP)
        assert self.gate.send(SHOP, now)
        return now

    @property
    def state(self) -> TargetState:
        return self.gate.state(SHOP)

    @property
    def steps(self) -> list[int]:
        return [event.step for event in self.events.of(TargetPaused)]

    @property
    def lengths(self) -> list[float]:
        return [event.until - event.now for event in self.events.of(TargetPaused)]


# Pausing


def test_a_target_that_nobody_heard_of_is_open() -> None:
    gate = Gate()
    assert gate.state is TargetState.OPEN
    assert gate.gate.may_send(SHOP, 0)
    assert gate.gate.opens_at(SHOP) == float("-inf")
    assert not gate.gate.send(SHOP, 0)


def test_a_refusal_pauses_the_target_at_once_and_no_other() -> None:
    gate = Gate()
    assert gate.refuse(10)
    assert gate.state is TargetState.PAUSED
    assert not gate.gate.may_send(SHOP, 10)
    assert gate.gate.may_send("other.test", 10)
    (paused,) = gate.events.of(TargetPaused)
    assert (paused.target, paused.step, paused.reason) == (SHOP, 1, "429")
    assert list(gate.gate) == [(SHOP, TargetState.PAUSED, paused.until)]


def test_nothing_may_be_sent_until_the_pause_is_over() -> None:
    gate = Gate()
    gate.refuse(0)
    until = gate.gate.opens_at(SHOP)
    assert not gate.gate.may_send(SHOP, until - 0.001)
    assert gate.gate.may_send(SHOP, until)


@given(st.integers(0, 2**32))
def test_a_pause_is_as_configured_and_up_to_a_tenth_longer(seed: int) -> None:
    gate = Gate(seed=seed, pause=60)
    gate.refuse(0)
    assert 60 <= gate.lengths[0] <= 66


def test_pauses_differ_so_that_crawls_do_not_come_back_together() -> None:
    lengths = set()
    for seed in range(20):
        gate = Gate(seed=seed)
        gate.refuse(0)
        lengths.add(gate.lengths[0])
    assert len(lengths) == 20


# Retry-After


@given(wait=st.floats(0.001, 1e6), seed=st.integers(0, 100))
def test_a_pause_is_no_shorter_than_was_asked_for_and_no_longer_than_the_longest(
    wait: float, seed: int
) -> None:
    gate = Gate(seed=seed, pause=60, pause_max=3600)
    gate.refuse(0, wait=wait)
    assert min(wait, 3600) <= gate.lengths[0] <= min(1.1 * wait, 3600)


@pytest.mark.parametrize("wait", [0, -5, None])
def test_a_wait_of_nothing_does_not_switch_the_pause_off(wait: float | None) -> None:
    gate = Gate(pause=60)
    gate.refuse(0, wait=wait)
    assert gate.lengths[0] >= 60


@pytest.mark.parametrize("wait", [float("inf"), 1e300])
def test_an_endless_wait_is_cut_to_the_longest_pause(wait: float) -> None:
    gate = Gate(pause=60, pause_max=3600)
    gate.refuse(0, wait=wait)
    assert gate.lengths[0] == 3600


def test_a_later_refusal_of_the_burst_may_lengthen_the_pause_to_what_it_asks_for() -> None:
    gate = Gate(pause=60, pause_max=3600)
    gate.refuse(10, sent_at=9)
    assert not gate.refuse(11, sent_at=9, wait=500)
    assert gate.gate.opens_at(SHOP) == 511
    assert not gate.refuse(12, sent_at=9, wait=5)
    assert gate.gate.opens_at(SHOP) == 511
    assert not gate.refuse(13, sent_at=9, wait=1e9)
    assert gate.gate.opens_at(SHOP) == 3613
    assert gate.steps == [1]


# One burst is one refusal


@pytest.mark.parametrize("count", [2, 16, 200])
def test_many_refusals_of_one_burst_are_one_step(count: int) -> None:
    gate = Gate()
    begun = [gate.refuse(10 + number / 100, sent_at=5 + number / 100) for number in range(count)]
    assert begun == [True] + [False] * (count - 1)
    assert gate.steps == [1]


def test_a_straggler_of_the_burst_does_not_count_while_the_probe_is_out() -> None:
    gate = Gate()
    gate.refuse(10, sent_at=5)
    probed_at = gate.probe()
    assert not gate.refuse(probed_at + 1, sent_at=6)
    assert gate.state is TargetState.PROBING
    gate.answer(probed_at + 2, sent_at=probed_at)
    assert gate.state is TargetState.OPEN


def test_a_straggler_of_the_burst_does_not_count_after_the_target_reopened() -> None:
    gate = Gate()
    gate.refuse(10, sent_at=5)
    probed_at = gate.probe()
    gate.answer(probed_at + 1, sent_at=probed_at)
    assert not gate.refuse(probed_at + 2, sent_at=6)
    assert gate.state is TargetState.OPEN
    assert gate.steps == [1]


# The probe


def test_one_request_probes_while_all_others_wait() -> None:
    gate = Gate()
    gate.refuse(0)
    until = gate.probe()
    assert gate.state is TargetState.PROBING
    assert not gate.gate.may_send(SHOP, until)
    assert not gate.gate.may_send(SHOP, until + 1e6)


def test_a_probe_that_is_answered_reopens_the_target() -> None:
    gate = Gate()
    gate.refuse(0)
    until = gate.probe()
    gate.answer(until + 1, sent_at=until)
    assert gate.state is TargetState.OPEN
    assert gate.gate.may_send(SHOP, until + 1)
    assert not gate.gate.send(SHOP, until + 1)
    assert [event.target for event in gate.events.of(TargetReopened)] == [SHOP]
    assert list(gate.gate) == []


def test_a_late_answer_from_before_the_pause_does_not_reopen_the_target() -> None:
    gate = Gate()
    gate.refuse(10, sent_at=5)
    gate.answer(11, sent_at=5)
    assert gate.state is TargetState.PAUSED
    until = gate.probe()
    gate.answer(until + 1, sent_at=5)
    assert gate.state is TargetState.PROBING
    assert not gate.gate.may_send(SHOP, until + 1)


def test_a_probe_that_was_lost_makes_room_for_another() -> None:
    gate = Gate()
    gate.refuse(0)
    until = gate.probe()
    gate.gate.probe_lost(SHOP)
    assert gate.state is TargetState.PROBING
    assert gate.gate.may_send(SHOP, until + 1)
    assert gate.gate.send(SHOP, until + 1)
    assert not gate.gate.may_send(SHOP, until + 2)


def test_a_probe_that_is_refused_pauses_the_target_again() -> None:
    gate = Gate()
    gate.refuse(0)
    until = gate.probe()
    assert gate.refuse(until + 1, sent_at=until)
    assert gate.state is TargetState.PAUSED
    assert not gate.gate.may_send(SHOP, until + 1)
    assert gate.steps == [1, 2]
    gate.probe()
    assert gate.state is TargetState.PROBING


# Doubling, forgetting, giving up


def test_each_pause_in_a_row_doubles_up_to_the_longest() -> None:
    gate = Gate(pause=60, pause_max=1000, max_pauses=10)
    gate.refuse(0)
    for _ in range(6):
        until = gate.probe()
        gate.refuse(until, sent_at=until)
    for length, doubled in zip(gate.lengths, [60, 120, 240, 480, 960, 1920, 3840], strict=True):
        assert min(1000, doubled) <= length + 1e-6
        assert length <= min(1000, 1.1 * doubled) + 1e-6


def test_a_refusal_soon_after_the_target_reopened_goes_on_doubling() -> None:
    gate = Gate(pause=60)
    gate.refuse(0)
    until = gate.probe()
    for soon in range(0, 50, 10):
        gate.answer(until + soon, sent_at=until + soon)
    gate.refuse(until + 55)
    assert gate.steps == [1, 2]


def test_the_backoff_is_forgotten_when_the_target_bore_traffic_as_long_as_it_was_paused() -> None:
    gate = Gate(pause=60)
    gate.refuse(0)
    until = gate.probe()
    for later in range(0, 80, 10):
        gate.answer(until + later, sent_at=until + later)
    gate.refuse(until + 80)
    assert gate.steps == [1, 1]
    assert gate.lengths[1] <= 66


def test_time_without_traffic_does_not_make_the_backoff_forgotten() -> None:
    gate = Gate(pause=60)
    gate.refuse(0)
    until = gate.probe()
    gate.answer(until, sent_at=until)
    gate.refuse(until + 1000)
    assert gate.steps == [1, 2]


def test_after_so_many_pauses_in_a_row_the_target_is_suspended_for_good() -> None:
    gate = Gate(max_pauses=3)
    gate.refuse(0)
    for _ in range(3):
        assert gate.state is TargetState.PAUSED
        until = gate.probe()
        assert gate.refuse(until + 1, sent_at=until)
    assert gate.state is TargetState.SUSPENDED
    assert gate.steps == [1, 2, 3]
    (suspended,) = gate.events.of(TargetSuspended)
    assert suspended.target == SHOP
    assert "429" in suspended.reason
    assert gate.gate.opens_at(SHOP) == float("inf")
    assert not gate.gate.may_send(SHOP, 1e12)


def test_nothing_brings_a_suspended_target_back() -> None:
    gate = Gate()
    assert gate.gate.suspend(SHOP, 0, "enough")
    assert not gate.gate.suspend(SHOP, 1, "enough")
    gate.answer(2)
    assert not gate.refuse(3, wait=1)
    assert not gate.forbid(4)
    assert gate.state is TargetState.SUSPENDED
    assert not gate.gate.may_send(SHOP, 1e12)
    assert len(gate.events.of(TargetSuspended)) == 1
    assert gate.events.of(TargetPaused) == []


# 403


def test_so_many_403s_in_a_row_are_a_refusal() -> None:
    gate = Gate(forbidden_threshold=3)
    assert [gate.forbid(now) for now in range(3)] == [False, False, True]
    assert gate.state is TargetState.PAUSED


def test_any_other_answer_starts_the_count_of_403s_anew() -> None:
    gate = Gate(forbidden_threshold=3)
    for now in range(0, 30, 3):
        assert not gate.forbid(now)
        assert not gate.forbid(now + 1)
        gate.answer(now + 2)
    assert gate.state is TargetState.OPEN


def test_a_403_elsewhere_does_not_count() -> None:
    gate = Gate(forbidden_threshold=2)
    assert not gate.gate.forbidden("other.test", sent_at=0)
    assert not gate.forbid(1)


def test_a_burst_of_403s_is_one_step() -> None:
    gate = Gate(forbidden_threshold=3)
    begun = [gate.forbid(10 + number / 100, sent_at=5) for number in range(30)]
    assert begun.count(True) == 1
    assert gate.steps == [1]


def test_a_probe_that_is_forbidden_pauses_the_target_again_at_once() -> None:
    gate = Gate(forbidden_threshold=3)
    gate.refuse(0)
    until = gate.probe()
    assert gate.forbid(until + 1, sent_at=until)
    assert gate.state is TargetState.PAUSED
    assert gate.steps == [1, 2]


def test_after_a_pause_the_count_of_403s_starts_anew() -> None:
    gate = Gate(forbidden_threshold=3)
    for now in range(3):
        gate.forbid(now)
    until = gate.probe()
    gate.answer(until, sent_at=until)
    assert [gate.forbid(until + 1 + number) for number in range(3)] == [False, False, True]


def test_403s_that_were_in_flight_when_the_pause_began_do_not_count_after_it() -> None:
    gate = Gate(forbidden_threshold=3)
    for _ in range(3):
        gate.forbid(1, sent_at=0)
    until = gate.probe()
    gate.answer(until, sent_at=until)
    assert [gate.forbid(until + 1, sent_at=0.5) for _ in range(2)] == [False, False]
    assert not gate.forbid(until + 3, sent_at=until + 2)
    assert gate.state is TargetState.OPEN


# In any order


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["refused", "forbidden", "answered", "lost"]),
            st.floats(0, 200),
            st.none() | st.floats(-1, 0) | st.floats(1, 500),
        ),
        max_size=60,
    )
)
def test_a_gate_lets_one_probe_through_at_a_time_and_none_before_its_time(
    steps: list[tuple[str, float, float | None]],
) -> None:
    gate, now = Gate(pause=30, pause_max=300, max_pauses=4, forbidden_threshold=2), 0.0
    sent: list[tuple[float, bool]] = []  # when, and whether as the probe
    for what, pause, wait in steps:
        now += pause
        may = gate.gate.may_send(SHOP, now)
        if gate.state is TargetState.PAUSED:
            assert may is (now >= gate.gate.opens_at(SHOP))
        assert not (may and gate.state is TargetState.SUSPENDED)
        if may:
            probe = gate.gate.send(SHOP, now)
            assert probe is (gate.state is TargetState.PROBING)
            assert not (probe and any(other for _, other in sent))
            sent.append((now, probe))
        if what == "lost":
            if sent and sent[-1][1]:
                sent.pop()
                gate.gate.probe_lost(SHOP)
        elif sent:
            sent_at, _ = sent.pop(0)
            if what == "refused":
                gate.refuse(now, sent_at, wait)
                assert not gate.gate.may_send(SHOP, now) or sent_at < gate.gate.opens_at(SHOP)
            elif what == "forbidden":
                gate.forbid(now, sent_at)
            else:
                gate.answer(now, sent_at)
    assert all(step <= 4 for step in gate.steps)
    assert all(length + 1e-6 >= 1 and length <= 300 + 1e-6 for length in gate.lengths)
