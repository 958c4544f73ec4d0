"""A 407 is judged by what else a proxy gets: credentials are wrong, or a page, a site or a while is."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from itertools import count

import pytest

from .crawling import crawl_test
from .judged import World, forwards, pages
from .scripted_proxy import answer

REFUSED = answer(407, "no", Proxy_Authenticate='Basic realm="pool"')


def site(number: int) -> list[str]:
    return [f"http://shop.example/{page}" for page in range(number)]


@pytest.mark.parametrize("place", [0, 200, 400])
@crawl_test
async def test_one_page_that_all_proxies_refuse_is_given_up_and_puts_nobody_out(place: int) -> None:
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start(
            [lambda _, url: REFUSED if url.endswith("/special") else None] * 20, users=True
        )
        urls = site(400)
        urls.insert(place, "http://shop.example/special")
        judged = await world.crawl(urls)

    assert judged.pages == pages(range(400))
    assert judged.failures == {"HttpError": 1}
    assert not judged.outs
    assert not judged.cooldowns


@crawl_test
async def test_a_407_now_and_then_costs_neither_a_page_nor_a_proxy() -> None:
    numbers = count(1)
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start(
            [lambda *_: REFUSED if next(numbers) % 200 == 0 else None] * 20, users=True
        )
        judged = await world.crawl(site(2000))

    assert judged.pages == pages(range(2000))
    assert not judged.outs
    assert not judged.cooldowns


@pytest.mark.parametrize("pages_before", [0, 200])
@crawl_test
async def test_an_outage_of_the_authentication_is_waited_for(pages_before: int) -> None:
    seen = count(1)
    outage: list[float] = []

    def script(_method: str, _url: str) -> bytes | None:
        if next(seen) > pages_before and not outage:
            outage.append(time.monotonic() + 3)
        return REFUSED if outage and time.monotonic() < outage[0] else None

    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start([script] * 20, users=True)
        judged = await world.crawl(site(800), PROXYBALANCE_COOLDOWN=10)

    assert judged.pages == pages(range(800))
    states = {one.state.value for one in judged.proxies.values()}
    assert "out" not in states


@crawl_test
async def test_a_wrong_password_is_sent_three_times_at_most() -> None:
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start([forwards] * 3, users=True)
        wrong = world.proxies[0]
        wrong.credentials = {"user": "changed"}
        entries = [
            {"url": proxy.url("user").replace("changed", "right"), "name": proxy.name}
            for proxy in world.proxies
        ]
        judged = await world.crawl(site(200), PROXYBALANCE_PROXIES=entries)

    assert judged.pages == pages(range(200))
    assert len(wrong.requests) <= 3
    assert judged.outs == {"p0": 1}


@crawl_test
async def test_a_site_that_all_proxies_refuse_costs_no_proxy() -> None:
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start(
            [lambda _, url: REFUSED if "//forbidden.example/" in url else None] * 5,
            hosts=("shop.example", "forbidden.example"),
            users=True,
        )
        urls = site(200)
        urls[::4] = [f"http://forbidden.example/{number}" for number in range(50)]
        judged = await world.crawl(urls)

    assert sum(judged.pages.values()) == 150
    assert judged.failures == {"HttpError": 50}
    # One may have met nothing but that site before anything was answered; it is asked again.
    assert sum(judged.outs.values()) <= 1
    assert not judged.cooldowns


@crawl_test
async def test_a_site_that_answers_407_itself_costs_no_proxy_without_credentials() -> None:
    def script(_method: str, url: str) -> bytes | None:
        if int(url.rpartition("/")[2]) % 4 == 0:
            return answer(407, f"credentials for {url}", Proxy_Authenticate='Basic realm="x"')
        return None

    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start([script] * 5)
        judged = await world.crawl(f"http://shop.example/{number}" for number in range(200))

    assert judged.pages == pages(number for number in range(200) if number % 4)
    assert judged.failures == {"HttpError": 50}
    assert sum(judged.outs.values()) <= 1
    # By chance one may meet several of the first ones in a row: that is taken back.
    assert judged.cooldowns == judged.taken_back


@crawl_test
async def test_a_proxy_that_wants_credentials_where_its_entry_has_none_is_out_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wants = answer(407, "who are you?", Proxy_Authenticate='Basic realm="x"')
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start([lambda *_: wants, forwards, forwards])
        judged = await world.crawl(f"http://shop.example/{number}" for number in range(60))

    assert judged.pages == pages(range(60))
    assert set(judged.outs) == {"p0"}
    [said] = [one.getMessage() for one in caplog.records if "out of the pool" in one.getMessage()]
    assert "it wants credentials, and its entry has none. Add them" in said
