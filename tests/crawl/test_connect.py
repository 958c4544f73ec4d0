"""What a proxy says to CONNECT: about itself, about one host, or about how much it has to do."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from .certificates import server_context
from .crawling import crawl_test
from .judged import World, forwards, pages, speaks_tls
from .scripted_proxy import answer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = speaks_tls

GOOD, FORBIDDEN = "shop.example", "forbidden.example"


@pytest.mark.parametrize("status", [403, 404, 502])
@crawl_test
async def test_a_host_that_all_proxies_refuse_fails_and_costs_nobody_else_anything(
    status: int, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start(
            [lambda _, url: answer(status) if url.startswith(FORBIDDEN) else None] * 10,
            hosts=(GOOD, FORBIDDEN),
            context=server_context(tmp_path, GOOD),
        )
        urls = [
            f"https://{FORBIDDEN if number % 5 == 0 else GOOD}/{number}" for number in range(300)
        ]
        judged = await world.crawl(urls)

    assert judged.pages == pages(number for number in range(300) if number % 5)
    assert sum(judged.failures.values()) == 60
    assert not judged.cooldowns


@crawl_test
async def test_a_host_that_one_proxy_refuses_goes_through_the_others(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start(
            [lambda _, url: answer(403) if url.startswith(FORBIDDEN) else None, *[forwards] * 3],
            hosts=(GOOD, FORBIDDEN),
            context=server_context(tmp_path, GOOD),
        )
        urls = [f"https://{(GOOD, FORBIDDEN)[number % 2]}/{number}" for number in range(200)]
        judged = await world.crawl(urls)

    picky = world.proxies[0]
    assert judged.pages == pages(range(200))
    assert not judged.cooldowns
    assert sum(seen.url.startswith(FORBIDDEN) for seen in picky.requests) <= 4
    assert sum(seen.url.startswith(GOOD) for seen in picky.requests) > 0


@pytest.mark.parametrize("status", [400, 405, 501])
@crawl_test
async def test_a_proxy_that_does_no_connect_goes_on_carrying_http(
    status: int, tmp_path: Path
) -> None:
    def no_connect(method: str, _url: str) -> bytes | None:
        return answer(status) if method == "CONNECT" else None

    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start([no_connect, forwards, forwards], context=server_context(tmp_path, GOOD))
        secure = await world.crawl([f"https://{GOOD}/{number}" for number in range(60)])
        asked = len(world.proxies[0].requests)

    assert secure.pages == pages(range(60))
    assert 0 < asked <= 6  # what is in flight before the second of them is back
    assert not secure.cooldowns


@crawl_test
async def test_a_pool_that_does_no_connect_fails_https_pages_with_a_reason(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start(
            [lambda method, _: answer(405) if method == "CONNECT" else None] * 2,
            context=server_context(tmp_path, GOOD),
        )
        judged = await world.crawl([f"https://{GOOD}/{number}" for number in range(30)])

    assert "NoProxyMatchesError" in judged.failures
    assert sum(judged.failures.values()) == 30


@pytest.mark.parametrize("scheme", ["http", "https"])
@crawl_test
async def test_a_site_that_closes_every_connection_costs_no_proxy_a_cooldown(
    scheme: str,
) -> None:
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start([forwards] * 4, hosts=(GOOD,))
        closing = World(stack)
        await closing.start([])

        async def closes(connection: object) -> None:
            """Hang up on everybody."""

        closing.origin._serve = closes  # type: ignore[assignment, method-assign]
        for proxy in world.proxies:
            assert proxy.resolve is not None
            proxy.resolve[FORBIDDEN] = (closing.origin.host, closing.origin.port)  # type: ignore[index]
            proxy.script = lambda _, url: b"" if url.startswith(f"http://{FORBIDDEN}") else None
        urls = [
            f"{scheme}://{FORBIDDEN}/{number}" if number % 2 else f"http://{GOOD}/{number}"
            for number in range(200)
        ]
        judged = await world.crawl(urls, PROXYBALANCE_RETRY_BUDGET_MIN=1000)

    assert judged.pages == pages(range(0, 200, 2))
    assert sum(judged.failures.values()) == 100
    assert not judged.cooldowns


@crawl_test
async def test_a_proxy_that_closes_what_is_too_much_carries_less_and_does_not_cool_down() -> None:
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start([forwards] * 3, latency=0.02)
        narrow = world.proxies[0]
        narrow.script = lambda *_: b"" if narrow.in_flight > 2 else None
        judged = await world.crawl([f"http://{GOOD}/{number}" for number in range(400)])

    assert judged.pages == pages(range(400))
    assert not judged.cooldowns
    assert len(narrow.requests) > 40


SQUID = {
    "Server": "squid/5.7",
    "X_Squid_Error": "ERR_ACCESS_DENIED 0",
    "X_Cache_Lookup": "NONE from x:1",
}


@pytest.mark.parametrize("scheme", ["http", "https"])
@crawl_test
async def test_proxies_that_refuse_what_is_too_much_cost_no_page_and_no_host(
    scheme: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start(
            [forwards] * 4,
            hosts=(GOOD, "two.example"),
            latency=0.02,
            context=server_context(tmp_path, GOOD) if scheme == "https" else None,
        )
        for proxy in world.proxies:
            # Squid's maxconn counts connections, idle ones included.
            proxy.script = lambda *_, proxy=proxy: (
                answer(403, f"denied by {proxy.name}", **SQUID) if proxy.connections > 2 else None
            )
        urls = [f"{scheme}://{(GOOD, 'two.example')[n % 2]}/{n}" for n in range(120)]
        judged = await world.crawl(urls)

    assert judged.pages == pages(range(120))
    assert not judged.cooldowns
