"""Sorting, filtering and cutting the list of proxies, away from the crawl's thread."""

from __future__ import annotations

from heapq import nlargest, nsmallest
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: What a list of proxies can be sorted by.
SORTABLE = (
    "name",
    "state",
    "in_flight",
    "requests",
    "share",
    "success_rate",
    "p95",
    "score",
    "cooldowns",
    "cooldown_left",
    "sessions",
)
_SEARCHED = ("name", "state", "pool", "country", "provider")
_MOST_ROWS = 1000


@attrs.frozen(kw_only=True)
class Query:
    """Which proxies are wanted, and in what order.

    :param sort: one of :data:`SORTABLE`.
    :param descending: the largest first; what is not known comes last either way.
    :param text: has to be in the name, the state, the pool, the country or the provider, in any case.
    :param limit: so many at most.
    """

    sort: str = "requests"
    descending: bool = True
    text: str = ""
    limit: int = 200

    @classmethod
    def read(cls, given: Mapping[str, list[str]]) -> Query:
        """Return what a query string asks for.

        :raises ValueError: if it makes no sense.
        """
        last = {name: values[-1] for name, values in given.items()}
        unknown = sorted(last.keys() - {"sort", "order", "filter", "limit"})
        if unknown:
            raise ValueError(f"there is no {unknown[0]!r}; there are sort, order, filter and limit")
        sort = last.get("sort", cls().sort)
        if sort not in SORTABLE:
            raise ValueError(f"sort {sort!r}: give one of {', '.join(SORTABLE)}")
        order = last.get("order", "desc")
        if order not in ("asc", "desc"):
            raise ValueError(f"order {order!r}: give asc or desc")
        limit = last.get("limit", str(cls().limit))
        if not (limit.isascii() and limit.isdecimal() and 0 < int(limit) <= _MOST_ROWS):
            raise ValueError(f"limit {limit!r}: give a number from 1 to {_MOST_ROWS}")
        return cls(
            sort=sort,
            descending=order == "desc",
            text=last.get("filter", "").strip().casefold(),
            limit=int(limit),
        )


def picked(shown: Mapping[str, Any], query: Query) -> dict[str, Any]:
    """Return what a crawl shows with only those proxies that are wanted.

    ``matching`` is how many there would be without the limit.
    """
    rows = shown["proxies"]
    if query.text:
        rows = [row for row in rows if _matches(row, query.text)]
    cut = nlargest if query.descending else nsmallest
    return {
        **shown,
        "matching": len(rows),
        "proxies": cut(query.limit, rows, key=_key(query)),
    }


def _matches(row: Mapping[str, Any], text: str) -> bool:
    found = [str(row[column]) for column in _SEARCHED if row[column] is not None]
    return text in " ".join(found).casefold()


def _key(query: Query) -> Callable[[Mapping[str, Any]], tuple[bool, Any]]:
    sort, descending = query.sort, query.descending

    def key(row: Mapping[str, Any]) -> tuple[bool, Any]:
        value = row[sort]
        return ((value is not None) is descending, value if value is not None else 0)

    return key
