"""One page for different URLs is the proxy's own, unless others give it as well."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core.attribution.pages import Pages, Repeated

SITE = "shop.test"


def after(**answers: str) -> Pages:
    """Return what is known when these have given such pages, a letter each, for different URLs."""
    pages = Pages(2)
    for who, looks in answers.items():
        for number, look in enumerate(looks):
            pages.seen(SITE, who, (look,), f"{who}/{number}", proxies=3)
    return pages


def usual(pages: Pages, who: str, look: str) -> float | None:
    found = pages.seen(SITE, who, (look,), "another", proxies=3)
    return found.usual if found is not None else None


def test_a_page_for_different_urls_that_nobody_else_gives_is_unusual() -> None:
    assert usual(after(good="abc", bad="x"), "bad", "x") == 0.04 / 5


def test_so_it_is_when_several_give_it_who_give_nothing_else() -> None:
    assert usual(after(good="abc", bad="xxx", worse="xxx", worst="xxx"), "bad", "x") == 0.04 / 5


def test_a_single_one_that_gives_another_page_for_all_does_not_make_the_page_of_all_others_odd() -> (
    None
):
    pages = after(one="aaa", two="aaa", three="aaa", bad="xxx")
    for who in ("one", "two", "three"):
        share = usual(pages, who, "a")
        assert share is not None
        assert share > 0.3
    assert usual(pages, "bad", "x") == 0.04 / 11


def test_a_page_for_one_url_is_not_the_same_for_different_ones() -> None:
    pages = after(good="abc")
    assert all(pages.seen(SITE, "p0", ("x",), "/1", proxies=3) is None for _ in range(9))


def test_a_page_that_others_give_among_others_is_usual() -> None:
    share = usual(after(one="xxab", two="xxab", bad="x"), "bad", "x")
    assert share is not None
    assert 0.3 < share < 0.5


def test_where_all_give_one_page_it_is_usual() -> None:
    share = usual(after(one="xxx", two="xxx", three="x"), "three", "x")
    assert share is not None
    assert share > 0.7


def test_nothing_is_compared_while_nobody_else_has_given_a_page() -> None:
    pages = after(p0="xxx")
    assert pages.seen(SITE, "p0", ("x",), "another", proxies=3) == Repeated("x", None)


def test_the_only_proxy_has_nobody_to_be_compared_with() -> None:
    pages = Pages(2)
    for number in range(9):
        found = pages.seen(SITE, "p0", ("x",), f"{number}", proxies=1)
    assert found == Repeated("x", 1.0)


def test_of_several_looks_the_one_counts_that_others_give_least() -> None:
    pages = Pages(2)
    for number in range(3):
        pages.seen(SITE, "good", (f"{number}", "frame"), f"{number}", proxies=3)
    pages.seen(SITE, "bad", ("x", "frame"), "a", proxies=3)
    pages.seen(SITE, "good", ("y", "other"), "b", proxies=3)
    assert pages.seen(SITE, "bad", ("x", "frame"), "c", proxies=3) == Repeated("x", 0.04 / 5)


def test_who_gives_other_pages_is_known() -> None:
    pages = after(good="abx", bad="xxx", new="x")
    assert pages.gives_others(SITE, "good")
    assert not pages.gives_others(SITE, "bad")
    assert not pages.gives_others(SITE, "new")
    assert not pages.gives_others(SITE, "nobody")
    assert not pages.gives_others("other.test", "good")


def test_one_that_begins_to_give_one_page_for_all_is_soon_known_for_it() -> None:
    pages = after(good="abcdefgh" * 4, bad="abcdefgh" * 4)
    for number in range(60):
        pages.seen(SITE, "bad", ("x",), f"{number}", proxies=3)
    assert not pages.gives_others(SITE, "bad")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(0, 9))))
def test_what_is_usual_is_a_share(heard: list[tuple[str, str, int]]) -> None:
    pages = Pages(2)
    for who, look, url in heard:
        found = pages.seen(SITE, who, (look,), str(url), proxies=3)
        if found is not None and found.usual is not None:
            assert 0 < found.usual <= 1


def test_what_is_remembered_stops_growing() -> None:
    pages = Pages(2)
    sizes = []
    for number in range(9000):
        looks = (f"page {number:04}", "same")
        pages.seen(f"{number:04}.test", f"p{number:04}", looks, f"{number:04}", proxies=3)
        pages.seen(SITE, f"p{number:04}", looks, f"{number:04}", proxies=3)
        if number % 3000 == 2999:
            sizes.append(len(pickle.dumps(pages)))
    assert sizes[2] <= 1.05 * sizes[1] <= 1.1 * sizes[0]
