"""The sum tree against a list that does the same slowly."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core.structures.sum_tree import SumTree

whole = st.integers(0, 9).map(float)
any_weight = st.one_of(
    st.just(0.0), st.floats(0, 1e12), st.floats(1e-300, 1e-3), st.sampled_from([5e-324, 1e300])
)


def _both(sets: list[tuple[int, float]]) -> tuple[SumTree, list[float]]:
    tree, naive = SumTree(), [0.0] * 100
    for index, weight in sets:
        tree[index] = weight
        naive[index] = weight
    return tree, naive


@given(st.lists(st.tuples(st.integers(0, 99), whole), max_size=80))
def test_sums_are_those_of_a_list(sets: list[tuple[int, float]]) -> None:
    tree, naive = _both(sets)
    assert tree.total == sum(naive)
    assert [tree[index] for index in range(100)] == naive
    assert [tree.sum_before(index) for index in range(101)] == [0.0, *accumulate(naive)]


@given(st.lists(st.tuples(st.integers(0, 99), whole), min_size=1, max_size=40))
def test_each_index_is_found_by_exactly_its_stretch_of_the_total(
    sets: list[tuple[int, float]],
) -> None:
    tree, naive = _both(sets)
    expected = [index for index, weight in enumerate(naive) for _ in range(2 * int(weight))]
    found = [tree.find(half / 2) for half in range(int(2 * sum(naive)))]
    assert found == expected


@given(
    st.lists(st.tuples(st.integers(0, 99), any_weight), min_size=1, max_size=40),
    st.floats(0, 1, exclude_max=True),
)
def test_an_index_of_weight_zero_is_never_found(
    sets: list[tuple[int, float]], where: float
) -> None:
    tree, naive = _both(sets)
    if tree.total > 0:
        for point in (0.0, where * tree.total, tree.total):
            assert naive[tree.find(point)] > 0


@given(st.lists(st.tuples(st.integers(0, 99), any_weight), max_size=60))
def test_nothing_is_left_when_every_weight_is_taken_back(sets: list[tuple[int, float]]) -> None:
    tree, _ = _both(sets)
    for index, _weight in sets:
        tree[index] = 0.0
    assert tree.total == 0.0


def test_growth_keeps_what_was_there() -> None:
    tree = SumTree()
    tree[0], tree[1] = 2.0, 3.0
    tree[1000] = 5.0
    assert (tree[0], tree[1], tree[500], tree[1000]) == (2.0, 3.0, 0.0, 5.0)
    assert tree.total == 10.0
    assert [tree.find(point) for point in (0.0, 1.9, 2.0, 4.9, 5.0, 9.9)] == [
        0,
        0,
        1,
        1,
        1000,
        1000,
    ]


@pytest.mark.parametrize("index", [0, 1, 7, 12345])
def test_an_index_never_set_weighs_nothing(index: int) -> None:
    tree = SumTree()
    assert tree[index] == 0.0
    assert tree.total == 0.0
    assert tree.sum_before(index) == 0.0
