"""Fair blame in traffic: what an outage does to the scores of those that are not to blame for it.

A small world in virtual time: requests come at random, answers take their time.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from scrapy_proxybalance.core import NoProxyAvailableError, Outcome, Pool, PoolPolicy
from scrapy_proxybalance.core.events import AttemptEnded, CooldownStarted

from .helpers import Events, acquire, proxies, proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy_proxybalance.core import Attempt, Proxy

    Answer = tuple[Outcome, float]

TARGETS = {"a.test": 0.3, "b.test": 0.6, "c.test": 1.0, "d.test": 2.0}
AMBIGUOUS, GATEWAY_FAULT = Outcome.AMBIGUOUS, Outcome.GATEWAY_FAULT


@attrs.define
class Traffic:
    """What is sent, and how the world answers.

    ``wrong``: given an attempt and the time, tells what goes wrong, if anything.
    """

    pool: Pool
    wrong: Callable[[Attempt, float], Answer | None]
    targets: list[str] = attrs.field(factory=lambda: list(TARGETS))
    rate: float = 40.0
    refused: int = 0
    _rng: Random = attrs.field(factory=lambda: Random(7))
    _under_way: list[tuple[float, int, Attempt, Answer]] = attrs.field(factory=list)
    _numbers: Any = attrs.field(factory=count)
    _next: float = 0.0

    def until(self, end: float) -> None:
        """Let time go by."""
        while True:
            ended = self._under_way[0][0] if self._under_way else end
            now = min(self._next, ended)
            if now >= end:
                return
            if ended <= self._next:
                _, _, attempt, (outcome, duration) = heappop(self._under_way)
                self.pool.release(attempt, outcome, now, duration=duration)
            else:
                self._send(now)
                self._next = now + self._rng.expovariate(self.rate)

    def _send(self, now: float) -> None:
        target = self._rng.choice(self.targets)
        try:
            attempt = acquire(self.pool, now, target=target)
        except NoProxyAvailableError:
            self.refused += 1
            return
        usual = Outcome.SUCCESS, TARGETS[target] * self._rng.uniform(0.9, 1.1)
        answer = self.wrong(attempt, now) or usual
        heappush(self._under_way, (now + answer[1], next(self._numbers), attempt, answer))


WARM, LONG = 300.0, 60.0


def outage(
    nodes: list[Proxy],
    concerns: Callable[[Attempt], bool],
    answer: Answer,
    *,
    targets: list[str] | None = None,
    strategy: str = "weighted",
) -> tuple[Pool, Traffic, Events, dict[str, float]]:
    """Let everything be well for a while; then those that it concerns get that answer for a minute.

    Returns the changes of the scores as well, as factors.
    """
    pool = Pool(nodes, PoolPolicy(max_in_flight=16, strategy=strategy), rng=Random(1))
    traffic = Traffic(
        pool,
        lambda attempt, now: answer if now >= WARM and concerns(attempt) else None,
        targets or list(TARGETS),
    )
    traffic.until(WARM)
    events, before = Events(pool.events), scores(pool, WARM)
    traffic.until(WARM + LONG)
    after = scores(pool, WARM + LONG)
    return pool, traffic, events, {name: after[name] / before[name] for name in before}


def scores(pool: Pool, now: float) -> dict[str, float]:
    """Return the scores that the proxies would have if they were idle."""
    seen = {one.proxy.name: pool.explain(one.proxy.name, now) for one in pool.snapshot(now)}
    return {name: score.value * score.load for name, score in seen.items()}


def exits(gateways: int, each: int) -> list[Proxy]:
    return [
        proxy(f"g{gateway}-{number}", host=f"g{gateway}.test", username=f"user-{number}")
        for gateway in range(gateways)
        for number in range(each)
    ]


def mean(changes: dict[str, float], prefix: str = "") -> float:
    concerned = [change for name, change in changes.items() if name.startswith(prefix)]
    return sum(concerned) / len(concerned)


def at(target: str) -> Callable[[Attempt], bool]:
    return lambda attempt: attempt.target == target


def behind(gateway: str) -> Callable[[Attempt], bool]:
    return lambda attempt: attempt.proxy.host == f"{gateway}.test"


def through(name: str) -> Callable[[Attempt], bool]:
    return lambda attempt: attempt.proxy.name == name


down = pytest.mark.parametrize(
    "answer",
    [(AMBIGUOUS, 5.0), (AMBIGUOUS, 0.05), (GATEWAY_FAULT, 0.2)],
    ids=["timeouts", "resets", "refused tunnels"],
)


@down
def test_one_target_of_four_that_is_down_for_a_minute_cools_nobody_and_hardly_moves_scores(
    answer: Answer,
) -> None:
    _, traffic, events, changes = outage(proxies(100), at("a.test"), answer)
    assert events.of(CooldownStarted) == []
    assert traffic.refused == 0
    assert 0.85 < mean(changes) < 1.1


@down
def test_one_target_of_four_that_is_down_for_a_minute_changes_scores_by_less_than_a_twentieth(
    answer: Answer,
) -> None:
    _, _, _, changes = outage(proxies(100), at("a.test"), answer)
    assert 0.95 < mean(changes) < 1.05
    assert sum(0.95 < change < 1.05 for change in changes.values()) >= 90


@pytest.mark.parametrize("times", [3, 10])
def test_one_target_of_four_that_is_slow_for_a_minute_hardly_moves_scores(times: float) -> None:
    answer = Outcome.SUCCESS, TARGETS["a.test"] * times
    _, _, events, changes = outage(proxies(100), at("a.test"), answer)
    assert events.of(CooldownStarted) == []
    assert 0.95 < mean(changes) < 1.05


@down
def test_the_only_target_that_is_down_for_a_minute_cools_nobody(answer: Answer) -> None:
    _, _, events, _ = outage(proxies(100), at("a.test"), answer, targets=["a.test"])
    assert events.of(CooldownStarted) == []


@pytest.mark.parametrize("strategy", ["weighted", "round_robin"])
@pytest.mark.parametrize(
    "answer", [(AMBIGUOUS, 0.01), (AMBIGUOUS, 1.0), (AMBIGUOUS, 10.0), (GATEWAY_FAULT, 0.1)]
)
def test_one_proxy_that_fails_everywhere_is_found_out(answer: Answer, strategy: str) -> None:
    _, _, events, changes = outage(proxies(20), through("p7"), answer, strategy=strategy)
    is_found_out("p7", events, changes)


def is_found_out(name: str, events: Events, changes: dict[str, float]) -> None:
    """Check that one proxy, and no other, lost its good name, and soon got next to no work."""
    assert {event.proxy.name for event in events.of(CooldownStarted)} <= {name}
    others = {other: change for other, change in changes.items() if other != name}
    assert changes[name] < 0.9 * mean(others)
    assert changes[name] < min(others.values())
    through_it = sum(event.attempt.proxy.name == name for event in events.of(AttemptEnded))
    assert through_it < 0.5 * len(events.of(AttemptEnded)) / len(changes)


def test_a_proxy_that_fails_while_a_target_is_down_is_found_out_all_the_same() -> None:
    def concerns(attempt: Attempt) -> bool:
        return attempt.target == "a.test" or attempt.proxy.name == "p7"

    _, _, events, changes = outage(proxies(20), concerns, (AMBIGUOUS, 1.0))
    is_found_out("p7", events, changes)


def test_a_gateway_that_fails_for_a_minute_harms_nobody_else() -> None:
    _, _, _, changes = outage(exits(4, 25), behind("g0"), (GATEWAY_FAULT, 0.2))
    assert all(mean(changes, f"g{gateway}-") > 0.9 for gateway in (1, 2, 3))


@pytest.mark.parametrize("outcome", [GATEWAY_FAULT, AMBIGUOUS, Outcome.PROXY_FAULT])
def test_a_gateway_that_fails_for_a_minute_costs_its_exits_nothing(outcome: Outcome) -> None:
    _, _, events, changes = outage(exits(4, 25), behind("g0"), (outcome, 0.2))
    assert events.of(CooldownStarted) == []
    assert mean(changes, "g0-") > 0.95


@pytest.mark.parametrize("outcome", [GATEWAY_FAULT, AMBIGUOUS, Outcome.PROXY_FAULT])
def test_a_single_bad_exit_behind_a_good_gateway_is_found_out(outcome: Outcome) -> None:
    _, _, events, changes = outage(exits(2, 10), through("g0-3"), (outcome, 0.5))
    is_found_out("g0-3", events, changes)
