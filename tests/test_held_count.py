"""The count of what a queue holds, by target, and of what will never be sent."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.plugin.scheduling.held_counter import HeldCounter

TARGETS = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), TARGETS, st.integers(1, 3)),
        st.tuples(st.just("remove"), TARGETS, st.just(1)),
        st.tuples(st.just("give up"), TARGETS, st.booleans()),
    )
)


@given(STEPS)
def test_it_counts_as_if_it_counted_anew_each_time(steps: list[tuple[str, str, int]]) -> None:
    count, held, given_up = HeldCounter(), Counter[str](), set[str]()
    for what, target, number in steps:
        if what == "add":
            count.add(target, number)
            held[target] += number
        elif what == "give up":
            count.give_up(target, bool(number))
            given_up = given_up | {target} if number else given_up - {target}
        elif held[target]:
            count.remove(target)
            held[target] -= 1
        assert {name: count.of(name) for name in "abc"} == {name: held[name] for name in "abc"}
        assert count.sendable == sum(held[name] for name in "abc" if name not in given_up)
