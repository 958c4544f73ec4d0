"""The example's spider: each book once a round, and more rounds for whoever wants to watch."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from bookshop.spiders.books import BooksSpider
from loopback.origin import OriginRequest
from loopback.shop import BOOKS, CATALOGUE_PAGES, Shop
from scrapy import Request
from scrapy.http import HtmlResponse

from .crawl.crawling import crawl_test

if TYPE_CHECKING:
    from collections.abc import Iterator


def crawled(waiting: list[Request]) -> Iterator[Request | dict[str, str | None]]:
    """Give all requests, each once, and all items of a crawl without a network."""
    shop = Shop(rate=1e9, burst=1_000_000)
    seen: set[str] = set()
    while waiting:
        request = waiting.pop()
        if request.url in seen:
            continue
        seen.add(request.url)
        yield request
        parts = urlsplit(request.url)
        answer = shop(OriginRequest("GET", parts.path, parts.query, {}, b""))
        assert answer.status == 200
        response = HtmlResponse(request.url, body=answer.body, request=request)
        assert request.callback is not None
        for result in request.callback(response):
            if isinstance(result, Request):
                waiting.append(result)
            else:
                yield result


@crawl_test
@pytest.mark.parametrize(("arguments", "rounds"), [({}, 1), ({"rounds": "3"}, 3)])
async def test_every_page_is_asked_for_once_a_round(arguments: dict[str, str], rounds: int) -> None:
    spider = BooksSpider(**arguments)
    results = list(crawled([request async for request in spider.start()]))
    items = [one for one in results if isinstance(one, dict)]
    assert len(results) - len(items) == rounds * (BOOKS + CATALOGUE_PAGES)
    assert len({item["url"] for item in items}) == len(items) == rounds * BOOKS
    assert len({item["title"] for item in items}) == BOOKS
