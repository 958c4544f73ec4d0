"""Refused credentials: when a 407 says that a proxy's credentials are wrong, and when it does not.

A provider's authentication has outages, and some answer 407 for a page or a site that they do not
serve. So one 407 proves little: credentials are taken to be wrong when they have never worked, or do
not work for several pages in a row. Keeps counts and answers questions; changes no health.
"""

from __future__ import annotations

from ..structures.bounded_dict import BoundedDict

# Refusals in a row, for different pages, after which credentials that have worked are taken for wrong:
# at several targets, and at a single one; and those that never have, at several targets.
_WORKED, _WORKED_AT_ONE = 3, 6
_NEVER_WORKED = 2
# Credentials that have never worked are sent in so many requests at once, and no more often until the
# proxy is asked again after a while: providers lock accounts.
UNTRIED_IN_FLIGHT = 3
#: So many proxies that refuse their credentials for a page or a target, and not for others, mean that.
REFUSED_BY = 3
_TARGETS = 1000
_PAGES = 2


class Refusals:
    """The refusals of one proxy's credentials since something last came back through it."""

    __slots__ = ("_attempts", "_pages", "_targets")

    def __init__(self) -> None:
        self._attempts = 0
        # Tuples: there is one of these for each proxy, nearly always empty.
        self._pages: tuple[object, ...] = ()
        self._targets: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return how many there were."""
        return self._attempts

    def clear(self) -> None:
        """Take note that something has come back."""
        if self._attempts:
            self._attempts = 0
            self._pages = self._targets = ()

    def add(self, page: str | None, target: str, *, worked: bool, doubtful: bool = False) -> bool:
        """Take note of a refusal; return whether the credentials are to be taken for wrong.

        :param page: what was asked for; ``None`` where nobody knows, which is another one each time.
        :param worked: whether the credentials have ever worked.
        :param doubtful: whether it may be about the target, which has answered nobody while others have.
        """
        self._attempts += 1
        if len(self._pages) < _WORKED_AT_ONE:
            if page is None or page not in self._pages:
                self._pages += (object() if page is None else page,)
            if target not in self._targets:
                self._targets += (target,)
        refused = len(self._pages)
        if not worked:
            several = len(self._targets) > 1
            return (several and refused >= _NEVER_WORKED) or (
                not doubtful and self._attempts >= UNTRIED_IN_FLIGHT
            )
        return refused >= (_WORKED if len(self._targets) > 1 else _WORKED_AT_ONE)


class RefusedPages:
    """What proxies refuse credentials for that work elsewhere: targets, and single pages."""

    def __init__(self) -> None:
        self._targets: BoundedDict[str, tuple[set[str], int]] = BoundedDict(_TARGETS)
        self._since_an_answer: set[object] = set()

    def answered(self, target: str) -> None:
        """Take note that something came back from a target."""
        if self._targets:
            self._targets.pop(target, None)
        if self._since_an_answer:
            self._since_an_answer.clear()

    def refused(
        self, page: str | None, target: str, proxy: str, *, worked: bool, answers: int
    ) -> bool:
        """Take note of a refusal; return whether it is about the target.

        That is so if several proxies refuse it that work, nothing has come back from it since the first
        did, and something has from others.

        :param worked: whether the proxy's credentials have ever worked.
        :param answers: how many answers the pool has had so far.
        """
        if len(self._since_an_answer) < _PAGES:
            self._since_an_answer.add(object() if page is None else page)
        if not worked:
            return False
        if target not in self._targets:
            self._targets[target] = (set(), answers)
        proxies, before = self._targets[target]
        if len(proxies) < REFUSED_BY:
            proxies.add(proxy)
        return len(proxies) >= REFUSED_BY and answers > before

    @property
    def is_a_single_one(self) -> bool:
        """Whether one page only was refused since the last answer."""
        return len(self._since_an_answer) == 1
