"""Admissions against plain lists of what is under way."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from scrapy import Request

from scrapy_proxybalance.plugin.tracking.admissions import Admissions

SLOTS = ("a", "b")
TARGETS = ("x", "y")


def request() -> Request:
    return Request("http://site.test/")


def test_who_listens_is_told_of_every_coming_and_going() -> None:
    admissions = Admissions()
    told: list[tuple[str | None, str]] = []
    admissions.listeners.append(lambda slot, target: told.append((slot, target)))
    one = request()
    admissions.admit(one, "a", "x", waits_for_lease=True)
    admissions.depart(one, "a", "x")
    admissions.strike(one)
    assert told == [("a", "x"), (None, "x"), ("a", "x")]  # it departs from the slot that it is in
    admissions.strike(one)  # it is gone already
    assert told == [("a", "x"), (None, "x"), ("a", "x")]


def test_who_listens_finds_the_book_as_it_is_after_the_change() -> None:
    admissions = Admissions()
    seen: list[tuple[int, int]] = []
    admissions.listeners.append(
        lambda _, target: seen.append((admissions.in_slot("a"), admissions.on_the_way_to(target)))
    )
    one = request()
    admissions.admit(one, "a", "x", waits_for_lease=True)
    admissions.depart(one, "a", "x")
    admissions.strike(one)
    assert seen == [(1, 1), (1, 0), (0, 0)]


def test_a_request_that_needs_no_lease_reserves_nothing() -> None:
    admissions = Admissions()
    admissions.admit(request(), "a", "x", waits_for_lease=False)
    assert (admissions.in_slot("a"), admissions.on_the_way_to("x"), admissions.unleased) == (
        1,
        0,
        0,
    )


def test_equal_requests_are_two() -> None:
    admissions = Admissions()
    one, other = request(), request()
    admissions.admit(one, "a", "x", waits_for_lease=True)
    admissions.admit(other, "a", "x", waits_for_lease=True)
    admissions.strike(one)
    assert admissions.is_admitted(other)
    assert not admissions.is_admitted(one)
    assert len(admissions) == 1


def test_wishes_are_counted_until_their_requests_are_sent_or_gone() -> None:
    admissions = Admissions()
    one, other, third, any_proxy = (request() for _ in range(4))
    for admitted, wish in [(one, "s"), (other, "s"), (third, "t"), (any_proxy, None)]:
        admissions.admit(admitted, "a", "x", waits_for_lease=True, wish=wish)
    assert (admissions.wishing("s"), admissions.wishing("t"), admissions.wishing("nobody's")) == (
        2,
        1,
        0,
    )
    admissions.depart(one, "a", "x")
    assert (admissions.wishing("s"), admissions.wishing("t")) == (1, 1)
    admissions.strike(one)  # it had its attempt
    admissions.strike(other)  # it had none
    assert (admissions.wishing("s"), admissions.wishing("t")) == (0, 1)
    admissions.sweep(())
    assert admissions.wishing("t") == 0


def test_a_request_that_needs_no_lease_wishes_nothing() -> None:
    admissions = Admissions()
    admissions.admit(request(), "a", "x", waits_for_lease=False, wish="s")
    assert admissions.wishing("s") == 0


def test_a_request_that_is_admitted_again_is_counted_once_and_as_it_was_admitted_last() -> None:
    admissions = Admissions()
    one = request()
    admissions.admit(one, "a", "x", waits_for_lease=True, wish="s")
    admissions.admit(one, "b", "y", waits_for_lease=True, wish="t")
    assert len(admissions) == admissions.unleased == 1
    assert [admissions.in_slot(slot) for slot in SLOTS] == [0, 1]
    assert [admissions.on_the_way_to(name) for name in TARGETS] == [0, 1]
    assert [admissions.wishing(wish) for wish in ("s", "t")] == [0, 1]


def test_a_request_that_is_admitted_again_after_it_was_sent_has_not_been_sent() -> None:
    admissions = Admissions()
    one = request()
    admissions.admit(one, "a", "x", waits_for_lease=True)
    admissions.depart(one, "a", "x")
    admissions.admit(one, "a", "x", waits_for_lease=True)
    assert (admissions.in_slot("a"), admissions.departed_in_slot("a"), admissions.unleased) == (
        1,
        0,
        1,
    )
    admissions.strike(one)
    assert (admissions.in_slot("a"), admissions.departed_in_slot("a"), admissions.unleased) == (
        0,
        0,
        0,
    )


class AgainstLists(RuleBasedStateMachine):
    """Each request under way: its slot, its target, whether it was admitted, whether it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.admissions = Admissions()
        self.under_way: dict[Request, tuple[str, str, bool, bool]] = {}

    @rule(slot=st.sampled_from(SLOTS), name=st.sampled_from(TARGETS))
    def admit(self, slot: str, name: str) -> None:
        one = request()
        self.under_way[one] = (slot, name, True, False)
        self.admissions.admit(one, slot, name, waits_for_lease=True)

    @rule(slot=st.sampled_from(SLOTS), name=st.sampled_from(TARGETS))
    def depart_from_elsewhere(self, slot: str, name: str) -> None:
        one = request()
        self.under_way[one] = (slot, name, False, True)
        self.admissions.depart(one, slot, name)

    @rule(data=st.data())
    @precondition(lambda self: any(not sent for *_, sent in self.under_way.values()))
    def depart(self, data: st.DataObject) -> None:
        waiting = [one for one, (*_, sent) in self.under_way.items() if not sent]
        one = waiting[data.draw(st.integers(0, len(waiting) - 1))]
        slot, target, admitted, _ = self.under_way[one]
        self.under_way[one] = (slot, target, admitted, True)
        self.admissions.depart(one, slot, target)

    @rule(data=st.data())
    @precondition(lambda self: self.under_way)
    def strike(self, data: st.DataObject) -> None:
        one = list(self.under_way)[data.draw(st.integers(0, len(self.under_way) - 1))]
        del self.under_way[one]
        self.admissions.strike(one)

    @rule(data=st.data())
    def sweep(self, data: st.DataObject) -> None:
        gone = [one for one in self.under_way if data.draw(st.integers(0, 3)) == 0]
        for one in gone:
            del self.under_way[one]
        assert self.admissions.sweep(self.under_way) is bool(gone)

    @invariant()
    def the_counts_are_right(self) -> None:
        entries = list(self.under_way.values())
        assert len(self.admissions) == len(entries)
        for name in SLOTS:
            of_slot = [sent for slot, _, _, sent in entries if slot == name]
            assert self.admissions.in_slot(name) == len(of_slot)
            assert self.admissions.departed_in_slot(name) == sum(of_slot)
        waiting = [target for _, target, _, sent in entries if not sent]
        for name in TARGETS:
            assert self.admissions.on_the_way_to(name) == waiting.count(name)
        assert self.admissions.unleased == len(waiting)
        for one, (_, _, admitted, _) in self.under_way.items():
            assert self.admissions.is_admitted(one) is admitted


TestAgainstLists = AgainstLists.TestCase
TestAgainstLists.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
