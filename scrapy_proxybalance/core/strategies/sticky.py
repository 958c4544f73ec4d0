"""By name: the same proxy for the same session or target, in every run."""

from __future__ import annotations

from bisect import bisect_left
from hashlib import blake2s
from math import inf, log
from typing import TYPE_CHECKING

from ..structures.bounded_dict import BoundedDict
from ..structures.index_set import IndexSet
from .strategy import Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .strategy import Pick, View

# A proxy takes no more than this times its even share of what is in flight.
_SPREAD = 1.25
# So many proxies are ranked at once for a key; so many are looked at before any other will do.
_NEIGHBOURS = 128
_LOOKED_AT = 8 * _NEIGHBOURS
# The rankings of so many keys are remembered.
_KEYS = 2_000

_HASHES = 2**64


class _Ranking:
    """How the proxies rank for one key, as far as it had to be found out.

    ``digest`` and ``point``: the key's hashes; ``order``: indices, the best first; ``ranks``: of single
    indices.
    """

    __slots__ = ("digest", "order", "point", "ranks")

    def __init__(self, key: str) -> None:
        self.digest = blake2s(_bytes(key), digest_size=16).digest()
        self.point = _number(self.digest[:8])
        self.order: list[int] = []
        self.ranks: dict[int, float] = {}


class Sticky(Strategy):
    """The proxy that ranks highest for the session, or without one for the target.

    Rendezvous hashing (Thaler and Ravishankar, 1998), with chances in proportion to the weights
    (Schindelhauer and Schomaker, 2005): each key ranks all proxies by hashes of both names, so that a
    proxy that comes or goes moves no keys but its own. In pools of more than 128 proxies a key ranks
    the 128 that follow it on a ring of hashes, and then the next 128, so that a new key costs the same
    in pools of any size.

    Bounded load (Mirrokni, Thorup and Zadimoghaddam, 2018): a proxy with more than 1.25 times its even
    share of what is in flight is passed over, and the next in the ranking takes the request.
    """

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._names: dict[int, bytes] = {}
        self._weights: dict[int, float] = {}
        self._in_flight: dict[int, int] = {}
        self._usable = IndexSet()
        self._usable_weight = 0.0
        # In flight for the weight, of those that may be used.
        self._loads: dict[int, float] = {}
        self._load = 0
        self._ring: list[tuple[int, int]] = []
        self._ring_is_sorted = True
        self._rankings: BoundedDict[str, _Ranking] = BoundedDict(_KEYS)

    def set(
        self, index: int, *, usable: bool, on_trial: bool, weight: float, in_flight: int
    ) -> None:
        """Keep the weight, the load, and whether the proxy may be used."""
        if index not in self._names:
            self._join(index, weight)
        before = self._weights[index]
        if weight != before:
            self._weights[index] = weight
            self._rankings.clear()
            if index in self._usable:
                self._usable_weight += weight - before
        self._load += in_flight - self._in_flight[index]
        self._in_flight[index] = in_flight
        if usable:
            self._loads[index] = in_flight / weight
            if index not in self._usable:
                self._usable.add(index)
                self._usable_weight += weight
        elif index in self._usable:
            self._leave(index)

    def forget(self, index: int) -> None:
        """Forget the proxy."""
        if index not in self._names:
            return
        if index in self._usable:
            self._leave(index)
        self._sort_ring()
        place = bisect_left(self._ring, (_number(self._names.pop(index)[:8]), index))
        del self._ring[place]
        del self._weights[index]
        self._load -= self._in_flight.pop(index)
        self._rankings.clear()

    def pick(self, pick: Pick) -> int | None:
        """Return the highest in the ranking that has room."""
        ranking = self._ranking_of(pick)
        if pick.among is not None:
            return self._pick_among(ranking, pick.among)
        if not self._usable:
            return None
        share = _SPREAD * (self._load + 1) / self._usable_weight
        load, order = self._loads.get, ranking.order
        for index in order:
            if load(index, inf) < share:
                return index
        while len(order) < min(_LOOKED_AT, len(self._ring)):
            more = self._neighbours(ranking, passed=len(order))
            order += more
            for index in more:
                if load(index, inf) < share:
                    return index
        if len(self._usable) <= _LOOKED_AT:
            return self._best(ranking, list(self._usable))
        return self._usable.draw(pick.rng)

    # Who is there

    def _join(self, index: int, weight: float) -> None:
        name = blake2s(_bytes(self._view.proxy(index).name), digest_size=16).digest()
        self._names[index] = name
        self._weights[index] = weight
        self._in_flight[index] = 0
        self._ring.append((_number(name[:8]), index))
        self._ring_is_sorted = False
        self._rankings.clear()

    def _leave(self, index: int) -> None:
        self._usable.discard(index)
        del self._loads[index]
        self._usable_weight = self._usable_weight - self._weights[index] if self._usable else 0.0

    def _sort_ring(self) -> None:
        if not self._ring_is_sorted:
            self._ring.sort()
            self._ring_is_sorted = True

    # How they rank

    def _ranking_of(self, pick: Pick) -> _Ranking:
        key = f"target {pick.target}" if pick.session is None else f"session {pick.session}"
        ranking = self._rankings.get(key)
        if ranking is None:
            ranking = self._rankings[key] = _Ranking(key)
        return ranking

    def _neighbours(self, ranking: _Ranking, *, passed: int) -> list[int]:
        """Return the next of the ring, so many after the key's own place, as they rank."""
        self._sort_ring()
        ring = self._ring
        size = len(ring)
        start = bisect_left(ring, (ranking.point, 0)) + passed
        count = min(_NEIGHBOURS, size - passed)
        neighbours = [ring[place % size][1] for place in range(start, start + count)]
        return sorted(neighbours, key=lambda index: self._rank(ranking, index))

    def _rank(self, ranking: _Ranking, index: int) -> float:
        rank = ranking.ranks.get(index)
        if rank is None:
            digest = blake2s(self._names[index] + ranking.digest, digest_size=8).digest()
            rank = -log((_number(digest) + 0.5) / _HASHES) / self._weights[index]
            if len(ranking.ranks) >= _LOOKED_AT:
                ranking.ranks.clear()
            ranking.ranks[index] = rank
        return rank

    def _pick_among(self, ranking: _Ranking, among: Sequence[int]) -> int | None:
        """Return the best of some; of many, of the first few from the key's own place on."""
        size = len(among)
        start = size * ranking.point // _HASHES if size > _NEIGHBOURS else 0
        for first in range(start, start + size, _NEIGHBOURS):
            places = range(first, min(first + _NEIGHBOURS, start + size))
            drawn = [among[place % size] for place in places]
            usable = [index for index in drawn if index in self._usable]
            if usable:
                return self._best(ranking, usable)
        return None

    def _best(self, ranking: _Ranking, usable: list[int]) -> int:
        """Return the best of some that has no more than its share of what these carry."""
        in_flight, weights = self._in_flight, self._weights
        load = sum(in_flight[index] for index in usable)
        share = _SPREAD * (load + 1) / sum(weights[index] for index in usable)
        free = [index for index in usable if in_flight[index] < share * weights[index]]
        return min(free or usable, key=lambda index: self._rank(ranking, index))


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _number(digest: bytes) -> int:
    return int.from_bytes(digest, "big")
