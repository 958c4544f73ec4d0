"""The public API as a user would call it. Not run: ``.ci/run`` has mypy check it, strictly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy_proxybalance import Outcome, ProxyBalanceMiddleware, ProxyPool, Verdict, classify
from scrapy_proxybalance.core import (
    HealthPolicy,
    NoProxyAvailableError,
    Pick,
    PoolPolicy,
    Proxy,
    Rate,
    Strategy,
    View,
)
from scrapy_proxybalance.core.events import SessionReassigned

from .core.helpers import acquire

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response

    from scrapy_proxybalance.core import Attempt, Score


def fetch_without_scrapy() -> str:
    """Attempt, release, change and look at a pool."""
    policy = PoolPolicy(max_in_flight=2, rate=Rate.parse("30/min"), health=HealthPolicy(cooldown=5))
    pool = ProxyPool(
        ["http://a:1", {"url": "http://b:2", "country": "de"}, Proxy(host="c", port=3)], policy
    )
    with pool.attempt(target="shop.example", proxy_filter={"country": "de"}) as attempt:
        url: str = attempt.proxy.url
    try:
        second: Attempt = acquire(pool, session="login", avoid=["a:1"])
    except NoProxyAvailableError as held:
        retry_at: float | None = held.retry_at
        return f"{url} {retry_at}"
    ended: bool = pool.release(second, Outcome.PROXY_FAULT, failure="refused")
    score: Score = pool.core.explain(second.proxy.name, 0.0)
    return f"{ended} {score.value:.2f} {score.success}"


class CheapestFirst(Strategy):
    """A strategy of one's own."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self.usable: dict[int, bool] = {}

    def set(
        self, index: int, *, usable: bool, on_trial: bool, weight: float, in_flight: int
    ) -> None:
        """Take note of a proxy's state."""
        self.usable[index] = usable and not on_trial and in_flight < weight

    def pick(self, pick: Pick) -> int | None:
        """Return the cheapest."""
        candidates = self.usable if pick.among is None else pick.among
        usable = [index for index in candidates if self.usable[index]]
        return min(usable, key=lambda index: self.cost(index, pick.now), default=None)

    def cost(self, index: int, now: float) -> tuple[int, float]:
        """Return what a request through a proxy costs."""
        return self._view.proxy(index).tier or 9, -self._view.score(index, now)


def fetch_by_a_strategy() -> str:
    """Name strategies, and pass classes of one's own."""
    pool = ProxyPool(["http://a:1"], PoolPolicy(strategy=CheapestFirst))
    with pool.attempt(strategy="round_robin") as attempt:
        acquire(pool.core, 0.0, strategy=CheapestFirst)
        return attempt.proxy.name


async def fetch_when_free() -> str:
    """Wait for a proxy."""
    async with ProxyPool(["http://a:1"]).lease_when_free(timeout=3) as attempt:
        return attempt.proxy.name


def my_classifier(request: Request, result: Response | Exception) -> Verdict | None:
    """Decide on one case, leave the others alone."""
    if not isinstance(result, Exception) and result.status == 418:
        return Verdict(outcome=Outcome.TARGET_SIGNAL, failure="teapot", retry_after=60)
    return classify(request, result)


def watch(crawler: Crawler) -> None:
    """Subscribe to an event."""
    middleware = crawler.get_downloader_middleware(ProxyBalanceMiddleware)
    if middleware is not None:
        middleware.context.pool.events.subscribe(moved, SessionReassigned)


def moved(event: SessionReassigned) -> None:
    """Take note of a session that has moved."""
    print(event.session, event.lost, event.proxy.name)
