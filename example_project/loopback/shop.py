"""``Shop``: the bookshop, as a handler for ``Origin``.

The content is the same in every run: 50 catalogue pages of 19 books and a page for each of the 950
books, 1,000 pages in all. The shop limits the rate of all its clients together.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .origin import OriginRequest, OriginResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CATALOGUE_PAGES = 50
BOOKS_PER_PAGE = 19
BOOKS = CATALOGUE_PAGES * BOOKS_PER_PAGE

_HTML = ("Content-Type", "text/html; charset=utf-8")
_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_RETRY_AFTER = ("Retry-After", "2")

_ADJECTIVES = ("Silent", "Crooked", "Last", "Borrowed", "Salt", "Northern", "Paper", "Hidden")
_NOUNS = ("Harbour", "Orchard", "Clockmaker", "River", "Archive", "Lantern", "Bridge")
_CATEGORIES = ("Crime", "Travel", "Poetry", "History", "Science")


class Shop:
    """Answers requests out of a token bucket that gains ``rate`` tokens per second up to ``burst``.

    A request that finds the bucket empty gets a 429, and is counted in ``limited``.
    """

    def __init__(
        self,
        *,
        rate: float = 500.0,
        burst: int = 500,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limited = 0
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._filled_at = clock()
        self._pages = dict(_pages())

    def __call__(self, request: OriginRequest) -> OriginResponse:
        """Answer a request."""
        if not self._take_token():
            self.limited += 1
            return OriginResponse(429, [_TEXT, _RETRY_AFTER], b"Too many requests\n")
        if request.path == "/robots.txt":
            return OriginResponse(200, [_TEXT], b"User-agent: *\nAllow: /\n")
        page = self._pages.get(request.path)
        if page is None:
            return OriginResponse(404, [_TEXT], b"No such page\n")
        return OriginResponse(200, [_HTML], page)

    def _take_token(self) -> bool:
        now = self._clock()
        gained = (now - self._filled_at) * self._rate
        self._tokens = min(self._tokens + gained, float(self._burst))
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _pages() -> Iterator[tuple[str, bytes]]:
    for number in range(1, CATALOGUE_PAGES + 1):
        yield _catalogue_path(number), _catalogue_page(number)
    for book in range(1, BOOKS + 1):
        yield f"/books/{book}", _book_page(book)


def _catalogue_path(number: int) -> str:
    return "/" if number == 1 else f"/catalogue/{number}"


def _catalogue_page(number: int) -> bytes:
    first = (number - 1) * BOOKS_PER_PAGE + 1
    books = "".join(
        f'<li><a class="book" href="/books/{book}">{_title(book)}</a></li>\n'
        for book in range(first, first + BOOKS_PER_PAGE)
    )
    numbers = "".join(
        f'<a class="page" href="{_catalogue_path(other)}">{other}</a>\n'
        for other in range(1, CATALOGUE_PAGES + 1)
    )
    return _document(f"Books, page {number}", f"<ul>\n{books}</ul>\n<nav>\n{numbers}</nav>")


def _book_page(book: int) -> bytes:
    title = _title(book)
    category = _CATEGORIES[book % len(_CATEGORIES)]
    related = "".join(
        f'<li><a class="related" href="/books/{other}">{_title(other)}</a></li>\n'
        for other in ((book + step) % BOOKS + 1 for step in (4, 9, 14))
    )
    return _document(
        title,
        f'<p class="price">£{5 + book * 7 % 40}.{book * 13 % 100:02}</p>\n'
        f'<p class="category">{category}</p>\n'
        f'<p class="description">{title} is number {book} of {BOOKS} on our shelves, and you will '
        f"find it under {category}.</p>\n"
        f"<ul>\n{related}</ul>",
    )


def _title(book: int) -> str:
    adjective = _ADJECTIVES[book % len(_ADJECTIVES)]
    noun = _NOUNS[book % len(_NOUNS)]
    return f"The {adjective} {noun}, volume {book}"


def _document(title: str, content: str) -> bytes:
    return (
        '<!doctype html>\n<html lang="en">\n'
        f'<head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body>\n<h1>{title}</h1>\n{content}\n</body>\n</html>\n"
    ).encode()
