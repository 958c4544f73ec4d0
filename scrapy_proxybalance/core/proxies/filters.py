"""Filters on what a proxy is (not on how it does): which proxies may take a request at all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, TypeAlias

from ..errors import ConfigurationError
from .proxy import ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .proxy import Proxy

#: What a request may ask for: a predicate, or ``{attribute: value or values}``.
FilterSpec: TypeAlias = "Callable[[Proxy], bool] | Mapping[str, object]"


class ProxyFilter:
    """Accepts the proxies that a request may use.

    :param spec: a predicate on a :class:`Proxy`; or a mapping from attributes to a value, or to a
        collection of which one has to fit, in upper or lower case. Every attribute has to fit; of
        ``tags`` a proxy needs at least one that was asked for.
    :raises ConfigurationError: for an attribute that proxies do not have.
    """

    __slots__ = ("_accepts", "key", "text")

    def __init__(self, spec: FilterSpec) -> None:
        if callable(spec):
            self._accepts = spec
            self.key: Hashable = spec
            self.text = getattr(spec, "__qualname__", repr(spec))
            return
        if not isinstance(spec, Mapping):
            raise ConfigurationError(
                f"proxy filter {spec!r} is neither a mapping like {{'country': 'de'}} nor a function"
            )
        wanted: dict[str, frozenset[object]] = {}
        for attribute, value in spec.items():
            if attribute not in ATTRIBUTES:
                raise ConfigurationError(
                    f"proxy filter: unknown attribute {attribute!r}; use {', '.join(ATTRIBUTES)}"
                )
            try:
                if isinstance(value, Collection) and not isinstance(value, str):
                    wanted[attribute] = frozenset(map(folded, value))
                else:
                    wanted[attribute] = frozenset((folded(value),))
            except TypeError:
                raise ConfigurationError(
                    f"proxy filter: {attribute} = {value!r} cannot be compared with a proxy's; "
                    "write a text or a list of texts"
                ) from None
        self.key = tuple(sorted((name, tuple(sorted(map(repr, v)))) for name, v in wanted.items()))
        self.text = repr(dict(spec))

        def accepts(proxy: Proxy) -> bool:
            return all(
                not values.isdisjoint(map(folded, proxy.tags))
                if name == "tags"
                else folded(getattr(proxy, name)) in values
                for name, values in wanted.items()
            )

        self._accepts = accepts

    def __and__(self, other: ProxyFilter) -> ProxyFilter:
        """Return the filter that accepts what both accept."""
        if other.key == self.key:
            return self
        both = ProxyFilter(lambda proxy: bool(self(proxy) and other(proxy)))
        both.key = (self.key, other.key)
        both.text = f"{self.text} and {other.text}"
        return both

    def __call__(self, proxy: Proxy) -> bool:
        """Return whether a request may use ``proxy``."""
        return self._accepts(proxy)


def folded(value: object) -> object:
    """Return what an attribute's value is compared by: upper and lower case are the same."""
    return value.casefold() if isinstance(value, str) else value
