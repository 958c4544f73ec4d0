"""What messages share: counts in words. Knows nothing of what is counted."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: ``1 proxy``, ``2 proxies``.

    :param one: the noun for 1.
    :param many: the noun for any other number; left out, ``one`` with an s.
    """
    return f"{number} {one if number == 1 else many or one + 's'}"
