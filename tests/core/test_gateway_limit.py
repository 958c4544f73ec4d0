"""What a gateway carries: found out in virtual time, from rejections and from latency."""

from __future__ import annotations

import pytest

from scrapy_proxybalance.core import ConfigurationError, GatewayPolicy
from scrapy_proxybalance.core.gateways.limit import GatewayLimit

from .gateway_world import GatewayWorld

SEEDS = range(10)
LEARNED = GatewayPolicy()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hidden_limit_that_moves_and_rejects_is_used_to_nine_tenths_and_seldom_exceeded(
    seed: int,
) -> None:
    seen = GatewayWorld().run(seed, LEARNED)
    assert seen.goodput >= 0.90
    assert seen.refused <= 0.05


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hidden_limit_that_moves_and_queues_is_used_without_making_answers_late(
    seed: int,
) -> None:
    seen = GatewayWorld(queues=True).run(seed, LEARNED)
    assert seen.goodput >= 0.90
    assert seen.latency <= 2.5


@pytest.mark.parametrize("noise", [0.02, 0.25])
def test_rejections_that_the_load_does_not_cause_do_not_bring_the_limit_down(noise: float) -> None:
    world = GatewayWorld(phases=((0.0, 1000),), noise=noise, seconds=200.0)
    for seed in SEEDS[:3]:
        assert world.run(seed, LEARNED).goodput >= 0.7  # the growth of the first minute included


def test_answers_that_get_slow_whatever_the_limit_is_do_not_bring_it_down() -> None:
    world = GatewayWorld(phases=((0.0, 1000),), slower=(100.0, 3.0), seconds=300.0)
    for seed in SEEDS[:3]:
        limits = world.run(seed, LEARNED).limits
        assert min(limits[-20:]) >= 300


def test_answers_of_very_different_times_do_not_bring_it_down() -> None:
    world = GatewayWorld(phases=((0.0, 1000),), sigma=1.1, seconds=300.0)
    for seed in SEEDS:
        assert min(world.run(seed, LEARNED).limits[120:]) >= 250


def test_it_begins_with_start_and_doubles_every_round_trip() -> None:
    limit = GatewayLimit(GatewayPolicy(start=10))
    assert limit.room == 10
    limit.in_flight = 10
    for number in range(10):
        limit.answered(0.0, 1.0, "a.test", 1.0 + number)
    assert limit.limit == 20


def test_an_idle_limit_does_not_grow() -> None:
    limit = GatewayLimit(GatewayPolicy(start=10))
    limit.in_flight = 4
    for number in range(100):
        limit.answered(0.0, 1.0, "a.test", float(number))
    assert limit.limit == 10


def test_a_learned_limit_never_exceeds_its_cap() -> None:
    limit = GatewayLimit(GatewayPolicy(start=10, adaptive_max=15))
    limit.in_flight = 15
    for number in range(100):
        limit.answered(0.0, 1.0, "a.test", float(number))
    assert limit.limit == 15
    assert GatewayLimit(GatewayPolicy(start=10, adaptive_max=5)).limit == 5


def test_a_burst_of_rejections_is_one_cut() -> None:
    limit = GatewayLimit(GatewayPolicy(start=100))
    limit.in_flight = 100
    for _ in range(50):
        limit.rejected(started_at=0.0, now=1.0)
        limit.in_flight -= 1
    assert limit.limit == pytest.approx(90)


def test_a_fixed_limit_stays_what_it_is() -> None:
    limit = GatewayLimit(GatewayPolicy(max_in_flight=10))
    limit.in_flight = 10
    for number in range(50):
        limit.answered(float(number), 1.0 + number, "a.test", float(number))
        limit.rejected(float(number), float(number))
    assert limit.limit == 10


def test_after_an_outage_it_begins_low_and_grows_back_to_what_was_borne_and_on_from_there() -> None:
    for policy in (GatewayPolicy(max_in_flight=40), GatewayPolicy(start=40)):
        limit = GatewayLimit(policy)
        limit.restart(40.0, 0.0)
        assert limit.limit == 4
        assert limit.restarting
        assert limit.sustained == 40
        grown = []
        while limit.restarting:
            limit.in_flight = int(limit.limit)
            limit.answered(0.0, 1.0, "a.test", 1.0)
            grown.append(limit.limit)
        assert grown == list(range(5, 41))


@pytest.mark.parametrize("field", ["max_in_flight", "start", "adaptive_max"])
def test_a_policy_below_one_is_refused(field: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{field} 0 is below 1"):
        GatewayPolicy(**{field: 0})
