"""The spider of the example: every book of the bookshop, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import scrapy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scrapy.http import Response


class BooksSpider(scrapy.Spider):
    """Crawls the catalogue and yields an item for each book."""

    name = "books"

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """Start with the first catalogue page, without exempting it from the duplicates filter."""
        yield scrapy.Request("http://books.example/", callback=self.parse_catalogue)

    def parse_catalogue(self, response: Response) -> Iterator[scrapy.Request]:
        """Follow a catalogue page to its books and to the other catalogue pages."""
        books = response.css("a.book::attr(href)").getall()
        yield from response.follow_all(books, callback=self.parse_book)
        pages = response.css("a.page::attr(href)").getall()
        yield from response.follow_all(pages, callback=self.parse_catalogue)

    def parse_book(self, response: Response) -> Iterator[dict[str, str | None]]:
        """Yield the item of a book page."""
        yield {
            "url": response.url,
            "title": response.css("h1::text").get(),
            "price": response.css(".price::text").get(),
            "category": response.css(".category::text").get(),
        }
