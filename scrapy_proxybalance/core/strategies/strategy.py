"""What a strategy is: it gets every proxy's state, and picks one when asked.

A strategy knows proxies by index, and nothing of caps, rates, cooldowns, sessions or filters: its
caller handles these. It has no clock and no randomness of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from ..proxies.proxy import Proxy


class View(Protocol):
    """What a strategy may ask about a proxy."""

    def score(self, index: int, now: float) -> float:
        """Return how good a proxy is right now; more is better."""

    def scores(self, indices: Sequence[int], now: float) -> list[float]:
        """Return the scores of several proxies."""

    def proxy(self, index: int) -> Proxy:
        """Return a proxy: its name, which is the same in every run, and its attributes."""


@attrs.define
class Pick:
    """One request for a proxy.

    :param now: seconds on the pool's clock.
    :param rng: the source of randomness.
    :param target: what the request goes to.
    :param session: the request's session, if it has one.
    :param among: the indices to choose from, ``None`` for all; some of them may not be usable.
    :param warm: the indices of a few that have an idle connection to where the request goes, the longest
        unused first; each of them may be used, and has not had more than its part.
    """

    now: float
    rng: Random
    target: str = ""
    session: str | None = None
    among: Sequence[int] | None = None
    warm: Sequence[int] = ()


class Strategy(ABC):
    """Chooses among proxies.

    :param view: answers questions about them.
    """

    def __init__(self, view: View) -> None:
        self._view = view

    @abstractmethod
    def set(
        self, index: int, *, usable: bool, on_trial: bool, weight: float, in_flight: int
    ) -> None:
        """Take note of a proxy's state.

        :param usable: whether it may be picked.
        :param on_trial: whether it is on its way back after a cooldown.
        :param weight: as configured; above 0.
        :param in_flight: requests that it carries.
        """

    @abstractmethod
    def pick(self, pick: Pick) -> int | None:
        """Return the index of the proxy to use next, or ``None`` if none may be used."""

    def forget(self, index: int) -> None:
        """Take note that a proxy is gone and that its index may be given to another one."""
        self.set(index, usable=False, on_trial=False, weight=1.0, in_flight=0)

    def ended(self, index: int, *, now: float, duration: float | None, rng: Random) -> None:
        """Take note that a request through a proxy has ended, and what it taught has been learned.

        It is not told of what says nothing of the proxy, such as a refusal of the target's or a failure
        that was most likely not the proxy's fault.

        :param duration: seconds that the answer took; ``None`` if the proxy has failed.
        """
        return
