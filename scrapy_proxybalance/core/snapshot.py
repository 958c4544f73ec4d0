"""What can be seen of a proxy at one moment: its score, explained, and its snapshot.

Reads what others keep; changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import attrs

from .proxies.health import HealthState
from .proxies.score import explain_score

if TYPE_CHECKING:
    from .proxies.proxy import Proxy
    from .proxies.score import Score
    from .proxies.table import Node


class ProxyOverview(NamedTuple):
    """The state of one proxy at one moment, cheap to compute.

    ``answered``: whether an answer of a target's, other than a refusal, has ever come back through it;
    ``reachable``: whether no outage cuts it off, of its gateway or of the whole pool.
    """

    proxy: Proxy
    state: HealthState
    draining: bool
    answered: bool
    reachable: bool
    in_flight: int


@attrs.frozen(kw_only=True)
class ProxySnapshot:
    """One proxy at one moment.

    ``answered`` and ``reachable`` as in a :class:`ProxyOverview`.

    ``success_rate``: expected of the next attempt, 0 to 1; ``outcomes``: that this rests on, those of
    long ago counting less; ``duration``: expected of the next success, in seconds, ``None`` if no
    success is known; ``cooldown_left``: seconds until it is asked again, also for one that is out.
    """

    proxy: Proxy
    state: HealthState
    draining: bool
    answered: bool
    reachable: bool
    in_flight: int
    max_in_flight: int
    score: float
    success_rate: float
    outcomes: float
    duration: float | None
    cooldowns: int
    cooldown_left: float
    sessions: int


def explain(node: Node, now: float) -> Score:
    """Return a node's score with what it is made of."""
    return explain_score(
        node.proxy.weight,
        node.health,
        node.group.expectation,
        node.in_flight,
        node.cap,
        now,
    )


def snapshot(
    node: Node, now: float, *, usual: float | None, sessions: int, reachable: bool
) -> ProxySnapshot:
    """Return a node as it is at this moment.

    :param usual: the usual seconds per answer, whatever the target; ``None`` while not known.
    :param sessions: how many are on it.
    :param reachable: whether no outage cuts it off.
    """
    health, score = node.health, explain(node, now)
    record, worth = health.record, health.record.worth(now)
    resting = health.state in (HealthState.COOLING, HealthState.OUT)
    return ProxySnapshot(
        proxy=node.proxy,
        state=health.state,
        draining=node.draining,
        answered=node.useful,
        reachable=reachable,
        in_flight=node.in_flight,
        max_in_flight=node.cap,
        score=score.value,
        success_rate=score.success,
        outcomes=worth * (record.successes + record.failures + record.forgiven),
        duration=score.slowness * usual if usual and record.successes else None,
        cooldowns=health.cooldowns,
        cooldown_left=max(0.0, health.cooldown_until - now) if resting else 0.0,
        sessions=sessions,
    )
