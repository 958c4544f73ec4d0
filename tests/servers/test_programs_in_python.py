"""Crawls through pproxy and proxy.py, which pass all requests of a connection to its first host."""

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

#: What follows ``python -m``, for each program.
ARGUMENTS = {
    "pproxy": "pproxy -l http://127.0.0.1:{port}",
    "proxy.py": "proxy --hostname 127.0.0.1 --port {port} --num-workers 1 --num-acceptors 1",
}


@pytest.fixture(scope="module", params=ARGUMENTS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One of the programs, open to everybody."""

    def configuration(port: int, _: Path) -> str:
        return f'exec "{sys.executable}" -m {ARGUMENTS[request.param].format(port=port)}\n'

    with running(["/bin/sh"], configuration) as server:
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
    assert came != right, "it has been corrected: the test above shows nothing any more"


@crawl_test
async def test_every_https_page_comes(server: Server, server_context: ssl.SSLContext) -> None:
    async with origin("https", server_context) as site:
        crawler = await crawl(
            requests("https", site.port, 30), settings({"url": server.url(), "name": "proxy"})
        )
    assert sorted(page.text for page in crawler.spider.responses) == sorted(
        f"/{number}" for number in range(30)
    )
