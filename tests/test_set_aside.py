"""Requests set aside: in groups that wait for the same thing, each of which gets its turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy import Request

from scrapy_proxybalance.core import Blocked
from scrapy_proxybalance.plugin.scheduling.waiting import WaitingRequests

if TYPE_CHECKING:
    from collections.abc import Callable


def request(name: str) -> Request:
    return Request(f"http://site.test/{name}")


def hold(waits_for: str, retry_at: float | None = None) -> Blocked:
    return Blocked(reason="its proxy is busy", waits_for=waits_for, retry_at=retry_at)


def put(
    made: WaitingRequests, name: str, why: Blocked, *, slot: str = "s", target: str = "t"
) -> None:
    made.add(request(name), why, slot, target, 0.0)


def aside(**groups: int) -> WaitingRequests:
    """So many requests in each group, set aside in turn: one of each, then a second of each."""
    made = WaitingRequests()
    for number in range(max(groups.values())):
        for name, count in groups.items():
            if number < count:
                put(made, f"{name}{number}", hold(name))
    return made


def names(requests: list[Request]) -> list[str]:
    return [one.url.rpartition("/")[2] for one in requests]


def only(*free: str) -> Callable[[Request], Blocked | None]:
    """Blocked all groups but these."""

    def held(one: Request) -> Blocked | None:
        group = one.url.rpartition("/")[2][0]
        return None if group in free else hold(group)

    return held


def take_all(made: WaitingRequests, held: Callable[[Request], Blocked | None]) -> list[str]:
    taken = []
    while (one := made.take(held)) is not None:
        taken.append(one[0])
    return names(taken)


def test_nothing_is_taken_from_nothing() -> None:
    assert WaitingRequests().take(only("a")) is None
    assert WaitingRequests().count == 0
    assert WaitingRequests().room == 1000
    assert WaitingRequests().next_timer(0) is None


def test_requests_of_a_group_are_taken_in_the_order_in_which_they_came() -> None:
    made = aside(a=3)
    assert made.count == 3
    assert take_all(made, only("a")) == ["a0", "a1", "a2"]
    assert made.count == 0


def test_a_group_that_is_held_does_not_hold_others() -> None:
    made = aside(a=2, b=2)
    assert take_all(made, only("b")) == ["b0", "b1"]
    assert made.count == 2
    assert names(made.clear()) == ["a0", "a1"]


def test_every_group_gets_its_turn() -> None:
    assert take_all(aside(a=3, b=1, c=2), only("a", "b", "c")) == [
        *("a0", "b0", "c0"),
        *("a1", "c1"),
        "a2",
    ]


def test_one_look_at_a_group_answers_for_all_of_it() -> None:
    made = aside(a=500, b=1)
    looks: list[Request] = []

    def held(one: Request) -> Blocked:
        looks.append(one)
        return hold("anything")

    assert made.take(held) is None
    assert sorted(names(looks)) == ["a0", "b0"]


def test_of_many_groups_each_is_looked_at_within_some_takes() -> None:
    made = WaitingRequests()
    for number in range(900):
        put(made, str(number), hold(str(number)))

    def held(one: Request) -> Blocked | None:
        return None if one.url.endswith("/899") else hold("anything")

    taken = [made.take(held) for _ in range(15)]
    assert names([one[0] for one in taken if one is not None]) == ["899"]


def test_it_is_full_at_a_thousand_and_not_when_one_has_gone() -> None:
    made = aside(a=999)
    assert made.room == 1
    put(made, "a999", hold("a"))
    assert made.room == 0
    made.take(only("a"))
    assert made.room == 1


def test_clearing_gives_all_of_them_up() -> None:
    made = aside(a=2, b=1)
    assert sorted(names(made.clear())) == ["a0", "a1", "b0"]
    assert made.count == 0
    assert made.clear() == []
    assert made.take(only("a", "b")) is None


def test_it_is_worth_looking_again_when_the_first_of_them_may_go() -> None:
    made = WaitingRequests()
    for name, retry_at in [("a", None), ("b", 7.0), ("c", 5.0)]:
        put(made, name, hold(name, retry_at))
    assert made.next_timer(0) == 5
    assert made.next_timer(5) == 7
    moments = {"a": 20.0, "b": None, "c": 30.0}
    assert made.take(lambda one: hold("", moments[one.url[-1]])) is None
    assert made.next_timer(5) == 20
    made.take(lambda _: None)
    assert made.next_timer(5) == 30


def test_what_waits_for_the_same_thing_elsewhere_is_looked_at_by_itself() -> None:
    made = WaitingRequests()
    put(made, "a0", hold("p0"), target="held.test")
    put(made, "b0", hold("p0"), slot="full")
    put(made, "c0", hold("p0"))
    assert take_all(made, only("c")) == ["c0"]


def test_what_waits_for_a_target_is_given_back_and_nothing_else() -> None:
    made = WaitingRequests()
    for number in range(3):
        put(made, f"a{number}", hold("p0"), target="paused.test")
        put(made, f"b{number}", hold(f"p{number}"), target="paused.test")
        put(made, f"c{number}", hold("p0"))
    given = names(made.give_back("paused.test"))
    assert sorted(given) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert made.room == 997
    assert take_all(made, only("a", "b", "c")) == ["c0", "c1", "c2"]


def test_after_a_change_it_says_until_all_groups_have_been_looked_at() -> None:
    made = WaitingRequests()
    for number in range(100):
        put(made, str(number), hold(str(number)))
    assert made.unseen <= 0
    made.stir()
    assert made.unseen == 100
    made.take(hold_all)
    assert made.unseen > 0
    made.take(hold_all)
    assert made.unseen <= 0


def hold_all(one: Request) -> Blocked:
    return hold(one.url)
