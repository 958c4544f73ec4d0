"""The target gate: a refusal stops all traffic, one probe finds out, and the traffic grows back."""

from __future__ import annotations

from itertools import pairwise
from math import ceil, nextafter
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scrapy_proxybalance.core import (
    Rate,
    TargetGate,
    TargetMemory,
    TargetPolicy,
    TargetRules,
    TargetState,
)
from scrapy_proxybalance.core.events import (
    EventBus,
    TargetPaused,
    TargetPauseExtended,
    TargetProbing,
    TargetRamping,
    TargetReopened,
    TargetSuspended,
)

from .helpers import Events

SHOP = "shop.test"


class Gate:
    """A target gate and what it announces, with one target that is told to refuse or to answer."""

    def __init__(self, *, seed: int = 1, **policy: Any) -> None:
        bus = EventBus()
        self.gate = TargetGate(TargetRules(TargetPolicy(**policy)), Random(seed), bus)
        self.events = Events(bus)

    def refuse(
        self, now: float, started_at: float | None = None, wait: float | None = None
    ) -> bool:
        started_at = now if started_at is None else started_at
        return self.gate.refused(SHOP, started_at=started_at, now=now, reason="429", wait=wait)

    def forbid(self, now: float, started_at: float | None = None) -> bool:
        """A 403, dealt with as the gate's caller does; return whether a pause began."""
        started_at = now if started_at is None else started_at
        if not self.gate.forbidden(SHOP, started_at=started_at, now=now):
            return False
        return self.gate.refused(SHOP, started_at=started_at, now=now, reason="403s")

    def answer(self, now: float, started_at: float | None = None) -> None:
        self.gate.answered(SHOP, now if started_at is None else started_at, now)

    def carry(self, now: float) -> None:
        """Send a request that is answered at once."""
        assert self.gate.may_send(SHOP, now)
        self.gate.send(SHOP, now)
        self.answer(now)
        self.gate.ended(SHOP)

    def crawl(self, begin: float, end: float, rate: float) -> None:
        """Have so many requests a second answered, evenly, from ``begin`` to ``end``."""
        for number in range(1, round((end - begin) * rate) + 1):
            self.carry(begin + number / rate)

    def ready_at(self, now: float = 0) -> float:
        when = self.gate.ready_at(SHOP, now)
        assert when is not None
        return when

    def probe(self) -> float:
        """Send the probe at the first moment that allows it; return that moment."""
        now = self.ready_at()
        assert self.gate.send(SHOP, now)
        return now

    def reopen(self) -> float:
        """Have the probe answered at the first moment that allows it; return that moment."""
        now = self.probe()
        self.answer(now)
        self.gate.ended(SHOP)
        return now

    def lose_probe(self, now: float, *, arrived: bool = True) -> None:
        """Have the probe end without an answer."""
        self.gate.probe_lost(SHOP, now, arrived=arrived)
        self.gate.ended(SHOP)

    def ramp_up(self, end: float) -> None:
        """Send what the ramp allows until a moment."""
        while (now := self.ready_at()) < end:
            self.carry(now)

    @property
    def state(self) -> TargetState:
        return self.gate.state(SHOP)

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__.removeprefix("Target") for event in self.events.seen]

    @property
    def steps(self) -> list[int]:
        return [event.step for event in self.events.of(TargetPaused)]

    @property
    def lengths(self) -> list[float]:
        return [event.until - event.now for event in self.events.of(TargetPaused)]


# The whole life


def test_a_target_that_refuses_is_paused_probed_ramped_and_open_again() -> None:
    gate = Gate(pause=60, ramp=60)
    gate.crawl(0, 100, rate=10)
    lives = [gate.state]
    gate.refuse(100)
    lives.append(gate.state)
    until = gate.probe()
    lives.append(gate.state)
    gate.answer(until + 1, started_at=until)
    gate.gate.ended(SHOP)
    lives.append(gate.state)
    gate.ramp_up(until + 61)
    lives.append(gate.state)
    gate.carry(gate.ready_at())
    lives.append(gate.state)
    assert lives == [
        TargetState.OPEN,
        TargetState.PAUSED,
        TargetState.PROBING,
        TargetState.RAMPING,
        TargetState.RAMPING,
        TargetState.OPEN,
    ]
    assert [(type(event), event.now) for event in gate.events.seen] == [
        (TargetPaused, 100),
        (TargetProbing, until),
        (TargetRamping, until + 1),
        (TargetReopened, pytest.approx(until + 61, abs=0.2)),
    ]
    (ramping,) = gate.events.of(TargetRamping)
    assert (ramping.target, ramping.until) == (SHOP, until + 61)
    assert ramping.rate == pytest.approx(8, rel=0.01)  # 0.8 of 10 a second
    assert list(gate.gate) == []


# Pausing


def test_a_target_that_nobody_heard_of_is_open() -> None:
    gate = Gate()
    assert gate.state is TargetState.OPEN
    assert gate.gate.may_send(SHOP, 0)
    assert gate.ready_at(5) == 5
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
    until = gate.ready_at()
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
    assert min(wait, 3600) <= gate.lengths[0] <= min(1.1 * max(wait, 1), 3600)


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
    gate.refuse(10, started_at=9)
    assert not gate.refuse(11, started_at=9, wait=500)
    assert gate.ready_at() == 511
    assert not gate.refuse(12, started_at=9, wait=5)
    assert gate.ready_at() == 511
    assert not gate.refuse(13, started_at=9, wait=1e9)
    assert gate.ready_at() == 10 + 3600
    assert gate.steps == [1]


def test_a_pause_that_is_lengthened_is_told_of() -> None:
    gate = Gate(pause=60, pause_max=3600)
    gate.refuse(10, started_at=9)
    gate.gate.refused(SHOP, started_at=9, now=11, reason="503", wait=500)
    (extended,) = gate.events.of(TargetPauseExtended)
    assert (extended.target, extended.now, extended.until) == (SHOP, 11, 511)
    assert extended.reason == "503"
    assert gate.steps == [1]


def test_that_a_pause_becomes_a_moment_longer_is_not_told_unless_moments_add_up() -> None:
    gate = Gate(pause=60, pause_max=3600)
    gate.refuse(10, started_at=9, wait=100)
    until = gate.ready_at()
    told = []
    for number in range(1, 31):
        gate.refuse(11, started_at=9, wait=until + number / 10 - 11)
        told.append(len(gate.events.of(TargetPauseExtended)))
    assert gate.ready_at() == pytest.approx(until + 3)
    assert told[8] == 0
    assert told[-1] == 2


def test_a_pause_that_is_as_long_as_may_be_is_not_told_again() -> None:
    gate = Gate(pause=60, pause_max=3600)
    gate.refuse(10, started_at=9)
    for now in range(11, 20):
        gate.refuse(now, started_at=9, wait=1e6)
    (extended,) = gate.events.of(TargetPauseExtended)
    assert extended.until == 3610


# One burst is one refusal


@pytest.mark.parametrize("wait", [None, 5, 500])
def test_a_refusal_that_comes_when_the_probe_is_out_does_not_lengthen_the_pause(
    wait: float | None,
) -> None:
    gate = Gate(pause=60, pause_max=3600)
    gate.refuse(10, started_at=9)
    probed_at = gate.probe()
    assert not gate.refuse(probed_at + 1, started_at=9, wait=wait)
    gate.lose_probe(probed_at + 1, arrived=False)
    assert gate.ready_at(probed_at + 1) == probed_at + 1
    assert gate.events.of(TargetPauseExtended) == []


@given(
    first=st.none() | st.floats(1, 1e5),
    later=st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 1e6)), max_size=8),
)
def test_no_number_of_late_refusals_makes_a_pause_longer_than_the_longest(
    first: float | None, later: list[tuple[float, float]]
) -> None:
    gate, now = Gate(pause=60, pause_max=600), 100.0
    gate.refuse(now, started_at=50, wait=first)
    asked = gate.ready_at()
    for passed, wait in later:
        now += passed
        asked = max(asked, now + max(wait, 1))  # as long as no probe is sent, over or not
        gate.refuse(now, started_at=50, wait=wait)
    assert gate.ready_at() == pytest.approx(min(asked, 700))
    assert gate.steps == [1]


@pytest.mark.parametrize("count", [2, 16, 200])
def test_many_refusals_of_one_burst_are_one_step(count: int) -> None:
    gate = Gate()
    begun = [gate.refuse(10 + number / 100, started_at=5 + number / 100) for number in range(count)]
    assert begun == [True] + [False] * (count - 1)
    assert gate.steps == [1]


def test_a_straggler_of_the_burst_does_not_count_while_the_probe_is_out() -> None:
    gate = Gate()
    gate.refuse(10, started_at=5)
    probed_at = gate.probe()
    assert not gate.refuse(probed_at + 1, started_at=6)
    assert gate.state is TargetState.PROBING
    gate.answer(probed_at + 2, started_at=probed_at)
    assert gate.state is TargetState.RAMPING


def test_a_straggler_of_the_burst_does_not_count_after_the_target_reopened() -> None:
    gate = Gate()
    gate.refuse(10, started_at=5)
    probed_at = gate.probe()
    gate.answer(probed_at + 1, started_at=probed_at)
    assert not gate.refuse(probed_at + 2, started_at=6)
    assert gate.state is TargetState.RAMPING
    assert gate.steps == [1]


# The probe


def test_one_request_probes_while_all_others_wait() -> None:
    gate = Gate()
    gate.refuse(0)
    until = gate.probe()
    assert gate.state is TargetState.PROBING
    assert not gate.gate.may_send(SHOP, until)
    assert not gate.gate.may_send(SHOP, until + 1e6)


def test_a_probe_that_is_answered_makes_the_traffic_grow_back() -> None:
    gate = Gate()
    gate.refuse(0)
    until = gate.probe()
    gate.answer(until + 1, started_at=until)
    gate.gate.ended(SHOP)
    assert gate.state is TargetState.RAMPING
    ready_at = gate.ready_at()
    assert ready_at > until + 1
    assert gate.gate.available(SHOP, ready_at) == 1
    assert not gate.gate.send(SHOP, ready_at)
    assert gate.kinds == ["Paused", "Probing", "Ramping"]
    assert list(gate.gate) == []


def test_a_late_answer_from_before_the_pause_does_not_reopen_the_target() -> None:
    gate = Gate()
    gate.refuse(10, started_at=5)
    gate.answer(11, started_at=5)
    assert gate.state is TargetState.PAUSED
    until = gate.probe()
    gate.answer(until + 1, started_at=5)
    assert gate.state is TargetState.PROBING
    assert not gate.gate.may_send(SHOP, until + 1)


def test_a_probe_that_did_not_come_as_far_as_the_target_makes_room_for_another_at_once() -> None:
    gate = Gate()
    gate.refuse(0)
    until = gate.probe()
    for _ in range(10):
        gate.lose_probe(until + 1, arrived=False)
        assert gate.state is TargetState.PROBING
        assert gate.gate.may_send(SHOP, until + 1)
        assert gate.gate.send(SHOP, until + 1)
        assert not gate.gate.may_send(SHOP, until + 2)


def test_after_a_probe_that_came_to_nothing_the_target_is_left_alone_for_a_moment() -> None:
    gate = Gate()
    gate.refuse(0)
    until = gate.probe()
    gate.lose_probe(until + 5)
    assert gate.state is TargetState.PROBING
    assert not gate.gate.may_send(SHOP, until + 5.999)
    assert gate.ready_at(until + 5) == until + 6
    assert gate.gate.send(SHOP, until + 6)
    assert gate.kinds == ["Paused", "Probing"]


def lost_probes(gate: Gate, count: int) -> list[float]:
    """Have so many probes come to nothing; return how long each next one had to wait."""
    waits = []
    for _ in range(count):
        now = gate.probe()
        gate.lose_probe(now)
        waits.append(round(gate.ready_at(now) - now, 6))
    return waits


def test_each_further_probe_that_comes_to_nothing_is_waited_after_for_twice_as_long() -> None:
    gate = Gate(pause=20)
    gate.refuse(0)
    # No longer than PAUSE.
    assert lost_probes(gate, 8) == [1, 2, 4, 8, 16, 20, 20, 20]


def test_a_pause_of_less_than_a_moment_is_what_a_lost_probe_costs_too() -> None:
    gate = Gate(pause=0.1)
    gate.refuse(0)
    assert lost_probes(gate, 3) == [0.1, 0.1, 0.1]


def test_ever_so_many_lost_probes_do_no_harm() -> None:
    gate = Gate(pause=1, pause_max=1)
    gate.refuse(0)
    assert set(lost_probes(gate, 3000)) == {1}


def test_a_further_pause_starts_the_count_of_lost_probes_anew() -> None:
    gate = Gate(pause=60)
    gate.refuse(0)
    lost_probes(gate, 4)
    until = gate.probe()
    gate.refuse(until, started_at=until)
    gate.gate.ended(SHOP)
    assert lost_probes(gate, 2) == [1, 2]


def test_lost_probes_are_no_refusals() -> None:
    gate = Gate(pause=60, max_pauses=1)
    gate.refuse(0)
    lost_probes(gate, 10)
    gate.reopen()
    assert gate.state is TargetState.RAMPING
    assert gate.steps == [1]


def test_a_probe_that_is_refused_pauses_the_target_again() -> None:
    gate = Gate()
    gate.refuse(0)
    until = gate.probe()
    assert gate.refuse(until + 1, started_at=until)
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
        gate.refuse(until, started_at=until)
    for length, doubled in zip(gate.lengths, [60, 120, 240, 480, 960, 1920, 3840], strict=True):
        assert min(1000, doubled) <= length + 1e-6
        assert length <= min(1000, 1.1 * doubled) + 1e-6


@pytest.mark.parametrize(
    ("asked", "lengths"),
    [
        ((None, 1, 1, None), (60, 120, 240, 480)),
        ((600, None, None), (600, 1200, 2400)),
        ((None, 600, None), (60, 600, 1200)),
        ((1, 1, 1, 1), (1, 2, 4, 8)),
        ((3600, 1, 5), (3600, 3600, 3600)),
        ((10, -5, 0, 15), (10, 60, 120, 240)),
    ],
)
def test_a_further_pause_in_a_row_is_at_least_twice_the_last_whatever_is_asked_for(
    asked: tuple[float | None, ...], lengths: tuple[float, ...]
) -> None:
    gate = Gate(pause=60, pause_max=3600, max_pauses=10)
    gate.refuse(0, wait=asked[0])
    for wait in asked[1:]:
        until = gate.probe()
        gate.refuse(until, started_at=until, wait=wait)
    for length, least in zip(gate.lengths, lengths, strict=True):
        assert least - 1e-6 <= length <= min(3600, 1.1 * least) + 1e-6


def test_a_pause_that_was_lengthened_is_doubled_as_it_was_in_the_end() -> None:
    gate = Gate(pause=60)
    gate.refuse(0)
    gate.refuse(10, started_at=-1, wait=290)
    until = gate.probe()
    assert until == 300
    gate.refuse(until, started_at=until)
    assert 600 <= gate.lengths[1] <= 660


def test_a_refusal_soon_after_the_target_reopened_goes_on_doubling() -> None:
    gate = Gate(pause=60)
    gate.refuse(0)
    until = gate.probe()
    for soon in range(0, 50, 10):
        gate.answer(until + soon, started_at=until + soon)
    gate.refuse(until + 55)
    assert gate.steps == [1, 2]


def test_the_backoff_is_forgotten_when_the_target_bore_traffic_as_long_as_it_was_paused() -> None:
    gate = Gate(pause=60)
    gate.refuse(0)
    until = gate.probe()
    for later in range(0, 80, 10):
        gate.answer(until + later, started_at=until + later)
    gate.refuse(until + 80)
    assert gate.steps == [1, 1]
    assert gate.lengths[1] <= 66


def test_time_without_traffic_does_not_make_the_backoff_forgotten() -> None:
    gate = Gate(pause=60)
    gate.refuse(0)
    until = gate.probe()
    gate.answer(until, started_at=until)
    gate.refuse(until + 1000)
    assert gate.steps == [1, 2]


def test_to_answer_once_in_a_long_while_does_not_make_the_backoff_forgotten() -> None:
    gate = Gate(pause=60, max_pauses=3)
    now = 0.0
    gate.refuse(now)
    for _ in range(3):
        now = gate.reopen() + 4000
        gate.answer(now)  # counts for PAUSE, no more
        now += 0.1
        gate.refuse(now)
    assert gate.steps == [1, 2, 3]
    assert gate.state is TargetState.SUSPENDED


@pytest.mark.parametrize(("answers", "step"), [(1, 2), (2, 1)])
def test_a_gap_between_two_answers_counts_as_traffic_for_as_long_as_a_pause(
    answers: int, step: int
) -> None:
    gate = Gate(pause=60)
    gate.refuse(0)
    now = gate.reopen()
    for _ in range(answers):
        now += 1000
        gate.answer(now)
    gate.refuse(now + 1)
    assert gate.steps == [1, step]


def test_after_so_many_pauses_in_a_row_the_target_is_suspended_for_good() -> None:
    gate = Gate(max_pauses=3)
    gate.refuse(0)
    for _ in range(3):
        assert gate.state is TargetState.PAUSED
        until = gate.probe()
        assert gate.refuse(until + 1, started_at=until)
    assert gate.state is TargetState.SUSPENDED
    assert gate.steps == [1, 2, 3]
    (suspended,) = gate.events.of(TargetSuspended)
    assert suspended.target == SHOP
    assert "429" in suspended.reason
    assert gate.ready_at() == float("inf")
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
    assert not gate.gate.forbidden("other.test", started_at=0, now=0)
    assert not gate.forbid(1)


def test_a_burst_of_403s_is_one_step() -> None:
    gate = Gate(forbidden_threshold=3)
    begun = [gate.forbid(10 + number / 100, started_at=5) for number in range(30)]
    assert begun.count(True) == 1
    assert gate.steps == [1]


def test_a_probe_that_is_forbidden_pauses_the_target_again_at_once() -> None:
    gate = Gate(forbidden_threshold=3)
    gate.refuse(0)
    until = gate.probe()
    assert gate.forbid(until + 1, started_at=until)
    assert gate.state is TargetState.PAUSED
    assert gate.steps == [1, 2]


def test_after_a_pause_the_count_of_403s_starts_anew() -> None:
    gate = Gate(forbidden_threshold=3)
    for now in range(3):
        gate.forbid(now)
    until = gate.probe()
    gate.answer(until, started_at=until)
    assert [gate.forbid(until + 1 + number) for number in range(3)] == [False, False, True]


def test_403s_that_were_in_flight_when_the_pause_began_do_not_count_after_it() -> None:
    gate = Gate(forbidden_threshold=3)
    for _ in range(3):
        gate.forbid(1, started_at=0)
    until = gate.probe()
    gate.answer(until, started_at=until)
    assert [gate.forbid(until + 1, started_at=0.5) for _ in range(2)] == [False, False]
    assert not gate.forbid(until + 3, started_at=until + 2)
    assert gate.state is TargetState.RAMPING


# The ramp


@pytest.mark.parametrize(("rate", "seconds"), [(1, 200), (10, 30), (50, 10)])
def test_traffic_begins_at_four_fifths_of_what_was_sustained(rate: float, seconds: float) -> None:
    gate = Gate()
    gate.crawl(0, seconds, rate)
    gate.refuse(seconds)
    gate.reopen()
    (ramping,) = gate.events.of(TargetRamping)
    assert ramping.rate == pytest.approx(0.8 * rate, rel=0.1)


def test_answers_that_were_on_their_way_count_towards_what_was_borne() -> None:
    rates = []
    for late in (0, 8):
        gate = Gate()
        gate.crawl(0, 2, rate=4)
        for _ in range(8):
            gate.gate.send(SHOP, 2)
        gate.refuse(2.5, started_at=2)
        for _ in range(late):
            gate.answer(3, started_at=2)
        for _ in range(8):
            gate.gate.ended(SHOP)
        gate.reopen()
        rates.append(gate.events.of(TargetRamping)[0].rate)
    assert rates[1] == pytest.approx(2 * rates[0], rel=0.15)


def test_a_target_that_bore_nothing_is_taken_to_have_borne_one_request() -> None:
    gate = Gate(pause=60)
    gate.gate.send(SHOP, 0)
    gate.gate.ended(SHOP)
    gate.refuse(20)
    gate.reopen()
    (ramping,) = gate.events.of(TargetRamping)
    assert 0.8 / 20 <= ramping.rate <= 0.8 / 5


@pytest.mark.parametrize(("crawled", "ramp"), [(1, 5), (30, 30), (60, 60), (1000, 60)])
def test_a_ramp_lasts_no_longer_than_the_target_had_been_crawled(
    crawled: float, ramp: float
) -> None:
    gate = Gate(ramp=60)
    gate.crawl(0, crawled, rate=1)
    gate.gate.answered(SHOP, 0, 0)
    gate.refuse(crawled + 1)
    reopened_at = gate.reopen()
    (ramping,) = gate.events.of(TargetRamping)
    assert ramping.until - reopened_at == pytest.approx(ramp, abs=1)


def test_what_is_in_flight_grows_back_too() -> None:
    gate = Gate()
    for number in range(40):  # ten at once, four seconds each
        now = number * 4.0
        for _ in range(10):
            gate.gate.send(SHOP, now)
        for _ in range(10):
            gate.answer(now + 4, started_at=now)
            gate.gate.ended(SHOP)
    gate.refuse(160)
    gate.reopen()
    sent = 0
    while (when := gate.gate.ready_at(SHOP, 0)) is not None:
        gate.gate.send(SHOP, when)
        sent += 1
    assert 8 <= sent <= 9


def test_a_refusal_during_the_ramp_makes_the_next_ramp_begin_below_it() -> None:
    gate = Gate(pause=60)
    gate.crawl(0, 100, rate=10)
    gate.refuse(100)
    gate.reopen()
    for _ in range(100):
        now = gate.ready_at()
        gate.carry(now)
    assert gate.refuse(now + 0.01)
    gate.reopen()
    first, second = gate.events.of(TargetRamping)
    assert second.rate < first.rate
    assert gate.steps == [1, 2]


def test_a_probe_that_is_refused_does_not_count_as_what_was_borne() -> None:
    gate = Gate(pause=60)
    gate.crawl(0, 100, rate=10)
    gate.refuse(100)
    until = gate.probe()
    gate.refuse(until, started_at=until)
    gate.gate.ended(SHOP)
    gate.reopen()
    (ramping,) = gate.events.of(TargetRamping)
    assert ramping.rate == pytest.approx(8, rel=0.05)


def test_a_target_that_was_hardly_asked_after_its_pause_gets_no_burst_however_late() -> None:
    gate = Gate(pause=60, ramp=60)
    gate.crawl(0, 20, rate=2)
    gate.refuse(20)
    now = gate.reopen() + 10_000
    sent: list[float] = []
    while (when := gate.ready_at(now)) < now + 10 and len(sent) < 100:
        assert gate.gate.available(SHOP, when) == 1
        gate.carry(when)
        sent.append(when)
    # At 2 a second, and two a little sooner for being late.
    assert len(sent) <= 20
    assert min(later - one for one, later in pairwise(sent)) >= 0.25
    assert gate.state is TargetState.RAMPING


def test_a_ramp_ends_as_much_later_as_the_target_was_idle() -> None:
    gate = Gate(pause=60, ramp=60)
    gate.crawl(0, 100, rate=10)
    gate.refuse(100)
    reopened_at = gate.reopen()
    gate.ramp_up(reopened_at + 30)
    gate.carry(reopened_at + 1030)
    gate.ramp_up(reopened_at + 1059)
    assert gate.state is TargetState.RAMPING
    gate.ramp_up(reopened_at + 1061)
    assert gate.state is TargetState.OPEN
    assert gate.kinds == ["Paused", "Probing", "Ramping", "Reopened"]


def test_a_target_that_is_open_again_is_still_limited_and_its_limit_grows() -> None:
    gate = Gate(pause=60, ramp=60)
    gate.crawl(0, 100, rate=10)
    gate.refuse(100)
    reopened_at = gate.reopen()
    gate.ramp_up(reopened_at + 61)
    assert gate.state is TargetState.OPEN
    counts = []
    for begin in (70, 120, 240):
        gate.ramp_up(reopened_at + begin)
        sent = 0
        while (now := gate.ready_at()) < reopened_at + begin + 10:
            gate.carry(now)
            sent += 1
        counts.append(sent)
    assert counts == pytest.approx([95, 103, 240], rel=0.05)


def test_a_refusal_after_an_idle_time_measures_no_more_than_the_ramp_allowed() -> None:
    gate = Gate(pause=60, ramp=60)
    gate.crawl(0, 100, rate=10)
    gate.refuse(100)
    now = gate.reopen() + 10_000
    gate.carry(now)
    gate.refuse(now + 0.1)
    gate.reopen()
    first, second = gate.events.of(TargetRamping)
    assert second.rate < first.rate


# Budgets


def test_a_rate_holds_whatever_came_of_the_requests() -> None:
    gate = Gate(rate=Rate(2, 1.0, 3), pause=1)
    assert gate.gate.available(SHOP, 0) == 3
    for _ in range(3):
        gate.gate.send(SHOP, 0)
    assert gate.gate.available(SHOP, 0) == 0
    assert gate.ready_at() == 0.5
    for _ in range(3):
        gate.gate.ended(SHOP)
    assert gate.gate.available(SHOP, 0.25) == 0
    assert gate.gate.available(SHOP, 0.5) == 1
    gate.refuse(0.5, wait=1)
    assert gate.ready_at() >= 1.5


def test_a_cap_counts_what_is_in_flight() -> None:
    gate = Gate(max_in_flight=2)
    assert gate.gate.available(SHOP, 0) == 2
    gate.gate.send(SHOP, 0)
    assert gate.gate.available(SHOP, 0) == 1
    gate.gate.send(SHOP, 0)
    assert gate.gate.available(SHOP, 1e6) == 0
    assert gate.gate.ready_at(SHOP, 0) is None
    gate.gate.ended(SHOP)
    assert gate.gate.available(SHOP, 0) == 1


def test_the_probe_waits_until_the_target_has_less_than_its_cap_in_flight() -> None:
    gate = Gate(max_in_flight=1)
    gate.gate.send(SHOP, 0)
    gate.refuse(1, started_at=0)
    assert gate.gate.available(SHOP, 1e6) == 0
    assert gate.gate.ready_at(SHOP, 1) is None
    gate.gate.ended(SHOP)
    assert gate.gate.available(SHOP, gate.ready_at(1)) == 1


def test_each_target_has_the_budget_of_its_own_rule() -> None:
    rules = TargetRules(
        TargetPolicy(),
        {SHOP: TargetPolicy(max_in_flight=1), "*.org": TargetPolicy(max_in_flight=2)},
    )
    gate = TargetGate(rules, Random(1), EventBus())
    names = (SHOP, "a.org", "b.org")
    for name in names:
        gate.send(name, 0)
    assert [gate.available(name, 0) for name in names] == [0, 1, 1]
    assert gate.available("other.test", 0) > 1000


# What is forgotten, and what is not


def test_of_so_many_targets_the_quiet_ones_are_forgotten_and_the_others_kept() -> None:
    gate = Gate(max_in_flight=1, pause_max=1e6)
    gate.refuse(0, wait=1e6)
    gate.gate.send("in-flight.test", 0)
    gate.gate.suspend("suspended.test", 0, "enough")
    gate.gate.forbidden("forbidden.test", started_at=0, now=0)
    for number in range(25_000):
        gate.gate.answered(f"shop-{number}.test", number, number)
    assert gate.state is TargetState.PAUSED
    assert gate.gate.available("in-flight.test", 25_000) == 0
    assert gate.gate.state("suspended.test") is TargetState.SUSPENDED
    for number in range(2):
        counts = gate.gate.forbidden("forbidden.test", started_at=25_000, now=25_000)
        assert counts is (number == 1)
    assert len(gate.gate._targets) <= 10_001  # memory cannot be seen from outside


def test_a_target_whose_rate_is_used_up_is_not_forgotten() -> None:
    gate = Gate(rate=Rate(1, 1e6))
    gate.carry(0)
    for number in range(25_000):
        gate.gate.answered(f"shop-{number}.test", number, number)
    assert gate.gate.available(SHOP, 25_000) == 0


# From one crawl to its continuation


def recalled(gate: Gate, now: float, later: float, **policy: Any) -> Gate:
    """The same target in a crawl that goes on ``later``, on a clock of its own."""
    memories: list[TargetMemory] = list(gate.gate.memories(now))
    again = Gate(seed=2, **policy)
    for memory in memories:
        again.gate.recall(memory, later)
    return again


def test_a_target_without_a_pause_is_not_remembered() -> None:
    gate = Gate()
    gate.crawl(0, 10, rate=1)
    assert list(gate.gate.memories(10)) == []


def test_what_is_left_of_a_pause_is_remembered() -> None:
    gate = Gate(pause=60)
    gate.crawl(0, 100, rate=1)
    gate.refuse(100)
    left = gate.ready_at() - 130
    again = recalled(gate, 130, 5000, pause=60)
    assert again.state is TargetState.PAUSED
    assert again.ready_at(5000) == pytest.approx(5000 + left)
    assert again.gate.available(SHOP, 5000 + left - 0.01) == 0
    (paused,) = again.events.of(TargetPaused)
    assert (paused.now, paused.step) == (5000, 1)
    assert paused.until == pytest.approx(5000 + left)
    assert [(name, state) for name, state, _ in again.gate] == [(SHOP, TargetState.PAUSED)]


def test_the_step_is_remembered() -> None:
    gate = Gate(pause=60, max_pauses=3)
    gate.refuse(0)
    until = gate.probe()
    gate.refuse(until, started_at=until)
    gate.gate.ended(SHOP)
    again = recalled(gate, until + 10, 5000, pause=60, max_pauses=3)
    probed_at = again.probe()
    again.refuse(probed_at, started_at=probed_at)
    assert again.steps == [2, 3]
    assert 240 <= again.lengths[-1] <= 264


def test_what_was_borne_is_remembered() -> None:
    gate = Gate()
    gate.crawl(0, 100, rate=10)
    gate.refuse(100)
    again = recalled(gate, 110, 5000)
    again.reopen()
    (ramping,) = again.events.of(TargetRamping)
    assert ramping.rate == pytest.approx(8, rel=0.02)
    assert ramping.until - ramping.now == 60


def test_a_pause_that_was_over_is_not_sat_out_again_but_probed() -> None:
    gate = Gate(pause=60)
    gate.refuse(0)
    again = recalled(gate, 1000, 5000)
    assert again.gate.available(SHOP, 5000) == 1
    assert again.gate.send(SHOP, 5000)
    assert again.gate.available(SHOP, 5000) == 0


def test_a_backoff_is_remembered_while_the_traffic_grows_back() -> None:
    gate = Gate(pause=60)
    gate.crawl(0, 100, rate=10)
    gate.refuse(100)
    reopened_at = gate.reopen()
    again = recalled(gate, reopened_at + 1, 5000)
    probed_at = again.probe()
    assert probed_at == 5000
    # The pause was over: that is not told again, but it counts.
    assert again.steps == []
    again.refuse(probed_at, started_at=probed_at)
    assert again.steps == [2]


def test_a_suspension_is_remembered() -> None:
    gate = Gate()
    gate.gate.suspend(SHOP, 0, "429, after 5 pauses in a row")
    again = recalled(gate, 10, 5000)
    assert again.state is TargetState.SUSPENDED
    assert again.gate.available(SHOP, 1e9) == 0
    (suspended,) = again.events.of(TargetSuspended)
    assert suspended.reason == "429, after 5 pauses in a row, in an earlier run of this job"
    third = recalled(again, 5010, 9000)
    assert third.state is TargetState.SUSPENDED
    (suspended,) = third.events.of(TargetSuspended)
    assert suspended.reason == "429, after 5 pauses in a row, in an earlier run of this job"


def memory(**changes: Any) -> TargetMemory:
    """What is remembered of a pause of 120 s, the second one, that lasts for 100 s yet."""
    usual: dict[str, Any] = {
        "target": SHOP,
        "left": 100.0,
        "step": 2,
        "pause": 120.0,
        "rate": 10.0,
        "peak": 4,
        "observed": 60.0,
    }
    return TargetMemory(**{**usual, **changes})


def test_of_several_memories_of_one_target_the_first_pause_and_the_most_steps_count() -> None:
    gate = Gate(pause=60, max_pauses=5)
    gate.gate.recall(memory(left=300.0, step=1), 1000)
    gate.gate.recall(memory(left=100.0, step=3), 1000)
    gate.gate.recall(memory(left=0.0, step=2), 1000)
    assert gate.state is TargetState.PAUSED
    assert gate.ready_at(1000) == 1300
    # It is told of once, and the next refusal is the fourth.
    assert gate.lengths == [300]
    until = gate.probe()
    gate.refuse(until, started_at=until)
    assert gate.steps == [1, 4]


@pytest.mark.parametrize("first", [True, False])
def test_of_several_memories_of_one_target_a_suspension_counts(first: bool) -> None:
    gate = Gate()
    memories = [memory(suspended="enough"), memory(left=300.0)]
    for one in memories if first else reversed(memories):
        gate.gate.recall(one, 1000)
    assert gate.state is TargetState.SUSPENDED
    assert gate.ready_at(1000) == float("inf")
    assert len(gate.events.of(TargetSuspended)) == 1


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0.1, 500)), max_size=12),
    st.floats(0, 500),
)
def test_what_is_remembered_of_what_was_remembered_is_the_same(
    course: list[tuple[bool, float]], passed: float
) -> None:
    gate, now = Gate(pause=30, pause_max=300, max_pauses=3), 0.0
    for refused, wait in course:
        now = max(now + wait, gate.ready_at(now))
        if now == float("inf"):
            break
        gate.gate.send(SHOP, now)
        if refused:
            gate.refuse(now, wait=wait)
        else:
            gate.answer(now)
        gate.gate.ended(SHOP)
    now = course[-1][1] if now == float("inf") else now
    first = list(gate.gate.memories(now + passed))
    second = list(recalled(gate, now + passed, 7000, pause=30, pause_max=300).gate.memories(7000))
    assert len(first) == len(second)
    for before, after in zip(first, second, strict=True):
        assert after.suspended == before.suspended
        if before.suspended is None:
            assert after.step == before.step
            for name in ("left", "pause", "rate", "peak", "observed"):
                assert getattr(after, name) == pytest.approx(getattr(before, name))


# In any order


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["refused", "forbidden", "answered", "lost", "unsent"]),
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
            assert may is (now >= gate.ready_at())
        assert not (may and gate.state is TargetState.SUSPENDED)
        if may:
            probe = gate.gate.send(SHOP, now)
            assert probe is (gate.state is TargetState.PROBING)
            assert not (probe and any(other for _, other in sent))
            sent.append((now, probe))
        if what in ("lost", "unsent"):
            if sent and sent[-1][1]:
                sent.pop()
                gate.gate.probe_lost(SHOP, now, arrived=what == "lost")
                assert gate.gate.may_send(SHOP, now) is (what == "unsent")
        elif sent:
            started_at, _ = sent.pop(0)
            if what == "refused":
                gate.refuse(now, started_at, wait)
                assert not gate.gate.may_send(SHOP, now) or started_at < gate.ready_at()
            elif what == "forbidden":
                gate.forbid(now, started_at)
            else:
                gate.answer(now, started_at)
    assert all(step <= 4 for step in gate.steps)
    assert all(length + 1e-6 >= 1 and length <= 300 + 1e-6 for length in gate.lengths)


# Against a model

# Intervals that are binary fractions, so that the model's sums are exact.
budgets = st.none() | st.builds(
    Rate, st.sampled_from([1.0, 2.0]), st.sampled_from([0.5, 2.0, 8.0]), st.integers(1, 3)
)


class Life(RuleBasedStateMachine):
    """Keeps its own books of one target: what was sent, what came back, what the events said."""

    @initialize(rate=budgets, cap=st.none() | st.integers(1, 4), ramp=st.sampled_from([2.0, 12.0]))
    def begin(self, rate: Rate | None, cap: int | None, ramp: float) -> None:
        self.rate, self.cap, self.ramp = rate, cap, ramp
        self.gate = Gate(
            rate=rate,
            max_in_flight=cap,
            ramp=ramp,
            pause=8,
            pause_max=40,
            max_pauses=3,
            forbidden_threshold=2,
        )
        self.now = 0.0
        self.sent: list[float] = []
        self.flights: list[tuple[float, bool]] = []  # when they were sent, and whether to probe
        self.paused_at = self.until = self.told_until = self.probe_from = float("-inf")
        self.lost = 0  # probes, since the pause began
        self.asked: float | None = None  # for how long the last refusal asked
        self.pause = 0.0  # the last one's length, without the jitter
        self.probing = False
        self.peak = self.borne_peak = 0  # in flight at once since the pause began, and before it
        self.ramping: TargetRamping | None = None
        self.paced: list[float] = []  # sent since the ramp began, on its clock
        self.idle = self.blur = 0.0  # how far its clock is behind, and how exactly that is known

    # What the model knows

    def conforming(self) -> int:
        """How many requests the rate has room for: a bucket that leaks an interval a request."""
        assert self.rate is not None
        interval = self.rate.period / self.rate.requests
        filled, at = 0.0, 0.0
        for moment in self.sent:
            filled, at = max(0.0, filled - (moment - at)) + interval, moment
        filled = max(0.0, filled - (self.now - at))
        return int((self.rate.burst * interval - filled) / interval + 1e-6)

    def rate_at(self, moment: float) -> float:
        """The ramp's rate at a moment of its own clock, in parts of what was sustained."""
        assert self.ramping is not None
        passed = (moment - self.ramping.now) / (self.ramping.until - self.ramping.now)
        return float(0.95 + (0.15 if passed < 1 else 0.05) * (passed - 1) ** 3)

    def allowed(self, begin: float, end: float) -> float:
        """How many requests the ramp allows in a time of its clock, from how its curve is described."""
        assert self.ramping is not None
        whole, middle = 0.0, min(max(begin, self.ramping.until), end)
        for one, other in ((begin, middle), (middle, end)):
            # Simpson's rule, which is exact for such a curve.
            curve = self.rate_at(one) + 4 * self.rate_at((one + other) / 2) + self.rate_at(other)
            whole += (other - one) / 6 * curve
        return self.ramping.rate / 0.8 * whole

    def due(self) -> float:
        """When the next request of the ramp is due, on its clock: evenly, and late by no more than half.

        However few of those that were sent one looks at, there has to be room for all after them.
        """
        assert self.ramping is not None
        first, count = self.ramping.now, len(self.paced)
        needed = max(
            [count + 1.0]
            + [
                self.allowed(first, moment) + count - number - 0.5
                for number, moment in enumerate(self.paced)
            ]
        )
        early, late = first, max([first, *self.paced]) + 1.0
        while self.allowed(first, late) < needed:
            late += late - first
        for _ in range(60):
            middle = (early + late) / 2
            early, late = (
                (middle, late) if self.allowed(first, middle) < needed else (early, middle)
            )
        return late

    def most_in_flight(self, moment: float) -> int:
        return max(1, ceil(self.borne_peak * self.rate_at(moment)))

    def pass_idle_time(self) -> None:
        """Set the ramp's clock back by the time in which less than half was sent of what could be."""
        assert self.ramping is not None
        due = self.due()
        used_until = due + 0.8 / (self.ramping.rate * self.rate_at(due))
        idle = self.now - self.idle - used_until
        if idle > 0 and 2 * len(self.flights) < self.most_in_flight(used_until):
            self.idle += idle
            self.blur += 0.001  # its moments are no more exact

    def take_note(self) -> None:
        for event in self.gate.events.seen:
            if isinstance(event, TargetPaused):
                least = self.asked or 8.0
                if event.step > 1:
                    least = max(least, 2 * self.pause)
                self.pause = least = min(40.0, least)
                assert least - 1e-6 <= event.until - event.now <= min(40.0, 1.1 * least) + 1e-6
                self.paused_at, self.ramping, self.lost = event.now, None, 0
                self.until = self.probe_from = self.told_until = event.until
                if not self.probing:
                    self.borne_peak = max(1, self.peak)
                self.peak, self.probing = 0, False
            elif isinstance(event, TargetProbing):
                self.probing = True
            elif isinstance(event, TargetPauseExtended):
                assert event.until == pytest.approx(self.until)
                self.told_until = event.until
            elif isinstance(event, TargetRamping):
                assert event.until - event.now <= self.ramp + 1e-6
                self.ramping, self.paced, self.probing = event, [], False
                self.idle = self.blur = 0.0
            elif isinstance(event, TargetReopened):
                assert self.ramping is not None
                assert self.now - self.idle >= self.ramping.until - self.blur - 1e-6
        self.gate.events.seen.clear()
        assert self.until <= self.told_until + 1 + 1e-6, "a longer pause was not told of"

    # What happens

    @rule(seconds=st.sampled_from([0.125, 0.25, 0.5, 1.0, 4.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def wait_until_ready(self) -> None:
        when = self.gate.gate.ready_at(SHOP, self.now)
        if when is not None and when < float("inf"):
            self.now = when

    @rule(times=st.integers(1, 4))
    def send(self, times: int) -> None:
        for _ in range(times):
            if not self.gate.gate.may_send(SHOP, self.now):
                return
            state = self.gate.state
            is_probe = self.gate.gate.send(SHOP, self.now)
            assert is_probe is (state in (TargetState.PAUSED, TargetState.PROBING))
            self.take_note()
            self.check_what_is_sent(is_probe)
            self.sent.append(self.now)
            self.flights.append((self.now, is_probe))
            self.peak = max(self.peak, len(self.flights))

    def check_what_is_sent(self, is_probe: bool) -> None:
        assert self.now >= self.until, "it is paused"
        assert not is_probe or self.now >= self.probe_from, "too soon after a lost probe"
        assert self.cap is None or len(self.flights) < self.cap
        assert not any(probe for _, probe in self.flights), "a probe is out"
        assert self.rate is None or self.conforming() >= 1, "beyond the rate"
        if self.ramping is None or is_probe:
            return
        self.pass_idle_time()
        now = self.now - self.idle
        blurred = now + self.blur
        assert len(self.flights) < self.most_in_flight(blurred + 1e-6)
        most = self.allowed(self.ramping.now, blurred)
        assert most >= (1 + len(self.paced)) * (1 - 1e-6)
        self.paced.append(now)
        for number, moment in enumerate(reversed(self.paced)):
            room = self.allowed(moment, blurred) + 0.5
            assert number <= room * (1 + 1e-6) + 1e-9 * most, "beyond the ramp's pace"

    @precondition(lambda self: self.flights)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(["answered", "answered", "refused", "forbidden", "lost", "unsent"]),
        wait=st.none() | st.sampled_from([-1.0, 0.5, 3.0, 20.0, 500.0]),
    )
    def end(self, data: st.DataObject, outcome: str, wait: float | None) -> None:
        number = data.draw(st.integers(0, len(self.flights) - 1))
        started_at, is_probe = self.flights.pop(number)
        was_paused = self.gate.state is TargetState.PAUSED
        self.asked = None
        if outcome == "answered":
            self.gate.answer(self.now, started_at)
        elif outcome == "refused":
            if wait is not None and wait > 0:
                self.asked = max(wait, 1.0)
            began = self.gate.refuse(self.now, started_at, wait)
            suspended = self.gate.state is TargetState.SUSPENDED
            assert suspended or began is (started_at >= self.until)
            if not began and was_paused and self.asked is not None:
                asked = min(self.now + self.asked, self.paused_at + 40)
                if asked > self.until:
                    self.until = self.probe_from = asked
                    self.pause = max(self.pause, asked - self.paused_at)
        elif outcome == "forbidden":
            self.gate.forbid(self.now, started_at)
        elif is_probe:
            self.gate.gate.probe_lost(SHOP, self.now, arrived=outcome == "lost")
            if outcome == "lost":
                self.probe_from = self.now + min(8.0, 2.0**self.lost)
                self.lost += 1
        if is_probe and outcome not in ("lost", "unsent"):
            assert self.gate.state is not TargetState.PROBING
        self.gate.gate.ended(SHOP)
        self.take_note()

    # What holds at any time

    @precondition(lambda self: hasattr(self, "gate"))
    @invariant()
    def what_is_available_is_within_the_budget(self) -> None:
        available, state = self.gate.gate.available(SHOP, self.now), self.gate.state
        most = [available]
        if self.rate is not None:
            most.append(self.conforming())
        if self.cap is not None:
            most.append(self.cap - len(self.flights))
        assert 0 <= available <= max(0, min(most))
        if state is TargetState.SUSPENDED or self.now < self.until:
            assert available == 0
        if state in (TargetState.PAUSED, TargetState.PROBING):
            probe_out = any(probe for _, probe in self.flights)
            due = self.now >= self.probe_from and not probe_out
            assert available == (1 if due and min([1, *most[1:]]) > 0 else 0)
        elif state is TargetState.OPEN and self.ramping is None and len(most) > 1:
            assert available == max(0, min(most[1:])), "less than the budget has room for"

    @precondition(lambda self: hasattr(self, "gate"))
    @invariant()
    def it_is_ready_when_it_says_so_and_not_before(self) -> None:
        gate = self.gate.gate
        when = gate.ready_at(SHOP, self.now)
        assert gate.may_send(SHOP, self.now) is (when is not None and when <= self.now)
        if when is None:
            assert self.flights, "it waits for a request to end, and there is none"
        elif self.now < when < float("inf"):
            assert gate.available(SHOP, when) > 0
            assert gate.available(SHOP, nextafter(when, 0)) == 0
        elif when == float("inf"):
            assert self.gate.state is TargetState.SUSPENDED
        if self.ramping is not None and self.rate is None and when is not None:
            due = self.due() + self.idle
            late = 0.002 + 1e-6 * (due - self.ramping.now)
            assert abs(when - max(self.now, due)) <= self.blur + late, "not when the ramp has room"


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    # Without the phase that explains failures: it would take minutes.
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)
