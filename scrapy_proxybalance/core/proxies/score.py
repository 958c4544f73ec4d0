"""The score: how good a proxy is right now, from what a success through it is expected to cost.

``score = weight x recovery x doubt / (cost x load)``, with
``cost = slowness + (1 - p) / p x (lost + 1.5)``: how long a success takes, and for each of the
``(1 - p) / p`` failures that come before one, how long it takes and what repeating it costs. ``p`` is
the probability of success; times are relative to what is usual for the target. Never latency without
success: what fails fast costs a whole attempt that has to be made again.
"""

from __future__ import annotations

from math import exp, sqrt
from typing import TYPE_CHECKING

import attrs

from .differences import USUAL_WEIGHT
from .health import COOLING, OUT

if TYPE_CHECKING:
    from .health import Health
    from .record import Record

# What is known of one proxy is drawn towards what it usually does with the weight of so many attempts;
# that towards what is known of its group; and that towards this. Times are drawn the more, the less
# proxies differ.
_PRIOR_ATTEMPTS = 10.0
_PRIOR_SUCCESSES = 10.0
_PRIOR_FAILURES = 10.0
_PRIOR_LONG_TERM = 6.0
_PRIOR_SUCCESS = 0.8
_PRIOR_SLOWNESS = 1.0
_PRIOR_LOST = 2.0
# Besides the time it takes, a failure costs the attempt that has to be made again elsewhere: so many
# times the usual time.
_ANOTHER_ATTEMPT = 1.5
# One fault may be chance, several since the last success make the next success much less likely: by this
# factor to the power of their square. That fades with a time constant, in seconds, or else nobody would
# ever find out.
_FAULTS_IN_A_ROW = 0.84
_FAULTS_FADE_IN = 60.0
_FAULTS_AT_MOST = 4.0
# What is little known has the benefit of the doubt: so much more, over the root of the outcomes known
# (an upper confidence bound; Auer et al., 2002). Who was unlucky at first would never be asked again.
_DOUBT = 0.5
# At its cap a proxy is taken to be this much slower than idle.
_LOAD_AT_CAP = 1.0


@attrs.define
class Expectation:
    """What to expect of an attempt; times are relative to what is usual for the target.

    :param success: the probability that it succeeds.
    :param slowness: the time that a success takes.
    :param lost: the time that a failure takes.
    :param weight: the weight, in successes, with which a proxy's usual times are drawn towards that.
    """

    success: float = _PRIOR_SUCCESS
    slowness: float = _PRIOR_SLOWNESS
    lost: float = _PRIOR_LOST
    weight: float = USUAL_WEIGHT


def expected(record: Record, prior: Expectation, now: float) -> tuple[float, float, float]:
    """Return what to expect by a record, as the first three values of :class:`Expectation`.

    :param prior: what to expect where nothing is known.
    """
    return _expected(
        record, prior.success, prior.slowness, prior.lost, record.worth(now), _PRIOR_SUCCESSES
    )


def usual_slowness(health: Health, prior: Expectation) -> float:
    """Return how long a success through a proxy usually takes, whatever it has been doing lately."""
    long_term = health.long_term
    own = long_term.successes / (long_term.successes + prior.weight)
    return prior.slowness + own * (long_term.slowness - prior.slowness)


def _expected_of_proxy(
    health: Health, prior: Expectation, worth: float
) -> tuple[float, float, float]:
    """Return what to expect of a proxy by its record, ``worth`` so much, and its long-term means."""
    long_term = health.long_term
    own = long_term.attempts / (long_term.attempts + _PRIOR_LONG_TERM)
    return _expected(
        health.record,
        prior.success + own * (long_term.success - prior.success),
        usual_slowness(health, prior),
        prior.lost,
        worth,
        _PRIOR_SUCCESSES * max(1.0, prior.weight / USUAL_WEIGHT),
    )


def _expected(
    record: Record, success: float, slowness: float, lost: float, worth: float, weight: float
) -> tuple[float, float, float]:
    successes, failures = record.successes * worth, record.failures * worth
    # What was attributed to others counts as carried: left out, it would make the rest look worse.
    carried = successes + record.forgiven * worth
    return (
        (carried + _PRIOR_ATTEMPTS * success) / (carried + failures + _PRIOR_ATTEMPTS),
        (record.slowness * successes + weight * slowness) / (successes + weight),
        (record.lost * worth + _PRIOR_FAILURES * lost) / (failures + _PRIOR_FAILURES),
    )


@attrs.frozen(kw_only=True)
class Score:
    """A score and what it is made of. Times are relative to what is usual for the target.

    :param weight: as configured.
    :param success: the probability that the next attempt succeeds.
    :param slowness: how long a success takes.
    :param lost: how long a failure takes.
    :param cost: the expected time per success.
    :param load: 1 for an idle proxy, 2 for one at its cap.
    :param doubt: above 1, the more the less is known of it.
    :param recovery: 0 during a cooldown, 1/2 after its probe, 1 after the next success.
    :param forgiven: recent failures that were attributed to a target or a gateway.
    """

    weight: float
    success: float
    slowness: float
    lost: float
    cost: float
    load: float
    doubt: float
    recovery: float
    forgiven: float

    @property
    def value(self) -> float:
        """The score."""
        return self.weight * self.recovery * self.doubt / (self.cost * self.load)


def explain_score(
    weight: float, health: Health, prior: Expectation, in_flight: int, cap: int, now: float
) -> Score:
    """Return a proxy's score with what it is made of.

    :param weight: as configured.
    :param health: the proxy's recent past.
    :param prior: what to expect of a proxy of its group that nothing is known of.
    :param in_flight: requests that it carries now.
    :param cap: requests that it may carry.
    :param now: seconds on the pool's clock.
    """
    worth = health.record.worth(now)
    success, slowness, lost = _expected_of_proxy(health, prior, worth)
    success *= _suspicion(health, now)
    return Score(
        weight=weight,
        success=success,
        slowness=slowness,
        lost=lost,
        cost=_cost(success, slowness, lost),
        load=load_factor(in_flight, cap),
        doubt=_doubt(health.record, worth),
        recovery=(0.0 if health.state in (COOLING, OUT) else health.recovery),
        forgiven=health.record.forgiven * worth,
    )


def idle_score(
    weight: float, health: Health, prior: Expectation, now: float
) -> tuple[float, tuple[float, float, float]]:
    """Return the score of a proxy in service that carries nothing, and what to expect of it.

    Parameters as for :func:`explain_score`, the second value as for :func:`expected`.
    """
    record = health.record
    worth = record.worth(now)
    expectation = success, slowness, lost = _expected_of_proxy(health, prior, worth)
    if health.faults_in_a_row:
        success *= _suspicion(health, now)
    cost = _cost(success, slowness, lost)
    return weight * health.recovery * _doubt(record, worth) / cost, expectation


def load_factor(in_flight: int, cap: int) -> float:
    """Return by what a score is divided for the requests that a proxy carries."""
    return 1.0 + _LOAD_AT_CAP * in_flight / cap


def _cost(success: float, slowness: float, lost: float) -> float:
    return slowness + (lost + _ANOTHER_ATTEMPT) * (1.0 - success) / success


def _doubt(record: Record, worth: float) -> float:
    known = (record.successes + record.failures) * worth
    return 1.0 + _DOUBT / sqrt(1.0 + known)


def _suspicion(health: Health, now: float) -> float:
    faults = min(health.faults_in_a_row, _FAULTS_AT_MOST)
    faded = exp((health.last_fault_at - now) / _FAULTS_FADE_IN)
    return float(_FAULTS_IN_A_ROW ** (faults * faults * faded))
