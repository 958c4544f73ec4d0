"""What proxies add to the pages that they pass on: whether a page was made by the proxy itself.

A proxy that names itself in ``Via`` does so on every page that it passes on (RFC 9110, section 7.6.3).
So a page of another server has its name besides the names of those servers that stand before that one,
and a page without any name was not passed on. What a proxy adds is what the pages of several targets
have in common. Keeps what was seen last, and answers questions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..structures.bounded_dict import BoundedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

# So many gateways are remembered, with so many targets each.
_GATEWAYS = 2000
_TARGETS = 8


class Via:
    """The nearest names of the pages that came through each gateway."""

    def __init__(self) -> None:
        self._seen: BoundedDict[str, BoundedDict[str, str]] = BoundedDict(_GATEWAYS)

    def passed_on(self, gateway: str, target: str, names: Sequence[str]) -> None:
        """Take note of a page of a target.

        :param names: the members of its ``Via``, the nearest server last.
        """
        seen = self._seen.get(gateway)
        if seen is None:
            seen = self._seen[gateway] = BoundedDict(_TARGETS)
        seen[target] = names[-1] if names else ""

    def is_its_own(self, gateway: str, target: str, names: Sequence[str]) -> bool:
        """Return whether a page was made by the proxy, as far as its ``Via`` tells.

        :param target: whose pages prove nothing: its own front end may add a name as well.
        :param names: the members of its ``Via``.
        """
        others = {name for one, name in self._seen.get(gateway, {}).items() if one != target}
        if len(others) != 1:
            return False
        [adds] = others
        return adds != "" and list(names) in ([], [adds])
