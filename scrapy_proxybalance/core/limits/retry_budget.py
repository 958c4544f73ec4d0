"""How many retries a pool bears, and how long each waits first: so that no storm of them keeps it sick.

Pure arithmetic on times, counts and a draw: knows no request, no proxy and no target.
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

# What is lent for a request that was sent fades over so many seconds: Finagle's window.
_MEMORY = 10.0
# The floor may be saved up for so many seconds.
_SAVED = 1.0
# Each retry goes through another proxy: its wait is to part what has failed together, and it is not the
# backoff of a client that has one server to go to. A sick pool is spared by the budget.
_LONGEST_DELAYS = 8
# What rounding may take from a whole.
_ROUNDING = 1e-9


class RetryBudget:
    """A share of the requests sent in the last ten seconds or so, plus so many per second.

    The idea is Finagle's ``RetryBudget`` (https://twitter.github.io/finagle/guide/Clients.html#retries):
    where each request may be retried some times, a pool that fails gets as many times its traffic just
    when it can carry the least; a budget for all of them together bounds that. Two differences. What was
    earned fades evenly instead of lapsing with its slice of a window. And a retry that gets its
    answer is given back: only those that fail are charged, because a crawl, other than a
    client of a service, has to send everything in the end, and in its last minutes there is nothing
    but retries.

    So of any span of time, counting from the start: failed retries, and those under
    way, are no more than ``share`` for each request sent, ``floor`` for each second, and what can
    be saved up: one second's ``floor``, or 1 if that is less.

    :param share: retries per request that is sent, 0 for none.
    :param floor: retries per second that are always allowed, above 0.
    :param now: in seconds, as everywhere; it never goes back.
    """

    def __init__(self, *, share: float, floor: float, now: float) -> None:
        self._share = share
        self._floor = floor
        self._at_most = max(1.0, floor * _SAVED)
        self._saved = self._at_most
        self._earned = 0.0
        self._now = now
        #: How many retries went.
        self.let_out = 0
        self._seconds_held = 0.0
        self._held_since: float | None = None

    def sent(self, now: float) -> None:
        """Take note of a request that is sent and is no retry."""
        self._advance(now)
        self._earned += self._share

    def room(self, now: float) -> int:
        """Return how many retries may go now. To be asked only if there is one that would go."""
        self._advance(now)
        room = max(0, int(self._earned + self._saved + _ROUNDING))
        if room:
            self._seconds_held, self._held_since = self.seconds_held(now), None
        elif self._held_since is None:
            self._held_since = now
        return room

    def seconds_held(self, now: float) -> float:
        """Return for how long, in all, there were retries that only the budget held back."""
        so_far = 0.0 if self._held_since is None else now - self._held_since
        return self._seconds_held + so_far

    def ready_at(self, now: float) -> float:
        """Return from when on a retry may go, even if nothing else is sent before."""
        self._advance(now)
        if self._earned + self._saved + _ROUNDING >= 1.0:
            return now
        # What was earned fades, and is left out: it would make this sooner by a fraction of a second.
        return now + (1.0 - min(self._saved, 1.0)) / self._floor

    def take(self, now: float) -> None:
        """Charge a retry that goes. One for which there was no room is paid back before the next."""
        self._advance(now)
        self.let_out += 1
        earned = min(self._earned, 1.0)
        self._earned -= earned
        self._saved -= 1.0 - earned

    def give_back(self, now: float) -> None:
        """Take note that a retry that was charged has got its answer."""
        self._advance(now)
        saved = min(1.0, self._at_most - self._saved)  # which does not fade
        self._saved += saved
        self._earned += 1.0 - saved

    def _advance(self, now: float) -> None:
        passed = now - self._now
        if passed > 0:
            self._now = now
            self._earned *= exp(-passed / _MEMORY)
            self._saved = min(self._at_most, self._saved + self._floor * passed)


def full_jitter(retry: int, base: float, rng: Random) -> float:
    """Return how many seconds to wait before a retry: anything from 0 to ``base``, doubled each time.

    "Full jitter" of M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: of what
    has failed together, the least comes back together. No wait is longer than 8 times ``base``.

    :param retry: which one, from 1 on.
    :param base: in seconds; 0 for no wait.
    """
    longest = base * min(2.0 ** min(retry - 1, 64), _LONGEST_DELAYS)
    return rng.uniform(0.0, longest)


def equal_jitter(retry: int, base: float, rng: Random) -> float:
    """Return how many seconds to wait: as :func:`full_jitter`, but at least half of the longest wait.

    "Equal jitter" of the same article, for what must not come back at once.

    :param retry: which one, from 1 on.
    :param base: in seconds; 0 for no wait.
    """
    longest = base * min(2.0 ** min(retry - 1, 64), _LONGEST_DELAYS)
    return rng.uniform(longest / 2.0, longest)
