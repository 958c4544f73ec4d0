"""One URL behind which a provider chooses the exit is the whole pool: bad exits cost pages no proxy."""

from __future__ import annotations

from contextlib import AsyncExitStack
from itertools import count
from typing import TYPE_CHECKING

import pytest

from .certificates import server_context
from .crawling import crawl_test
from .judged import World, pages, speaks_tls
from .scripted_proxy import answer

if TYPE_CHECKING:
    from pathlib import Path

BAD_EXITS = {
    "closes": b"",
    "502": answer(502, "the exit is gone"),
    "503": answer(503, "no exit"),
    "522": answer(522, "the exit is slow"),
}
REFUSES = {**BAD_EXITS, "403": answer(403, "no exit"), "404": answer(404), "400": answer(400)}


@pytest.mark.parametrize("own", BAD_EXITS)
@crawl_test
async def test_bad_exits_for_http_pages_cost_no_page_and_no_cooldown(own: str) -> None:
    exits = count(1)
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start([lambda *_: BAD_EXITS[own] if next(exits) % 4 == 0 else None])
        judged = await world.crawl(
            (f"http://shop.example/{number}" for number in range(300)), RETRY_TIMES=9
        )

    assert judged.pages == pages(range(300))
    assert not judged.cooldowns


@speaks_tls
@pytest.mark.parametrize("own", REFUSES)
@crawl_test
async def test_bad_exits_that_refuse_connect_cost_no_page_and_no_cooldown(
    own: str, tmp_path: Path
) -> None:
    exits = count(1)
    async with AsyncExitStack() as stack:
        world = World(stack)
        await world.start(
            [lambda *_: REFUSES[own] if next(exits) % 4 == 0 else None],
            context=server_context(tmp_path, "shop.example"),
        )
        judged = await world.crawl(
            (f"https://shop.example/{number}" for number in range(100)),
            RETRY_TIMES=9,
            DEFAULT_REQUEST_HEADERS={"Connection": "close"},  # another CONNECT for each page
        )

    assert judged.pages == pages(range(100))
    assert not judged.cooldowns
    assert len(world.proxies[0].requests) > 100
