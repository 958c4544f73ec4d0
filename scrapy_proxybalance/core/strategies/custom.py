"""Around a strategy of the user's own: whatever it does wrong, the pool's rules and books stand.

Knows what a strategy must not do; chooses nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from .strategy import Strategy

if TYPE_CHECKING:
    from random import Random

    from .strategy import Pick, View


class CustomStrategy(Strategy):
    """Asks a strategy, and passes on nothing that may not be used.

    An exception while it takes note of something leaves it behind what is true: each later pick then
    fails with that.

    :param kind: its class.
    """

    def __init__(self, kind: type[Strategy], view: View) -> None:
        super().__init__(view)
        self._name = f"{kind.__module__}.{kind.__qualname__}"
        self._strategy = kind(view)
        self._usable: set[int] = set()
        self._failed: Exception | None = None

    def set(
        self, index: int, *, usable: bool, on_trial: bool, weight: float, in_flight: int
    ) -> None:
        """Pass the state on."""
        if usable:
            self._usable.add(index)
        else:
            self._usable.discard(index)
        if self._failed is None:
            try:
                self._strategy.set(
                    index, usable=usable, on_trial=on_trial, weight=weight, in_flight=in_flight
                )
            except Exception as error:
                self._failed = error

    def forget(self, index: int) -> None:
        """Pass on that a proxy is gone."""
        self._usable.discard(index)
        if self._failed is None:
            try:
                self._strategy.forget(index)
            except Exception as error:
                self._failed = error

    def ended(self, index: int, *, now: float, duration: float | None, rng: Random) -> None:
        """Pass on how a request ended."""
        if self._failed is None:
            try:
                self._strategy.ended(index, now=now, duration=duration, rng=rng)
            except Exception as error:
                self._failed = error

    def pick(self, pick: Pick) -> int | None:
        """Return its pick.

        :raises ConfigurationError: for a pick that may not be used, or none where there is one.
        """
        if self._failed is not None:
            raise ConfigurationError(
                f"strategy {self._name} has failed with {self._failed!r}; see its set, forget or ended"
            ) from self._failed
        index, among = self._strategy.pick(pick), pick.among
        if index is None:
            if self._usable if among is None else not self._usable.isdisjoint(among):
                raise ConfigurationError(
                    f"strategy {self._name} picked no proxy, although there is one; its pick has to "
                    "return None only if none is usable"
                )
        elif index not in self._usable or (among is not None and index not in among):
            raise ConfigurationError(
                f"strategy {self._name} picked {index!r}, which may not be used; its pick has to "
                "return an index that was last set usable, and that is in pick.among if that is given"
            )
        return index
