"""The score: how good a proxy is right now, as a product of five factors that can be shown.

``weight x success x latency x load x cooldown x penalty``; each factor is 1 for a proxy that nothing
is known of and that carries nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .health import HealthState

if TYPE_CHECKING:
    from .health import Health

# However fast or slow a proxy is, its latency moves its share by no more than this.
LATENCY_FACTOR_MIN = 0.1
LATENCY_FACTOR_MAX = 4.0
# A fault halves the share at once; so many in a row are the most that count.
_PENALTY_DEPTH = 4
# What success_rate() gives for a proxy that was never tried.
_PRIOR_SUCCESS_RATE = 0.8


@attrs.frozen(kw_only=True)
class Score:
    """A score and what it is made of.

    :param weight: as configured.
    :param success: success rate in the window, drawn towards a prior, relative to that prior.
    :param latency: the pool's usual latency over the proxy's, between 0.1 and 4.
    :param load: ``1 / (1 + in flight)²``.
    :param cooldown: 0 while it sits out, then doubling from 1/8 to 1 with each success.
    :param penalty: halved by each fault since the last success.
    """

    weight: float
    success: float
    latency: float
    load: float
    cooldown: float
    penalty: float

    @property
    def value(self) -> float:
        """The product."""
        return self.weight * self.success * self.latency * self.load * self.cooldown * self.penalty


def score_value(
    weight: float, health: Health, in_flight: int, usual_latency: float | None
) -> float:
    """Return the score of a proxy that is in service (the hot path: no factor is kept)."""
    value = (
        weight * health.success_rate() / _PRIOR_SUCCESS_RATE * health.recovery * _load(in_flight)
    )
    latency = health.latency
    if latency is not None and usual_latency is not None:
        value *= _latency_factor(latency, usual_latency)
    if health.faults_in_a_row:
        value *= _penalty_factor(health.faults_in_a_row)
    return value


def explain_score(
    weight: float, health: Health, in_flight: int, usual_latency: float | None
) -> Score:
    """Return the score with its factors.

    :param weight: as configured.
    :param health: the proxy's recent past.
    :param in_flight: requests that it carries now.
    :param usual_latency: the pool's, in seconds; ``None`` while unknown.
    """
    known = health.latency is not None and usual_latency is not None
    return Score(
        weight=weight,
        success=health.success_rate() / _PRIOR_SUCCESS_RATE,
        latency=_latency_factor(health.latency or 0.0, usual_latency or 0.0) if known else 1.0,
        load=_load(in_flight),
        cooldown=(
            0.0 if health.state in (HealthState.COOLING, HealthState.OUT) else health.recovery
        ),
        penalty=_penalty_factor(health.faults_in_a_row),
    )


def _load(in_flight: int) -> float:
    # Squared, so that idle proxies come first: a second connection to a busy one costs more than
    # what its better score is worth.
    return 1 / ((1 + in_flight) * (1 + in_flight))


def _latency_factor(latency: float, usual_latency: float) -> float:
    if latency * LATENCY_FACTOR_MAX <= usual_latency:
        return LATENCY_FACTOR_MAX
    return max(LATENCY_FACTOR_MIN, usual_latency / latency)


def _penalty_factor(faults_in_a_row: int) -> float:
    return float(0.5 ** min(faults_in_a_row, _PENALTY_DEPTH))
