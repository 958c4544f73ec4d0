"""The summary at the end of a crawl: who carried what, and how well."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..util.wording import counted
from .pool_view import milliseconds, printable, share
from .scrapy_hooks import on_closed
from .standing import Standing, standing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..core import Pool, ProxySnapshot
    from .figures import Figures, ProxyFigures
    from .observed import ObservedCrawl
    from .scrapy_hooks import Spider

logger = logging.getLogger("scrapy_proxybalance.summary")

# A table for people; a larger pool shows its busiest and sums up the rest.
_ROWS = 30
# So many targets at which proxies rest, and so many of these.
_RESTED, _NAMES = 10, 5


class SummaryLog:
    """Logs the summary when the spider is closed."""

    def __init__(self, context: ObservedCrawl, figures: Figures) -> None:
        self._context = context
        self._figures = figures
        on_closed(context, self.log)

    def log(self, spider: Spider) -> None:
        """Log it."""
        pool, now = self._context.pool, self._context.clock()
        lines = "\n".join(summary_lines(pool, self._figures, now))
        logger.info("Proxy summary:\n%s", lines, extra={"spider": spider})


def summary_lines(pool: Pool, figures: Figures, now: float) -> Iterator[str]:
    """Give the summary line by line.

    :param now: seconds on the pool's clock.
    """
    snapshots = sorted(
        pool.snapshot(now), key=lambda one: -figures.proxies[one.proxy.name].requests
    )
    shown, rest = snapshots[:_ROWS], snapshots[_ROWS:]
    names = [printable(one.proxy.name) for one in shown]
    width = max([len("proxy"), *map(len, names)])
    yield (
        f"{'proxy':<{width}}  {'requests':>8}  {'share':>6}  {'success':>7}  {'p50':>8}  "
        f"{'p95':>8}  {'cooldowns':>9}  state"
    )
    total = figures.requests
    for one, name in zip(shown, names, strict=True):
        yield f"{name:<{width}}  {_row(figures.proxies[one.proxy.name], total)}  {_state(one)}"
    if rest:
        carried = sum(figures.proxies[one.proxy.name].requests for one in rest)
        part = carried / total if total else 0.0
        yield f"and {len(rest)} more, with {counted(carried, 'request')} together ({share(part)})"
    figures.sample(now)
    for name, target in sorted(figures.refusing()):
        suspended = ", suspended" if target.suspended else ""
        yield (
            f"target {name}: requests {target.requests}, refusals {target.signals}, "
            f"pauses {target.pauses} ({target.seconds_paused:.0f} s), held {target.held} "
            f"({target.held_max} at most){suspended}"
        )
    for rested_at, proxies in list(figures.rested.items())[:_RESTED]:
        named = ", ".join(printable(name) for name in sorted(proxies)[:_NAMES])
        more = f" and {len(proxies) - _NAMES} more" if len(proxies) > _NAMES else ""
        yield f"not asked for {printable(rested_at)} for a while: {named}{more}"
    if len(figures.rested) > _RESTED:
        yield f"and so for {counted(len(figures.rested) - _RESTED, 'more target')}"


def _row(figures: ProxyFigures, total: int) -> str:
    part = figures.requests / total if total else 0.0
    return (
        f"{figures.requests:>8}  {share(part):>6}  {share(figures.success_rate):>7}  "
        f"{milliseconds(figures.latency_percentile(50)):>8}  "
        f"{milliseconds(figures.latency_percentile(95)):>8}  {figures.cooldowns:>9}"
    )


def _state(one: ProxySnapshot) -> str:
    state = standing(one)
    if state is Standing.COOLING:
        return f"cooling, {one.cooldown_left:.0f} s left"
    return str(state.value)
