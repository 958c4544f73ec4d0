"""The stats writer: the keys that it can write are those that it says, which are the documented ones."""

from __future__ import annotations

import re
from collections import Counter
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from scrapy_proxybalance.core import Outcome, Pool, PoolPolicy, Proxy
from scrapy_proxybalance.core import events as pool_events
from scrapy_proxybalance.reporting.figures import Figures, TargetFigures
from scrapy_proxybalance.reporting.stats import KEYS, PREFIX, StatsWriter

from ..core.helpers import acquire

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = {"gateway": "gate.example:1", "target": "shop.example", "name": "p1"}


class _EveryEvent(Counter[type[pool_events.Event]]):
    def __missing__(self, _: object) -> int:
        return 1


def watched() -> tuple[Any, Figures, dict[str, Any]]:
    """Return a context and figures in which everything has happened, and where stats go."""
    proxies = [Proxy(host="gate.example", port=1, name=f"p{n}", username=f"{n}") for n in (1, 2)]
    pool = Pool(proxies, PoolPolicy(), rng=Random(1))
    figures = Figures(pool)
    written: dict[str, Any] = {}
    context: Any = SimpleNamespace(
        pool=pool,
        clock=lambda: 20.0,
        crawler=SimpleNamespace(
            signals=SimpleNamespace(connect=lambda *_, **__: None),
            stats=SimpleNamespace(set_value=written.__setitem__),
        ),
        retries=SimpleNamespace(budget=SimpleNamespace(let_out=1, seconds_held=lambda _: 1.0)),
        settings=SimpleNamespace(stats_per_proxy=2),
    )
    figures.sample(1.0)
    pool.release(acquire(pool, 1.0), Outcome.GATEWAY_FAULT, 16.0, failure="connect_503")
    figures.events = _EveryEvent()
    figures.sessions_ended["expired"] = 1
    figures.cut_off = figures.rescued = figures.reused = 1
    figures.gateways[NAMES["gateway"]].trips = 1
    proxy = figures.proxies.pop(next(iter(figures.proxies)))
    figures.proxies[NAMES["name"]] = proxy
    proxy.cooldowns = 1
    figures.targets.clear()
    figures.targets[NAMES["target"]] = TargetFigures(
        signals=1, pauses=1, reopened=1, suspended=True, seconds_paused=1.0, held_max=1
    )
    return context, figures, written


def filled_in() -> Iterator[str]:
    """Give every key with what varies filled in."""
    varies = {**NAMES, "outcome": "gateway_fault", "failure": "connect_503", "reason": "expired"}
    for key in KEYS:
        yield PREFIX + re.sub(r"\{(\w+)\}", lambda match: varies[match[1]], key)


def test_when_everything_has_happened_every_key_is_written_and_no_other() -> None:
    context, figures, written = watched()
    StatsWriter(context, figures).write()
    assert sorted(written) == sorted(filled_in())


def test_when_nothing_has_happened_there_is_only_what_there_is() -> None:
    context, _, written = watched()
    context.retries = SimpleNamespace(budget=SimpleNamespace(let_out=0, seconds_held=lambda _: 0.0))
    context.pool = Pool([Proxy(host="a.example", port=1)], PoolPolicy(), rng=Random(1))
    StatsWriter(context, Figures(context.pool)).write()
    assert written == {"proxybalance/proxies": 1}


def test_a_pool_above_the_limit_has_no_keys_of_single_proxies() -> None:
    context, figures, written = watched()
    context.settings.stats_per_proxy = 1
    StatsWriter(context, figures).write()
    every = {key for key in filled_in() if not key.startswith(f"{PREFIX}proxy/")}
    assert set(written) == every
