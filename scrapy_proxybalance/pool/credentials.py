"""Refused credentials: when a 407 says that a proxy's credentials are wrong, and when it does not.

A provider's authentication has outages, and some answer 407 for a page or a site that they do not
serve. So one 407 proves little: credentials are taken to be wrong when they have never worked, or do
not work for several pages in a row. Keeps counts and answers questions; changes no health.
"""

from __future__ import annotations

from collections import OrderedDict

# Refusals in a row, for different pages, after which credentials are taken to be wrong: where they have
# never worked; where they have, at several targets; and at a single one.
_NEVER_WORKED = 2
_WORKED = 3
_AT_ONE_TARGET = 6
# Credentials that have never worked are sent in so many requests at once, as providers lock accounts.
UNTRIED_IN_FLIGHT = 3
# A target that so many proxies were refused for, and none answered for, is one that they do not serve.
_REFUSED_BY = 3
_TARGETS = 1000


class Refusals:
    """The refusals of one proxy's credentials since something last came back through it."""

    __slots__ = ("_pages", "_targets")

    def __init__(self) -> None:
        self._pages: set[object] = set()
        self._targets: set[str] = set()

    def clear(self) -> None:
        """Take note that something has come back."""
        if self._pages:
            self._pages.clear()
            self._targets.clear()

    def add(self, page: str | None, target: str, *, worked: bool) -> bool:
        """Take note of a refusal; return whether the credentials are to be taken for wrong.

        :param page: what was asked for; ``None`` where nobody knows, which is another one each time.
        :param worked: whether the credentials have ever worked.
        """
        if len(self._pages) < _AT_ONE_TARGET:
            self._pages.add(object() if page is None else page)
            self._targets.add(target)
        refused = len(self._pages)
        if not worked:
            return refused >= _NEVER_WORKED
        return refused >= (_WORKED if len(self._targets) > 1 else _AT_ONE_TARGET)


class RefusedTargets:
    """The targets for which proxies refuse credentials that work elsewhere."""

    def __init__(self) -> None:
        self._refused: OrderedDict[str, set[str]] = OrderedDict()

    def answered(self, target: str) -> None:
        """Take note that a target was reached."""
        if self._refused:
            self._refused.pop(target, None)

    def refused(self, target: str, proxy: str) -> bool:
        """Take note of a refusal by a proxy that works; return whether it is about the target."""
        proxies = self._refused.setdefault(target, set())
        if len(self._refused) > _TARGETS:
            self._refused.popitem(last=False)
        if len(proxies) < _REFUSED_BY:
            proxies.add(proxy)
        return len(proxies) >= _REFUSED_BY
