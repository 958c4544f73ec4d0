"""The spider of the example: every book of the bookshop, once, or as often as you like to watch."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import scrapy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scrapy.http import Response


class BooksSpider(scrapy.Spider):
    """Crawls the catalogue and yields an item for each book.

    :param rounds: how often; the shop's rate limit has each one take 8 seconds at least.
    """

    name = "books"
    rounds = "1"

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """Start with the first catalogue page, without exempting it from the duplicates filter."""
        yield scrapy.Request("http://books.example/", callback=self.parse_catalogue)
        for number in range(2, int(self.rounds) + 1):
            yield scrapy.Request(
                f"http://books.example/?round={number}", callback=self.parse_catalogue
            )

    def parse_catalogue(self, response: Response) -> Iterator[scrapy.Request]:
        """Follow a catalogue page to its books and to the other catalogue pages."""
        books = response.css("a.book::attr(href)").getall()
        yield from response.follow_all(_same_round(books, response), callback=self.parse_book)
        pages = response.css("a.page::attr(href)").getall()
        yield from response.follow_all(_same_round(pages, response), callback=self.parse_catalogue)

    def parse_book(self, response: Response) -> Iterator[dict[str, str | None]]:
        """Yield the item of a book page."""
        yield {
            "url": response.url,
            "title": response.css("h1::text").get(),
            "price": response.css(".price::text").get(),
            "category": response.css(".category::text").get(),
        }


def _same_round(links: list[str], response: Response) -> list[str]:
    """Return the links with the query of the page that they are on."""
    query = urlsplit(response.url).query
    return [f"{link}?{query}" for link in links] if query else links
