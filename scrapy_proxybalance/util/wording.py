"""What messages share: counts in words, and phrases. Knows nothing of what is counted."""

from __future__ import annotations

#: How the reason of a pause begins that no refusal has led to.
ROBOTS_NOT_FETCHED = "robots.txt could not be fetched"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: ``1 proxy``, ``2 proxies``.

    :param one: the noun for 1.
    :param many: the noun for any other number; left out, ``one`` with an s.
    """
    return f"{number} {one if number == 1 else many or one + 's'}"
