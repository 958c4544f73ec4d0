"""What proxies add to the pages that they pass on, and whose a page is that has it or has it not."""

from __future__ import annotations

import pytest

from scrapy_proxybalance.core.attribution.via import Via

SITE, OTHER, THIRD = "denied.test", "fine.test", "third.test"
TINY, FRONT = "1.1 box (tinyproxy/1.11.1)", "1.1 front (squid/5.7)"


def knows(*seen: tuple[str, list[str]]) -> Via:
    via = Via()
    for target, names in seen:
        via.passed_on("p0:8080", target, names)
    return via


@pytest.mark.parametrize("names", [[], [TINY]])
def test_a_page_without_any_other_name_is_made_by_a_proxy_that_names_itself(
    names: list[str],
) -> None:
    via = knows((OTHER, [TINY]), (THIRD, [FRONT, TINY]))
    assert via.is_its_own("p0:8080", SITE, names)


@pytest.mark.parametrize("names", [[FRONT], [FRONT, TINY], [TINY, FRONT]])
def test_a_page_with_the_name_of_another_server_is_not(names: list[str]) -> None:
    assert not knows((OTHER, [TINY])).is_its_own("p0:8080", SITE, names)


@pytest.mark.parametrize("names", [[], [FRONT]])
def test_what_a_sites_own_front_end_adds_to_its_pages_proves_nothing(names: list[str]) -> None:
    assert not knows((SITE, [FRONT])).is_its_own("p0:8080", SITE, names)
    assert not knows((SITE, [FRONT]), (OTHER, [])).is_its_own("p0:8080", SITE, names)


def test_a_proxy_that_names_itself_differently_each_time_is_not_known() -> None:
    via = knows((OTHER, [TINY]), (THIRD, [FRONT]))
    assert not via.is_its_own("p0:8080", SITE, [])
    assert not via.is_its_own("p1:8080", SITE, [])
