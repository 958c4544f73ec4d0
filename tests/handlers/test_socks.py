"""Download handlers that speak SOCKS: pages arrive, and what goes wrong is told apart."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from loopback.origin import Origin

from ..crawl.certificates import server_context
from ..crawl.crawling import crawl, crawl_test, proxybalance_stats
from .available import FILTERS, HANDLERS, Handler
from .socks import Socks5
from .test_handlers import SITE, echo, failures, wait_for_ever

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = [
    *(pytest.mark.filterwarnings(text) for text in FILTERS),
    # httpx leaves the connection open on which its SOCKS credentials were refused.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PLAIN = "plain.example"
PAGES = 12
DEAD = "socks5h://127.0.0.1:1"

# The default handler speaks no SOCKS on any version: it stands for itself where there is no other.
speaks_socks = pytest.mark.parametrize(
    "handler",
    [
        pytest.param(HANDLERS[name], id=name)
        for name in ("httpx", "impersonate", "curl")
        if name in HANDLERS
    ],
)


@pytest.fixture(autouse=True)
def _left_behind() -> Iterator[None]:
    """Have what a test leaves behind be found while that test's filters hold."""
    yield
    gc.collect()


@asynccontextmanager
async def world(directory: Path, **socks: dict[bytes, bytes]) -> AsyncIterator[Socks5]:
    """Give a SOCKS proxy that reaches a site with TLS and one without."""
    async with (
        Origin(echo, ssl_context=server_context(directory, SITE)) as secure,
        Origin(echo) as plain,
        Socks5(
            {SITE: (secure.host, secure.port), PLAIN: (plain.host, plain.port)}, **socks
        ) as proxy,
    ):
        yield proxy


@pytest.mark.parametrize("url", [f"http://{PLAIN}/", f"https://{SITE}/"])
@speaks_socks
@crawl_test
async def test_pages_come_through_socks_and_none_is_lost_to_a_dead_proxy_and_a_wrong_password(
    handler: Handler, url: str, tmp_path: Path
) -> None:
    async with (
        world(tmp_path, credentials={b"alice": b"good"}) as good,
        Socks5({}, credentials={b"alice": b"other"}) as locked,
    ):
        crawler = await crawl(
            [handler.request(f"{url}{page}") for page in range(PAGES)],
            handler.settings(
                **wait_for_ever(),
                PROXYBALANCE_PROXIES=[
                    {"url": f"socks5h://alice:good@127.0.0.1:{good.port}", "name": "good"},
                    {"url": f"socks5h://alice:bad@127.0.0.1:{locked.port}", "name": "locked"},
                    {"url": DEAD, "name": "dead"},
                ],
            ),
        )
        assert len(locked.passwords) <= 3
        assert set(good.passwords) == {b"good"}
    assert len(crawler.spider.responses) == PAGES
    assert set(failures(crawler)) <= {"proxy_auth", "connection_refused", "connect_error"}


@speaks_socks
@crawl_test
async def test_a_site_that_socks_does_not_reach_is_not_the_proxys_alone(
    handler: Handler, tmp_path: Path
) -> None:
    async with world(tmp_path) as proxy:
        crawler = await crawl(
            [handler.request("http://nobody.example/")],
            handler.settings(
                RETRY_ENABLED=False, PROXYBALANCE_PROXIES=[f"socks5h://127.0.0.1:{proxy.port}"]
            ),
        )
        assert proxy.hosts == ["nobody.example"]
    assert failures(crawler) == {"socks": 1}
    assert proxybalance_stats(crawler)["outcome/ambiguous"] == 1
