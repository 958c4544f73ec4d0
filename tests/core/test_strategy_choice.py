"""Which strategy is asked: the request's, the target's, the pool's; and a class of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from scrapy_proxybalance.core import (
    STRATEGIES,
    ConfigurationError,
    Outcome,
    PoolPolicy,
    Strategy,
    TargetPolicy,
    View,
)

from .helpers import acquire, blocked, carry, carry_through, cooling, make_pool, proxies, proxy

if TYPE_CHECKING:
    from random import Random

    from scrapy_proxybalance.core import Pick


class Last(Strategy):
    """The last of the pool that may be used; keeps what it is told."""

    made: ClassVar[list[Last]] = []

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self.usable: dict[int, bool] = {}
        self.told: list[tuple[Any, ...]] = []
        self.made.append(self)

    def set(
        self, index: int, *, usable: bool, on_trial: bool, weight: float, in_flight: int
    ) -> None:
        self.usable[index] = usable
        self.told.append(("set", self.view_name(index), usable, on_trial, weight, in_flight))

    def pick(self, pick: Pick) -> int | None:
        candidates = self.usable if pick.among is None else pick.among
        return max((index for index in candidates if self.usable[index]), default=None)

    def forget(self, index: int) -> None:
        del self.usable[index]

    def ended(self, index: int, *, now: float, duration: float | None, rng: Random) -> None:
        self.told.append(("ended", self.view_name(index), duration))

    def view_name(self, index: int) -> str:
        return self._view.proxy(index).name


@pytest.fixture(autouse=True)
def _none_made() -> None:
    Last.made.clear()


def last() -> Last:
    [strategy] = Last.made
    return strategy


def targets(**by_name: Any) -> dict[str, TargetPolicy]:
    return {
        name.replace("_", "."): TargetPolicy(strategy=choice) for name, choice in by_name.items()
    }


def test_the_requests_strategy_goes_before_the_targets_and_that_before_the_pools() -> None:
    pool = make_pool(
        proxies(3),
        strategy="first_available",
        targets_by_name=targets(shop_test=Last),
        max_in_flight=9,
    )
    assert carry(pool, 0, target="other.test").proxy.name == "p0"
    assert carry(pool, 0, target="shop.test").proxy.name == "p2"
    assert carry(pool, 0, target="shop.test", strategy="first_available").proxy.name == "p0"
    assert carry(pool, 0, target="other.test", strategy=Last).proxy.name == "p2"


def test_each_strategy_keeps_its_own_turn() -> None:
    pool = make_pool(proxies(3), strategy="round_robin")
    names = [
        carry(pool, now, strategy="weighted_round_robin" if now % 2 else None).proxy.name
        for now in range(12)
    ]
    assert names[::2] == names[1::2] == ["p0", "p1", "p2"] * 2


def test_a_strategy_is_made_when_it_is_first_asked_for_and_once() -> None:
    pool = make_pool(proxies(3), targets_by_name=targets(shop_test=Last))
    for now in range(5):
        carry(pool, now, target="other.test")
    assert Last.made == []
    for now in range(5):
        carry(pool, now, target="shop.test")
    carry(pool, 9, strategy=Last)
    assert len(Last.made) == 1


def test_a_strategy_that_comes_late_knows_how_things_stand() -> None:
    pool = make_pool(
        [*proxies(4), proxy("heavy", weight=7)],
        strategy="round_robin",
        max_in_flight=2,
        health=cooling(threshold=1, first=30),
    )
    carry_through(pool, "p1", 0, Outcome.PROXY_FAULT)
    carry_through(pool, "p2", 0, Outcome.PROXY_FAULT)
    acquire(pool, 0, proxy_filter={"name": "p3"})
    acquire(pool, 0, proxy_filter={"name": "p3"})
    acquire(pool, 0, proxy_filter={"name": "p0"})
    pool.remove("p0", 0)
    attempt = acquire(pool, 0, strategy=Last)
    assert attempt.proxy.name == "heavy"
    assert last().told[:5] == [
        ("set", "p0", False, False, 1.0, 1),
        ("set", "p1", False, True, 1.0, 0),
        ("set", "p2", False, True, 1.0, 0),
        ("set", "p3", False, False, 1.0, 2),
        ("set", "heavy", True, False, 7.0, 0),
    ]


def test_every_strategy_in_use_is_told_of_all_that_happens() -> None:
    pool = make_pool(proxies(2), strategy="first_available")
    acquire(pool, 0, strategy=Last)
    told = last().told
    del told[:]
    attempt = acquire(pool, 1)
    pool.release(attempt, Outcome.SUCCESS, 2, duration=0.5)
    assert told == [
        ("set", "p0", True, False, 1.0, 1),
        ("set", "p0", True, False, 1.0, 0),
        ("ended", "p0", 0.5),
    ]
    pool.remove("p0", 3)
    pool.add(proxy("new"), 4)
    assert told[-1] == ("set", "new", True, False, 1.0, 0)
    assert set(last().usable) == {0, 1}


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome.SUCCESS, [("ended", "p0", 1.5)]),
        (Outcome.PROXY_FAULT, [("ended", "p0", None)]),
        (Outcome.AMBIGUOUS, [("ended", "p0", None)]),
        (Outcome.TARGET_SIGNAL, []),
        (Outcome.IGNORED, []),
    ],
)
def test_a_strategy_is_told_how_a_request_ended_if_that_says_something_of_the_proxy(
    outcome: Outcome, told: list[Any]
) -> None:
    pool = make_pool(proxies(1), strategy=Last)
    carry(pool, 0, target="shop.test")
    last().told.clear()
    carry(pool, 0, outcome, target="shop.test", duration=1.5)
    assert [entry for entry in last().told if entry[0] == "ended"] == told


def test_a_strategy_is_not_told_of_failures_that_are_the_targets() -> None:
    pool = make_pool(proxies(10), strategy=Last, max_in_flight=1)
    for now in range(20):
        leases = [acquire(pool, now, target="well.test") for _ in range(10)]
        for attempt in leases:
            pool.release(attempt, Outcome.SUCCESS, now, duration=1)
    told = last().told
    del told[:]
    for now in range(20, 40):
        leases = [acquire(pool, now, target="down.test") for _ in range(5)]
        for attempt in leases:
            pool.release(attempt, Outcome.AMBIGUOUS, now, duration=1)
    # At first it looks like the proxies' fault.
    assert len([entry for entry in told if entry[0] == "ended"]) <= 20
    del told[:]
    carry(pool, 41, Outcome.AMBIGUOUS, target="down.test", duration=1)
    assert [entry[0] for entry in told] == ["set", "set"]


# What cannot be one


class Unfinished(Strategy):
    """Does not say which to pick."""

    def set(
        self, index: int, *, usable: bool, on_trial: bool, weight: float, in_flight: int
    ) -> None: ...


@pytest.mark.parametrize(
    ("choice", "parts"),
    [
        ("best", ["'best'", "'weighted', 'round_robin'", "derived from"]),
        (7, ["7", "weighted"]),
        (["random"], ["['random']", "weighted"]),
        (PoolPolicy, ["PoolPolicy", "derived from scrapy_proxybalance.core.Strategy"]),
        (Unfinished, ["Unfinished", "pick"]),
        (Strategy, ["pick", "set"]),
        ("", ["''", "weighted"]),
    ],
)
def test_what_is_no_strategy_is_refused_wherever_it_is_said(choice: Any, parts: list[str]) -> None:
    pool = make_pool(proxies(2))
    tries = (
        lambda: make_pool([], strategy=choice),
        lambda: TargetPolicy(strategy=choice),
        lambda: acquire(pool, 0, strategy=choice),
        lambda: acquire(pool, 0, session="s", strategy=choice),
    )
    for attempt in tries:
        with pytest.raises(ConfigurationError) as caught:
            attempt()
        for part in parts:
            assert part in str(caught.value)
    assert pool.in_flight == 0
    assert carry(pool, 1)


# A class of the user's own


@pytest.mark.parametrize("base", STRATEGIES.values())
def test_one_of_ours_can_be_derived_from(base: type[Strategy]) -> None:
    class Own(base):  # type: ignore[misc, valid-type]
        """Nothing new."""

    pool = make_pool(proxies(3), strategy=Own)
    for now in range(20):
        carry(pool, now, proxy_filter={"name": ["p0", "p1"]} if now % 2 else None)


class Careless(Last):
    """Returns what it is told to."""

    choice: ClassVar[int | None] = None

    def pick(self, pick: Pick) -> int | None:
        return self.choice


@pytest.mark.parametrize(
    ("choice", "request_", "parts"),
    [
        (0, {"proxy_filter": {"name": "p1"}}, ["0", "pick.among"]),
        (2, {}, ["2", "usable"]),
        (99, {}, ["99", "usable"]),
        (None, {}, ["no proxy", "None only if"]),
        (None, {"proxy_filter": {"name": "p1"}}, ["no proxy"]),
    ],
)
def test_a_pick_that_may_not_be_used_is_refused_and_caps_and_filters_stand(
    monkeypatch: pytest.MonkeyPatch, choice: int | None, request_: dict[str, Any], parts: list[str]
) -> None:
    monkeypatch.setattr(Careless, "choice", choice)
    pool = make_pool(proxies(3), max_in_flight=1)
    acquire(pool, 0, proxy_filter={"name": "p2"})
    with pytest.raises(ConfigurationError) as caught:
        acquire(pool, 0, strategy=Careless, **request_)
    for part in ["test_strategy_choice.Careless", *parts]:
        assert part in str(caught.value)
    assert pool.in_flight == 1
    assert acquire(pool, 0, **request_)


def test_none_is_a_good_answer_where_there_is_nobody() -> None:
    pool = make_pool(proxies(1), strategy=Careless, max_in_flight=1)
    attempt = acquire(pool, 0, strategy="random")
    assert blocked(pool, 0) is not None
    with pytest.raises(Exception, match="every proxy is at its cap"):
        acquire(pool, 0)
    pool.release(attempt, Outcome.SUCCESS, 1)


class Fragile(Last):
    """Breaks down when it is told of something."""

    at: ClassVar[str] = ""

    def set(self, index: int, **state: Any) -> None:
        super().set(index, **state)
        if self.at == "set" and state["in_flight"]:
            raise ZeroDivisionError("of its own")

    def forget(self, index: int) -> None:
        if self.at == "forget":
            raise ZeroDivisionError("of its own")

    def ended(self, index: int, *, now: float, duration: float | None, rng: Random) -> None:
        if self.at == "ended":
            raise ZeroDivisionError("of its own")


@pytest.mark.parametrize("at", ["set", "forget", "ended"])
def test_one_that_breaks_down_fails_its_requests_and_leaves_the_pool_whole(
    monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    monkeypatch.setattr(Fragile, "at", at)
    pool = make_pool(proxies(3))
    attempt = acquire(pool, 0, strategy=Fragile)
    assert pool.release(attempt, Outcome.SUCCESS, 1)
    pool.remove("p0", 1)
    for now in range(2, 4):
        with pytest.raises(ConfigurationError, match=r"Fragile has failed.*of its own") as caught:
            acquire(pool, now, strategy=Fragile)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert pool.in_flight == 0
    assert len(pool) == 2
    assert carry(pool, 5)
