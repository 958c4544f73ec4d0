"""Refused credentials: how many refusals, of what, say that they are wrong."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core.proxies.credentials import Refusals, RefusedPages

pages = st.sampled_from([None, "/1", "/2", "/3", "/4", "/5", "/6", "/7"])
refused = st.lists(st.tuples(pages, st.sampled_from(["a.test", "b.test"])), max_size=30)


def needed(*, worked: bool, targets: int, page: str | None = None) -> int:
    """Return how many refusals it takes until the credentials are taken for wrong; 0 for never."""
    refusals = Refusals()
    for count in range(1, 30):
        if refusals.add(page, f"{count % targets}.test", worked=worked):
            return count
    return 0


def test_credentials_that_never_worked_take_two_at_several_targets_and_three_at_one() -> None:
    assert needed(worked=False, targets=1) == 3
    assert needed(worked=False, targets=2) == 2


def test_credentials_that_have_worked_take_three_at_several_targets_and_six_at_one() -> None:
    assert needed(worked=True, targets=2) == 3
    assert needed(worked=True, targets=3) == 3
    assert needed(worked=True, targets=1) == 6


def test_one_page_says_nothing_where_they_have_worked_and_is_tried_thrice_where_they_have_not() -> (
    None
):
    assert needed(worked=True, targets=1, page="/1") == 0
    assert needed(worked=False, targets=1, page="/1") == 3


def test_a_target_that_has_answered_nobody_while_others_have_says_nothing() -> None:
    refusals = Refusals()
    assert not any(
        refusals.add(f"/{number}", "a.test", worked=False, doubtful=True) for number in range(9)
    )
    assert refusals.add("/", "b.test", worked=False)


def test_an_answer_in_between_begins_the_count_at_one() -> None:
    refusals = Refusals()
    for number in range(20):
        assert not refusals.add(f"/{number}", "a.test", worked=False)
        refusals.clear()


@given(refused)
def test_it_takes_no_less_where_they_have_worked(heard: list[tuple[str | None, str]]) -> None:
    worked, never = Refusals(), Refusals()
    for page, target in heard:
        wrong = worked.add(page, target, worked=True)
        assert never.add(page, target, worked=False) or not wrong


@given(refused, st.booleans())
def test_more_refusals_never_make_them_right(
    heard: list[tuple[str | None, str]], worked: bool
) -> None:
    refusals = Refusals()
    wrong = [refusals.add(page, target, worked=worked) for page, target in heard]
    assert wrong == sorted(wrong)


# What is refused through proxies that work elsewhere


def refused(pages: RefusedPages, target: str, proxy: str, *, answers: int = 1) -> bool:
    return pages.refused("page", target, proxy, worked=True, answers=answers)


def test_three_proxies_that_work_elsewhere_speak_against_the_target() -> None:
    pages = RefusedPages()
    assert not refused(pages, "a.test", "p0", answers=0)
    assert not refused(pages, "a.test", "p0")
    assert not refused(pages, "a.test", "p1")
    assert refused(pages, "a.test", "p2")
    assert refused(pages, "a.test", "p0")
    assert not refused(pages, "b.test", "p0")


def test_without_an_answer_from_elsewhere_nothing_speaks_against_the_target() -> None:
    pages = RefusedPages()
    assert not any(refused(pages, "a.test", f"p{number}") for number in range(9))


def test_proxies_that_have_never_worked_do_not_speak_against_a_target() -> None:
    pages = RefusedPages()
    for number in range(9):
        assert not pages.refused("x", "a.test", f"p{number}", worked=False, answers=number)


def test_a_target_that_is_reached_is_no_longer_spoken_against() -> None:
    pages = RefusedPages()
    for number in range(3):
        refused(pages, "a.test", f"p{number}", answers=number)
    pages.answered("a.test")
    pages.answered("unknown.test")
    assert not refused(pages, "a.test", "p3", answers=9)


def test_of_many_refused_targets_the_oldest_are_forgotten() -> None:
    pages = RefusedPages()
    for number in range(3):
        refused(pages, "old.test", f"p{number}", answers=number)
    for number in range(1000):
        refused(pages, f"{number}.test", "p0")
    assert not refused(pages, "old.test", "p3", answers=9)


def test_whether_a_single_page_was_refused_since_the_last_answer() -> None:
    pages = RefusedPages()
    assert not pages.is_a_single_one
    for _ in range(3):
        pages.refused("one", "a.test", "p0", worked=True, answers=1)
        assert pages.is_a_single_one
    pages.refused("two", "a.test", "p0", worked=True, answers=1)
    assert not pages.is_a_single_one
    pages.answered("b.test")
    pages.refused("one", "a.test", "p0", worked=False, answers=2)
    assert pages.is_a_single_one
