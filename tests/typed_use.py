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
    Want,
)
from scrapy_proxybalance.core.events import SessionReassigned

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response

    from scrapy_proxybalance.core import Attempt, Followup, Score


def fetch_without_scrapy() -> str:
    """Start, end, change and look at a pool."""
    policy = PoolPolicy(max_in_flight=2, rate=Rate.parse("30/min"), health=HealthPolicy(cooldown=5))
    pool = ProxyPool(
        ["http://a:1", {"url": "http://b:2", "country": "de"}, Proxy(host="c", port=3)], policy
    )
    page = pool.page("http://shop.example/", proxy_filter={"country": "de"})
    try:
        attempt: Attempt = page.acquire_nowait()
    except NoProxyAvailableError as held:
        retry_at: float | None = held.retry_at
        return f"{retry_at}"
    url: str = attempt.proxy.url
    followup: Followup = page.answered(200, {"Content-Type": "text/html"}, b"a page")
    score: Score = pool.core.explain(attempt.proxy.name, 0.0)
    return f"{url} {followup.sends_again} {score.value:.2f} {score.success}"


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
    pool.dispatcher.start(Want(target="shop.example", strategy=CheapestFirst), 0.0)
    return pool.page("http://shop.example/", strategy="round_robin").acquire_nowait().proxy.name


async def fetch_when_free() -> str:
    """Wait for a proxy."""
    page = ProxyPool(["http://a:1"]).page("http://shop.example/")
    return (await page.acquire(timeout=3)).proxy.name


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
