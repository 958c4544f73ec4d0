"""Crawls through proxy.py, which passes all requests of an http connection to the first one's host."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from scrapy.core.downloader.handlers.http11 import HTTP11DownloadHandler

from ..crawl.crawling import crawl, crawl_test
from .helpers import (
    Server,
    crawl_in_turns,
    of_tls_with_old_scrapy,
    origin,
    requests,
    running,
    settings,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = of_tls_with_old_scrapy


def _configuration(port: int, _: Path) -> str:
    one_process = "--num-workers 1 --num-acceptors 1"
    return f'exec "{sys.executable}" -m proxy --hostname 127.0.0.1 --port {port} {one_process}\n'


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """proxy.py, open to everybody."""
    with running(["/bin/sh"], _configuration) as server:
        yield server


@crawl_test
async def test_no_page_of_one_site_comes_under_the_name_of_another(server: Server) -> None:
    came, right = await crawl_in_turns(server, 400)
    assert len(came) == 400
    assert came == right


@crawl_test
async def test_with_scrapys_own_handler_pages_come_under_wrong_names(server: Server) -> None:
    came, right = await crawl_in_turns(
        server, 40, CONCURRENT_REQUESTS=1, DOWNLOAD_HANDLERS={"http": HTTP11DownloadHandler}
    )
    assert came != right, "proxy.py has been corrected: the test above shows nothing any more"


@crawl_test
async def test_every_https_page_comes(server: Server, server_context: ssl.SSLContext) -> None:
    async with origin("https", server_context) as site:
        crawler = await crawl(
            requests("https", site.port, 30), settings({"url": server.url(), "name": "proxy"})
        )
    assert sorted(page.text for page in crawler.spider.responses) == sorted(
        f"/{number}" for number in range(30)
    )
