"""Sites that fail while no other answers any more, or seldom: theirs are no outages of the proxies."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from loopback.origin import OriginRequest, OriginResponse

from .certificates import server_context
from .crawling import crawl_test
from .judged import Judged, World, speaks_tls
from .scripted_proxy import answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = speaks_tls

FIRST, SECOND, WELL = SITES = ("first.example", "second.example", "well.example")
SERVED = 15
RETRY_TIMES = 2
#: So many failures of a page cost no retry at most, apart from those of probes.
SPARED = 6
AT_ONCE: dict[str, Any] = {
    "RETRY_TIMES": RETRY_TIMES,
    "PROXYBALANCE_RETRY_BUDGET_MIN": 1000,
    "PROXYBALANCE_EXHAUSTED_TIMEOUT": 20,
}


class Shops:
    """Sites behind proxies, of which some go down when each has served so many pages.

    :param how: what happens to their requests then: the site answers "502" itself, or the proxy
        answers 502 because the site has "refused" or answers nothing because the site has "closed".
    """

    def __init__(self, how: str, *sites: str) -> None:
        self.how = how
        self.sites = sites
        self.served: Counter[str] = Counter()
        self.judged = Judged()
        self.up_again: Callable[[], bool] = lambda: False

    @property
    def down(self) -> bool:
        return min(self.served[site] for site in self.sites) >= SERVED and not self.up_again()

    def fails(self, host: str) -> bool:
        return host in self.sites and self.down

    def page(self, request: OriginRequest) -> OriginResponse:
        host = request.headers["host"]
        close = [("Connection", "close")]  # so that the next page needs a tunnel of its own
        if self.how == "502" and self.fails(host):
            return OriginResponse(502, close, b"out of order")
        self.served[host] += 1
        return OriginResponse(headers=close, body=f"{host}{request.path}".encode())

    def script(self, method: str, url: str) -> bytes | None:
        host = url.split(":")[0] if method == "CONNECT" else url.split("/")[2]
        if self.how == "502" or not self.fails(host):
            return None
        return answer(502) if self.how == "refused" else b""

    async def crawl(
        self, scheme: str, tmp_path: Path, pages: dict[str, int], **settings: Any
    ) -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            context = server_context(tmp_path) if scheme == "https" else None
            await world.start([self.script] * 4, hosts=SITES, context=context, handler=self.page)
            urls = [
                f"{scheme}://{site}/{number}"
                for number in range(max(pages.values()))
                for site in SITES
                if number < pages[site]
            ]
            await world.crawl(urls, self.judged, **{**AT_ONCE, **settings})

    @property
    def results(self) -> int:
        return len(self.judged.crawler.spider.responses) + len(self.judged.crawler.spider.failures)

    @property
    def finished(self) -> bool:
        return bool(self.judged.crawler.stats.get_value("finish_reason") == "finished")


@pytest.mark.parametrize(
    ("scheme", "how"),
    [
        ("http", "502"),
        ("http", "refused"),
        ("http", "closed"),
        ("https", "502"),
        ("https", "refused"),
        ("https", "closed"),
    ],
)
@crawl_test
async def test_two_sites_that_go_on_failing_when_a_third_is_done_are_no_outage(
    scheme: str, how: str, tmp_path: Path
) -> None:
    shops = Shops(how, FIRST, SECOND)
    await shops.crawl(
        scheme,
        tmp_path,
        {FIRST: 50, SECOND: 50, WELL: 70},
        # So that it is asked for something when the others are known to fail.
        PROXYBALANCE_TARGETS={WELL: {"rate": "60/s"}},
    )
    judged = shops.judged
    assert shops.finished
    assert shops.results == 170
    assert shops.served[WELL] == 70
    assert not judged.trips
    # By chance a proxy may meet the first failures of both; it is known soon that they are the sites'.
    assert judged.cooldowns == judged.taken_back
    # Of the first failures it cannot be told yet, so that these may cost no retry.
    assert max(judged.attempts.values()) <= RETRY_TIMES + 1 + SPARED
    assert sum(judged.attempts.values()) <= 170 + 1.2 * RETRY_TIMES * 70


@pytest.mark.parametrize("how", ["502", "refused", "closed"])
@crawl_test
async def test_two_sites_that_fail_beside_a_slow_one_are_not_asked_again_and_again(
    how: str, tmp_path: Path
) -> None:
    shops = Shops(how, FIRST, SECOND)
    await shops.crawl(
        "http",
        tmp_path,
        {FIRST: 50, SECOND: 50, WELL: 30},
        PROXYBALANCE_TARGETS={WELL: {"rate": "4/s"}},
    )
    judged = shops.judged
    assert shops.finished
    assert shops.results == 130
    assert len(judged.trips) <= 1
    failing = [count for url, count in judged.attempts.items() if WELL not in url]
    assert max(failing) <= RETRY_TIMES + 1 + SPARED
    assert sum(failing) <= 100 + 2.5 * RETRY_TIMES * 70


@pytest.mark.parametrize("how", ["502", "refused", "closed"])
@crawl_test
async def test_a_provider_through_which_nothing_comes_any_more_costs_no_page(
    how: str, tmp_path: Path
) -> None:
    shops = Shops(how, *SITES)
    shops.up_again = lambda: shops.judged.probes >= 3
    await shops.crawl("http", tmp_path, dict.fromkeys(SITES, 40))
    judged = shops.judged
    assert shops.finished
    assert shops.served == dict.fromkeys(SITES, 40)
    assert len(judged.trips) == 1
    assert not judged.crawler.spider.failures
