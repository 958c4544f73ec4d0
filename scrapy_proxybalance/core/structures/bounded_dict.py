"""A dict with a bound: what is remembered of many targets must not grow without limit."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class BoundedDict(OrderedDict[_Key, _Value]):
    """A dict that drops its oldest key to make room for a new one.

    The oldest is the one that was set first, unless ``move_to_end`` has made it younger.

    :param bound: the number of keys that it has at most.
    """

    def __init__(self, bound: int) -> None:
        super().__init__()
        self._bound = bound

    def __setitem__(self, key: _Key, value: _Value) -> None:
        if len(self) >= self._bound and key not in self:
            self.popitem(last=False)
        OrderedDict.__setitem__(self, key, value)  # on a hot path; super() is slower
