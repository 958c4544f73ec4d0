"""Proxies that are reached over TLS, with the handlers that can use them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin
from scrapy.settings import default_settings

from ..crawl.certificates import server_context
from ..crawl.crawling import crawl, crawl_test
from .available import FILTERS, HANDLERS, Handler
from .test_handlers import SITE, echo

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

pytestmark = [pytest.mark.filterwarnings(text) for text in FILTERS]
PAGES = 10
# asyncio has TLS within TLS from Python 3.11 on.
BOTH = ("httpx", "impersonate", "curl", *(["aiohttp"] if sys.version_info >= (3, 11) else []))
CELLS = [
    # Scrapy's default handler once verified the certificates of proxies, and of nobody else.
    *([("default", "http")] if hasattr(default_settings, "DOWNLOAD_VERIFY_CERTIFICATES") else []),
    *((name, "http") for name in ("aiohttp", "httpx", "impersonate", "curl")),
    *((name, "https") for name in BOTH),
]


class SecureProxy(ForwardProxy):
    """Speaks TLS with its clients."""

    def __init__(self, name: str, context: ssl.SSLContext, **kwargs: object) -> None:
        super().__init__(name, **kwargs)  # type: ignore[arg-type]
        self._ssl_context = context


@pytest.mark.parametrize(
    ("handler", "scheme"),
    [pytest.param(HANDLERS[n], s, id=f"{n}-{s}") for n, s in CELLS if n in HANDLERS],
)
@crawl_test
async def test_pages_come_through_a_proxy_that_is_reached_over_tls(
    handler: Handler, scheme: str, tmp_path: Path
) -> None:
    context = server_context(tmp_path, SITE)
    async with Origin(echo, ssl_context=context if scheme == "https" else None) as origin:
        address = (origin.host, origin.port)
        async with SecureProxy("secure", context, resolve={SITE: address}) as proxy:
            settings = handler.settings(
                PROXYBALANCE_PROXIES=[f"https://127.0.0.1:{proxy.port}"], CLOSESPIDER_TIMEOUT=60
            )
            if scheme == "http":
                settings["DOWNLOAD_HANDLERS"] = {**settings["DOWNLOAD_HANDLERS"], "https": None}
            crawler = await crawl(
                [handler.request(f"{scheme}://{SITE}/{page}") for page in range(PAGES)], settings
            )
            assert proxy.requests
    assert len(crawler.spider.responses) == PAGES
