"""How many requests may be in flight through one gateway: a fixed number, or one that is learned.

Arithmetic on what the caller passes in. It knows no proxies, holds nothing and sends nothing; what a
gateway that answers nothing at all means is the breaker's business.
"""

from __future__ import annotations

from math import exp, log, sqrt

import attrs

from ..errors import ConfigurationError

# After a rejection the limit is so much of what it was, and at least one less. Then it grows by so much
# per round trip, but no more than such a part of it, near the level of the last rejection and the more
# the farther it is from there: by so many times that, at least and at most.
_CUT = 0.9
# When most of what ended since the last cut was rejected, of so many at least, it is cut further.
_FAR_CUT, _ROUND_MIN = 0.7, 10
_GROWTH, _GROWTH_MAX = 4.0, 0.1
_SLOWEST, _FASTEST = 0.5, 32.0
# As far from the last ceiling as a cut goes, the growth is what it says; CUBIC's shape: the slope of
# a cubic, as a function of the distance.
_SHAPE = 2.0 / 3.0
# What the limit begins with after an outage: such a part of what it was before, and so much at least.
_RESTART_SHARE, _RESTART = 0.1, 4.0

# Latency, relative to the least that each target has had: above the first the limit stops growing,
# above the second it is cut, to no less than the third of it.
_NO_GROWTH, _TOO_SLOW, _DEEPEST_CUT = 1.5, 2.0, 0.6
# Rounds at a latency between the two, after which a smaller limit tries whose doing that is.
_PATIENCE = 10
_TRIAL_CUT = 0.8
# Once the limit has come down to such a part, latency that is still at such a part is not its doing.
_PROOF, _UNMOVED = 0.65, 0.85
# The latency of a target is a moving average (of logarithms), and counts after so many answers.
_SMOOTHING, _KNOWN = 0.02, 100
# Of what goes out after a change, the quick answers come back first. So answers do not count for so many
# times the usual latency after one.
_SETTLES = 3.0
# The least that a target has had comes up again over so many answers: noise leaves it too low.
_LEAST_RISES_IN = 5000.0
_TARGETS = 256
# All targets of which little is known count as this one: a broad crawl may have no others.
_OTHERS = ""
_SAMPLES_MIN, _SAMPLES_MAX = 30, 101

# The load does not cause rejections below the last ceiling: so many leases are remembered.
_NOISE_MEMORY, _NOISE_PRIOR = 200.0, 20.0
_BELOW_CEILING = 0.95
_NOISE_MAX = 0.4
# The CUSUM test: so many rejections more than usual are enough, and the more the more are usual.
_ENOUGH, _ENOUGH_PER_NOISE, _ALLOWED = 1.0, 15.0, 0.02
_MUCH_NOISE, _DEEP_CUT, _CHECK = 0.05, 0.5, 30


@attrs.frozen(kw_only=True)
class GatewayPolicy:
    """How many requests a gateway may carry, and how it works.

    :param max_in_flight: a fixed limit, in requests at once; ``None`` to learn the limit.
    :param start: what a learned limit begins with.
    :param adaptive_max: what a learned limit never exceeds.
    :param rotating: whether each new connection has another exit: then none is preferred for being warm.
    """

    max_in_flight: int | None = None
    start: int = 20
    adaptive_max: int = 1000
    rotating: bool = False

    def __attrs_post_init__(self) -> None:
        for name in ("max_in_flight", "start", "adaptive_max"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"gateway: {name} {value!r} is below 1")


class _TargetLatency:
    """The latency of one target, as logarithms: of late, and the least that it ever was."""

    __slots__ = ("_answers", "_began_at", "known", "least", "recent")

    def __init__(self, latency: float, now: float) -> None:
        self.recent = self.least = latency
        #: Whether enough is known of it to compare with.
        self.known = False
        self._answers = 1
        self._began_at = now

    def settled(self, since: float, now: float) -> bool:
        """Return whether the slow answers, too, have had the time to come since some moment."""
        return now >= since + _SETTLES * exp(self.recent)

    def add(self, latency: float, now: float) -> None:
        """Take note of an answer."""
        self._answers += 1
        self.least += (self.recent - self.least) / _LEAST_RISES_IN
        self.recent += max(_SMOOTHING, 1.0 / self._answers) * (latency - self.recent)
        if not self.known:
            self.known = self._answers > _KNOWN and self.settled(self._began_at, now)
            self.least = self.recent
        elif self.recent < self.least:
            self.least = self.recent


class GatewayLimit:
    """A limit on the requests in flight through one gateway.

    A learned one goes up and down as TCP's congestion window does (additive increase, multiplicative
    decrease: Chiu and Jain, 1989; Netflix's concurrency-limits applies it to requests):

    - It begins with ``start`` and grows by 1 with each answer, so it doubles every round trip, until
      the first cut (slow start, RFC 5681).
    - From then on it grows by ``4 / limit`` with each answer, or 4 per round trip, in the shape of
      CUBIC (RFC 9438): slower near the level at which it was last cut, faster far from it.
    - It grows only while it is used: by half at least, in the last round trip (RFC 7661).
    - A rejection cuts it to 0.9, or to 0.7 when most requests since the last cut were rejected, at most
      once per round trip: rejections of what was granted before the last cut do not count. Nor do as
      many as came before below the level of the last cut: they have another cause than the load, such
      as dead exits (a CUSUM test, Page, 1954).
    - When answers take longer than 1.5 times the least that their target ever took, by the median of
      a round trip, it stops growing, and beyond twice that it is cut (as TCP Vegas does; Brakmo and
      Peterson, 1995). If smaller limits do not make answers faster, the load was not the cause: then
      what is usual is learned again.

    A fixed limit stays what it is, but for the time after an outage.

    :param policy: fixed or learned, and its bounds.
    """

    __slots__ = (
        "_attempts_below",
        "_ceiling",
        "_changed_at",
        "_checked",
        "_checked_rejected",
        "_checking",
        "_compares",
        "_cut_at",
        "_cut_ended",
        "_cut_rejected",
        "_excess",
        "_harmless",
        "_latencies",
        "_patience",
        "_policy",
        "_ratio_before",
        "_rejected_below",
        "_restore",
        "_samples",
        "_slow_start",
        "_slow_start_until",
        "_slowed",
        "_trial",
        "_used_at",
        "in_flight",
        "limit",
    )

    def __init__(self, policy: GatewayPolicy) -> None:
        self._policy = policy
        self.in_flight = 0
        #: As it is now; the whole requests of it count.
        fixed = policy.max_in_flight
        self.limit = float(min(policy.start, policy.adaptive_max) if fixed is None else fixed)
        self._slow_start = fixed is None
        self._slow_start_until = float("inf")
        self._ceiling = self.limit
        self._cut_ended = self._cut_rejected = 0  # requests since the last cut
        self._harmless = 0.0  # in flight: the load does not cause rejections below that
        self._cut_at = float("-inf")
        self._changed_at = float("-inf")
        self._attempts_below = 0.0
        self._rejected_below = 0.0
        self._excess = 0.0
        self._checking = False
        self._checked = self._checked_rejected = 0
        self._compares = False  # latencies, with what is usual
        self._used_at = float("-inf")
        self._latencies: dict[str, _TargetLatency] = {}
        self._samples: list[float] = []
        self._slowed = False
        self._patience = _PATIENCE
        # A trial: how many cuts because of latency in a row, what the latency was before the first, and
        # the limit that it began with.
        self._trial = 0
        self._ratio_before = 1.0
        self._restore = 0.0

    @property
    def room(self) -> int:
        """How many more requests may go."""
        return int(self.limit) - self.in_flight

    @property
    def hard_cap(self) -> int:
        """What the limit never exceeds."""
        fixed = self._policy.max_in_flight
        return self._policy.adaptive_max if fixed is None else fixed

    def granted(self) -> None:
        """Count a request that goes."""
        self.in_flight += 1
        if self.in_flight <= self._harmless:
            # At the beginning, because rejections come back sooner than answers.
            if self._attempts_below >= _NOISE_MEMORY:
                keep = 1.0 - 1.0 / _NOISE_MEMORY
                self._attempts_below *= keep
                self._rejected_below *= keep
            self._attempts_below += 1.0

    def answered(self, started_at: float, latency: float | None, target: str, now: float) -> None:
        """Learn from a request that was answered; call it before the request is taken out of flight.

        :param started_at: when it was sent.
        :param latency: seconds to the response's headers, if known.
        :param target: what it went to.
        """
        if 2 * self.in_flight >= self.limit:
            self._used_at = now
        if self._policy.max_in_flight is None:
            self._cut_ended += 1
            if self._checking or self._excess:
                self._attempted(started_at, rejected=False)
            if latency is not None:
                self._judge_latency(started_at, latency, target, now)
                if not self._compares and self.limit >= 2 * self._policy.start:
                    return  # what is usual is not to be learned from an overload
            if self._slowed or self._checking:
                return
        elif not self._slow_start:
            return
        if self._used_at < started_at:
            return
        if not self._slow_start:
            self.limit += min(_GROWTH, _GROWTH_MAX * self.limit) * self._pace() / self.limit
        else:
            self.limit += 1.0
            if self.limit >= self._slow_start_until:
                self.limit = self._slow_start_until
                self._slow_start = False
        self.limit = min(self.limit, float(self.hard_cap))

    def rejected(self, started_at: float, now: float) -> bool:
        """Learn from a request that the gateway rejected; return whether the load is to blame.

        It is if the limit is cut for it, or has been since the request went.
        """
        if self._policy.max_in_flight is not None:
            return False
        self._attempted(started_at, rejected=True)
        self._cut_ended += 1
        self._cut_rejected += 1
        if started_at < self._cut_at:
            return True
        # As many rejections as usual change nothing; the more are usual, the more it takes to tell.
        noise = self._noise
        if self._excess < _ENOUGH + _ENOUGH_PER_NOISE * sqrt(noise):
            return False
        # Where many seem usual, a deep cut finds out whether they are.
        self._checking = noise > _MUCH_NOISE
        far_above = self._cut_ended >= _ROUND_MIN and 2 * self._cut_rejected > self._cut_ended
        part = _DEEP_CUT if self._checking else _FAR_CUT if far_above else _CUT
        self._cut(part, now)
        return True

    def restart(self, sustained: float, now: float) -> None:
        """Begin low and double every round trip, up to the limit before: an outage is over.

        :param sustained: the limit before the outage.
        """
        self._changed_at = now
        self._ceiling = self._slow_start_until = min(sustained, float(self.hard_cap))
        self.limit = min(max(_RESTART, _RESTART_SHARE * self._ceiling), self._ceiling)
        self._slow_start = self.limit < self._ceiling
        self._excess = self._rejected_below = 0.0
        self._forget_round()

    @property
    def restarting(self) -> bool:
        """Whether it is still below the limit before an outage."""
        return self._slow_start and self._slow_start_until < float("inf")

    @property
    def sustained(self) -> float:
        """The limit, or what it was before the outage that it has not grown back from."""
        return self._slow_start_until if self.restarting else self.limit

    # Rejections

    @property
    def _noise(self) -> float:
        """The share of rejections that come whatever the load is."""
        share = self._rejected_below / (self._attempts_below + _NOISE_PRIOR)
        return share if share <= _NOISE_MAX else 0.0  # where most are rejected, it is the load

    def _attempted(self, started_at: float, *, rejected: bool) -> None:
        if started_at >= self._cut_at and self.in_flight <= self._harmless:
            self._rejected_below += rejected
            if self._checking:
                self._checked += 1
                self._checked_rejected += rejected
                if self._checked >= _CHECK:
                    self._end_check()
        if rejected or self._excess:
            usual = self._noise
            self._excess = max(
                0.0, self._excess + rejected - max(_ALLOWED, min(2.0 * usual, 0.5 + usual / 2.0))
            )

    def _end_check(self) -> None:
        """Judge the rejections after a deep cut: whether they are the load's after all."""
        share = self._checked_rejected / self._checked
        self._checking = False
        if share < self._noise / 2.0:
            self._rejected_below = share * self._attempts_below
        elif share < _NOISE_MAX:
            self.limit = max(self.limit, self._ceiling)

    def _cut(self, part: float, now: float) -> None:
        self._slow_start = False
        self._ceiling = self.limit
        self.limit = max(1.0, min(part * self.limit, int(self.limit) - 1.0))
        self._cut_ended = self._cut_rejected = 0
        self._harmless = self.limit if self._checking else _BELOW_CEILING * self._ceiling
        self._cut_at = self._changed_at = now
        self._excess = 0.0
        self._checked = self._checked_rejected = 0
        self._samples.clear()

    def _pace(self) -> float:
        distance = abs(self.limit - self._ceiling) / (1.0 - _CUT) / self._ceiling
        shape: float = distance**_SHAPE
        return min(_FASTEST, max(_SLOWEST, shape))

    # Latency

    def _judge_latency(self, started_at: float, latency: float, target: str, now: float) -> None:
        logarithm = log(max(latency, 1e-6))
        known = self._note_latency(target, logarithm, now)
        if not known.known:
            known = self._note_latency(_OTHERS, logarithm, now)
        settled = known.settled(self._changed_at, now)
        self._compares = self._compares or known.known
        if not settled or not known.known or started_at < self._cut_at:
            return
        samples = self._samples
        samples.append(logarithm - known.least)
        if len(samples) >= min(_SAMPLES_MAX, max(_SAMPLES_MIN, self.in_flight)):
            ratio = exp(sorted(samples)[len(samples) // 2])
            samples.clear()
            self._end_round(ratio, now)

    def _note_latency(self, target: str, logarithm: float, now: float) -> _TargetLatency:
        latencies = self._latencies
        known = latencies.get(target)
        if known is None:
            if len(latencies) >= _TARGETS:
                oldest = next(name for name in latencies if name != _OTHERS)
                del latencies[oldest]
            known = latencies[target] = _TargetLatency(logarithm, now)
        elif not known.known or known.settled(self._changed_at, now):
            known.add(logarithm, now)
        return known

    def _end_round(self, ratio: float, now: float) -> None:
        if self._trial and ratio > _NO_GROWTH and self.limit <= _PROOF * self._restore:
            if ratio > _UNMOVED * self._ratio_before:
                self._learn_latency_anew()
                return
            self._trial = 0
        if ratio <= _NO_GROWTH:
            self._forget_round()
            return
        self._slowed = True
        self._slow_start = False
        if ratio > _TOO_SLOW:
            self._begin_trial(ratio)
            self._cut(max(_DEEPEST_CUT, _CUT * _TOO_SLOW / ratio), now)
            return
        self._patience -= 1
        if self._patience <= 0 or self._trial:
            self._patience = _PATIENCE
            self._begin_trial(ratio)
            self._cut(_TRIAL_CUT, now)

    def _begin_trial(self, ratio: float) -> None:
        if not self._trial:
            self._ratio_before = ratio
            self._restore = self.limit
        self._trial += 1

    def _learn_latency_anew(self) -> None:
        self.limit = self._restore
        for known in self._latencies.values():
            known.least = known.recent
        self._forget_round()

    def _forget_round(self) -> None:
        self._samples.clear()
        self._slowed = False
        self._patience = _PATIENCE
        self._trial = 0
