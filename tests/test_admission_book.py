"""The book of admissions against plain lists of what is under way."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from scrapy import Request

from scrapy_proxybalance.plugin.scheduling.admissions import AdmissionBook

SLOTS = ("a", "b")
TARGETS = ("x", "y")


def request() -> Request:
    return Request("http://site.test/")


def test_who_listens_is_told_of_every_coming_and_going() -> None:
    book = AdmissionBook()
    told: list[tuple[str, str]] = []
    book.listeners.append(lambda slot, target: told.append((slot, target)))
    one = request()
    book.admit(one, "a", "x", waits_for_lease=True)
    book.depart(one, "a", "x")
    book.strike(one)
    assert told == [("a", "x")] * 3
    book.strike(one)  # it is gone already
    assert told == [("a", "x")] * 3


def test_who_listens_finds_the_book_as_it_is_after_the_change() -> None:
    book = AdmissionBook()
    seen: list[tuple[int, int]] = []
    book.listeners.append(
        lambda slot, target: seen.append((book.in_slot(slot), book.on_the_way_to(target)))
    )
    one = request()
    book.admit(one, "a", "x", waits_for_lease=True)
    book.depart(one, "a", "x")
    book.strike(one)
    assert seen == [(1, 1), (1, 0), (0, 0)]


def test_a_request_that_needs_no_lease_reserves_nothing() -> None:
    book = AdmissionBook()
    book.admit(request(), "a", "x", waits_for_lease=False)
    assert (book.in_slot("a"), book.on_the_way_to("x"), book.unleased) == (1, 0, 0)


def test_equal_requests_are_two() -> None:
    book = AdmissionBook()
    one, other = request(), request()
    book.admit(one, "a", "x", waits_for_lease=True)
    book.admit(other, "a", "x", waits_for_lease=True)
    book.strike(one)
    assert book.is_admitted(other)
    assert not book.is_admitted(one)
    assert len(book) == 1


def test_wishes_are_counted_until_their_requests_are_sent_or_gone() -> None:
    book = AdmissionBook()
    one, other, third, any_proxy = (request() for _ in range(4))
    for admitted, wish in [(one, "s"), (other, "s"), (third, "t"), (any_proxy, None)]:
        book.admit(admitted, "a", "x", waits_for_lease=True, wish=wish)
    assert (book.wishing("s"), book.wishing("t"), book.wishing("nobody's")) == (2, 1, 0)
    book.depart(one, "a", "x")
    assert (book.wishing("s"), book.wishing("t")) == (1, 1)
    book.strike(one)  # it had its lease
    book.strike(other)  # it had none
    assert (book.wishing("s"), book.wishing("t")) == (0, 1)
    book.sweep(())
    assert book.wishing("t") == 0


def test_a_request_that_needs_no_lease_wishes_nothing() -> None:
    book = AdmissionBook()
    book.admit(request(), "a", "x", waits_for_lease=False, wish="s")
    assert book.wishing("s") == 0


def test_a_request_that_is_admitted_again_is_counted_once_and_as_it_was_admitted_last() -> None:
    book = AdmissionBook()
    one = request()
    book.admit(one, "a", "x", waits_for_lease=True, wish="s")
    book.admit(one, "b", "y", waits_for_lease=True, wish="t")
    assert len(book) == book.unleased == 1
    assert [book.in_slot(slot) for slot in SLOTS] == [0, 1]
    assert [book.on_the_way_to(name) for name in TARGETS] == [0, 1]
    assert [book.wishing(wish) for wish in ("s", "t")] == [0, 1]


def test_a_request_that_is_admitted_again_after_it_was_sent_has_not_been_sent() -> None:
    book = AdmissionBook()
    one = request()
    book.admit(one, "a", "x", waits_for_lease=True)
    book.depart(one, "a", "x")
    book.admit(one, "a", "x", waits_for_lease=True)
    assert (book.in_slot("a"), book.departed_in_slot("a"), book.unleased) == (1, 0, 1)
    book.strike(one)
    assert (book.in_slot("a"), book.departed_in_slot("a"), book.unleased) == (0, 0, 0)


class AgainstLists(RuleBasedStateMachine):
    """Each request under way: its slot, its target, whether it was admitted, whether it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.book = AdmissionBook()
        self.under_way: dict[Request, tuple[str, str, bool, bool]] = {}

    @rule(slot=st.sampled_from(SLOTS), name=st.sampled_from(TARGETS))
    def admit(self, slot: str, name: str) -> None:
        one = request()
        self.under_way[one] = (slot, name, True, False)
        self.book.admit(one, slot, name, waits_for_lease=True)

    @rule(slot=st.sampled_from(SLOTS), name=st.sampled_from(TARGETS))
    def depart_from_elsewhere(self, slot: str, name: str) -> None:
        one = request()
        self.under_way[one] = (slot, name, False, True)
        self.book.depart(one, slot, name)

    @rule(data=st.data())
    @precondition(lambda self: any(not sent for *_, sent in self.under_way.values()))
    def depart(self, data: st.DataObject) -> None:
        waiting = [one for one, (*_, sent) in self.under_way.items() if not sent]
        one = waiting[data.draw(st.integers(0, len(waiting) - 1))]
        slot, target, admitted, _ = self.under_way[one]
        self.under_way[one] = (slot, target, admitted, True)
        self.book.depart(one, slot, target)

    @rule(data=st.data())
    @precondition(lambda self: self.under_way)
    def strike(self, data: st.DataObject) -> None:
        one = list(self.under_way)[data.draw(st.integers(0, len(self.under_way) - 1))]
        del self.under_way[one]
        self.book.strike(one)

    @rule(data=st.data())
    def sweep(self, data: st.DataObject) -> None:
        gone = [one for one in self.under_way if data.draw(st.integers(0, 3)) == 0]
        for one in gone:
            del self.under_way[one]
        assert self.book.sweep(self.under_way) is bool(gone)

    @invariant()
    def the_counts_are_right(self) -> None:
        entries = list(self.under_way.values())
        assert len(self.book) == len(entries)
        for name in SLOTS:
            of_slot = [sent for slot, _, _, sent in entries if slot == name]
            assert self.book.in_slot(name) == len(of_slot)
            assert self.book.departed_in_slot(name) == sum(of_slot)
        waiting = [target for _, target, _, sent in entries if not sent]
        for name in TARGETS:
            assert self.book.on_the_way_to(name) == waiting.count(name)
        assert self.book.unleased == len(waiting)
        for one, (_, _, admitted, _) in self.under_way.items():
            assert self.book.is_admitted(one) is admitted


TestAgainstLists = AgainstLists.TestCase
TestAgainstLists.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
