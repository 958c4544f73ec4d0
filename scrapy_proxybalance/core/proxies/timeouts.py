"""How long to wait for a target: a timeout from how long it usually takes, wider where that was wrong.

Knows durations of successes and timeouts, per target. It knows no proxy but by name, sets nothing
and cuts nothing off; what the user's own timeout is comes with each question.

The estimate is a high quantile of a decaying histogram, times a margin::

    timeout = max(floor, 1.75 x p95 x slowness x widening) x 2^cuts x 2^(row // 3)

``slowness`` is the proxy's, 1 to 4; durations are divided by it before they count. ``widening`` is 1 to
64; ``cuts`` is how often the page was cut off; ``row`` how many proxies timed out in a row, 6 at most.

Attempts that were cut off are missing in the histogram, so it cannot see by itself that the timeout
has become too short. Three things tell it: the durations of retries, which may take longer; successes
that an attempt with the estimate would have missed; and timeouts in a row through different proxies,
which are hardly the proxies' doing.
"""

from __future__ import annotations

from array import array
from math import exp, log

from ..structures.bounded_dict import BoundedDict

# A histogram's buckets: each a tenth wider than the one before; from 1 ms to 200 s.
_SHORTEST = 0.001
_STEP = 1.1
_BUCKETS = 128
_PER_STEP = 1 / log(_STEP)
_OFFSET = -log(_SHORTEST) * _PER_STEP
# An observation counts half after 200 further ones, or after 1800 seconds.
_PER_ONE = log(2) / 200
_PER_SECOND = log(2) / 1800
_LARGEST_WEIGHT = 1e12
_MOST_DECAY = 30.0  # so that no number overflows
# Of so many targets a histogram is kept, the youngest: 1 KB each.
_TARGETS = 2000

# The estimate is this quantile, times a margin: of log-normal durations with a sigma of 0.40, 0.63
# and 1.15 it cuts 0.1, 0.5 and 1.7 % off in vain.
_TAIL = 1 - 0.95
_MARGIN = 1.75
# So much evidence it takes: 30 successes, of which the older ones have faded a little.
_MIN_SUCCESSES = 28
# A success that the estimate would have missed widens it; one that it allows takes back a little.
_WIDER = 1.5
_NARROWER = 0.995
_WIDEST = 64.0
# So many timeouts in a row, through as many proxies, double it, for as long as nothing succeeds; but no
# more than so many count. A page that needs longer gets it by its cuts, and while everything hangs, what
# finds out that it is over has to come soon.
_ROW = 3
_ROW_LONGEST = 6
# After an attempt that was cut off the next one gets so much more; after so many it gets everything.
_LADDER = 2.0
_MOST_CUTS = 3
# It allows for no slower proxy, compared with the pool.
_SLOWEST = 4.0


class _Durations:
    """What one target takes."""

    __slots__ = ("above", "counts", "edge", "row", "seen_at", "total", "weight", "widening")

    def __init__(self, now: float) -> None:
        self.counts = array("d", bytes(8 * _BUCKETS))
        self.total = 0.0
        self.weight = 1.0  # of the next observation: to let it grow is to let the others decay
        self.edge = 0  # the bucket that holds the quantile
        self.above = 0.0  # what is in the buckets above it
        self.seen_at = now
        self.widening = 1.0
        self.row: set[str] = set()  # proxies of the timeouts since the last success

    def add(self, seconds: float, now: float) -> None:
        bucket = int(log(seconds) * _PER_STEP + _OFFSET) if seconds > _SHORTEST else 0
        if bucket >= _BUCKETS:
            bucket = _BUCKETS - 1
        counts, edge = self.counts, self.edge
        decay = (now - self.seen_at) * _PER_SECOND + _PER_ONE
        weight = self.weight = self.weight * exp(decay if decay < _MOST_DECAY else _MOST_DECAY)
        self.seen_at = now
        counts[bucket] += weight
        total = self.total = self.total + weight
        above = self.above
        if bucket > edge:
            above += weight
        allowed = _TAIL * total
        while above > allowed and edge < _BUCKETS - 1:
            edge += 1
            above -= counts[edge]
        while edge and above + counts[edge] <= allowed:
            above += counts[edge]
            edge -= 1
        self.above = above
        if edge != self.edge:
            self.edge = edge
        if weight > _LARGEST_WEIGHT:
            self._rescale()

    def _rescale(self) -> None:
        self.counts = array("d", (count / self.weight for count in self.counts))
        self.total = sum(self.counts)
        self.above = sum(self.counts[self.edge + 1 :])
        self.weight = 1.0


# With the margin.
_UPPER_EDGES = [_MARGIN * _SHORTEST * _STEP ** (bucket + 1) for bucket in range(_BUCKETS)]


def slowness_of(expectation: tuple[float, float, float]) -> float:
    """Return how many times slower than others a timeout takes a proxy to be.

    :param expectation: what is to be expected of it, see :func:`expected`.
    """
    return min(_SLOWEST, max(1.0, expectation[1]))


class Timeouts:
    """Learns how long the targets take.

    :param floor: seconds that no suggestion is below.
    """

    def __init__(self, floor: float) -> None:
        self._floor = floor
        self._targets: BoundedDict[str, _Durations] = BoundedDict(_TARGETS)

    def succeeded(self, target: str, seconds: float, now: float, slowness: float = 1.0) -> None:
        """Take note of a success.

        :param seconds: from the request to the last byte of the body.
        :param slowness: how many times slower than others the proxy is; 1 or more.
        """
        durations = self._targets.get(target)
        if durations is None:
            durations = self._targets[target] = _Durations(now)
        elif durations.row:
            durations.row.clear()
        if durations.total >= _MIN_SUCCESSES * durations.weight:
            estimate = _UPPER_EDGES[durations.edge] * durations.widening * slowness
            if seconds > estimate and seconds > self._floor:
                durations.widening = min(_WIDEST, durations.widening * _WIDER)
            elif durations.widening > 1:
                durations.widening = max(1.0, durations.widening * _NARROWER)
        durations.add(seconds / slowness, now)

    def timed_out(self, target: str, proxy: str) -> None:
        """Take note that an attempt was cut off by its timeout, the user's or the plugin's.

        :param proxy: the name of the proxy that it went through.
        """
        durations = self._targets.get(target)
        if durations is not None and len(durations.row) < _ROW_LONGEST:
            durations.row.add(proxy)

    def suggest(
        self, target: str, now: float, *, slowness: float = 1.0, cuts: int = 0
    ) -> float | None:
        """Return how long to wait for an answer, in seconds.

        :param slowness: how many times slower than others the proxy is; 1 or more.
        :param cuts: how often this page has been cut off by a suggestion already.
        :return: ``None`` for as long as it takes: too little is known of the target, or the page has
            been cut off too often.
        """
        durations = self._targets.get(target)
        if durations is None or cuts >= _MOST_CUTS:
            return None
        faded = exp((durations.seen_at - now) * _PER_SECOND)
        if durations.total * faded < _MIN_SUCCESSES * durations.weight:
            return None
        seconds = max(self._floor, _UPPER_EDGES[durations.edge] * durations.widening * slowness)
        if cuts:
            seconds *= _LADDER**cuts
        if durations.row:
            seconds *= 2.0 ** (len(durations.row) // _ROW)
        return seconds
