"""Timeouts from how long targets take: close to what is usual, and never for long too close."""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core import ConfigurationError, Outcome, PoolPolicy
from scrapy_proxybalance.core.proxies.timeouts import Timeouts

from .helpers import acquire, carry, make_pool, proxies

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy_proxybalance.core import Attempt, Pool

SITE = "site.test"
FLOOR = 0.1
OWN = 180.0


def log_normal(rng: Random, median: float, sigma: float = 0.63) -> float:
    return median * rng.lognormvariate(0, sigma)


def learned(seconds: list[float], target: str = SITE) -> Timeouts:
    timeouts = Timeouts(FLOOR)
    for number, duration in enumerate(seconds):
        timeouts.succeeded(target, duration, float(number))
    return timeouts


def suggested(timeouts: Timeouts, now: float = 100.0, **question: float) -> float:
    seconds = timeouts.suggest(SITE, now, **question)  # type: ignore[arg-type]
    assert seconds is not None
    return seconds


def test_a_target_of_which_little_is_known_gets_no_suggestion() -> None:
    assert Timeouts(FLOOR).suggest(SITE, 0.0) is None
    assert learned([1.0] * 29).suggest(SITE, 29.0) is None
    assert learned([1.0] * 30).suggest(SITE, 30.0) is not None
    assert learned([1.0] * 40).suggest("other.test", 40.0) is None


def test_what_is_known_fades() -> None:
    timeouts = learned([1.0] * 40)
    assert timeouts.suggest(SITE, 40.0) is not None
    assert timeouts.suggest(SITE, 40.0 + 3600) is None


def test_however_long_it_goes_on_no_number_gets_too_large() -> None:
    timeouts = Timeouts(FLOOR)
    for number in range(100):
        timeouts.succeeded(SITE, 50.0, number * 1e9)
    for number in range(100):
        timeouts.succeeded(SITE, 1.0, 1e11 + number)
    assert 1.0 < suggested(timeouts, 1e11 + 100) < 3.0


@pytest.mark.parametrize("sigma", [0.40, 0.63, 1.15])
@pytest.mark.parametrize("median", [0.2, 2.0])
def test_it_cuts_few_successes_off_and_hangs_soon(median: float, sigma: float) -> None:
    rng = Random(7)
    timeouts = learned([log_normal(rng, median, sigma) for _ in range(1000)])
    timeout = suggested(timeouts, 1000.0)
    fresh = [log_normal(rng, median, sigma) for _ in range(5000)]
    assert sum(duration > timeout for duration in fresh) <= 0.02 * len(fresh)
    assert timeout < 16 * median


def test_it_is_never_below_the_floor() -> None:
    timeouts = Timeouts(5.0)
    for now in range(40):
        timeouts.succeeded(SITE, 0.01, float(now))
    assert timeouts.suggest(SITE, 40.0) == 5.0


def test_each_cut_gives_more_time_and_after_three_there_is_no_limit() -> None:
    timeouts = learned([1.0] * 40)
    first, second, third = (suggested(timeouts, cuts=cuts) for cuts in (0, 1, 2))
    assert first < second < third
    assert timeouts.suggest(SITE, 100.0, cuts=3) is None


def test_a_slow_proxy_gets_more_time_and_does_not_spoil_what_the_others_get() -> None:
    timeouts = learned([1.0] * 40)
    usual = suggested(timeouts)
    assert suggested(timeouts, slowness=3.0) == pytest.approx(3 * usual)
    for now in range(40, 200):
        timeouts.succeeded(SITE, 3.0, float(now), slowness=3.0)
    assert suggested(timeouts, 200.0) == pytest.approx(usual)


def test_timeouts_in_a_row_widen_it_only_through_different_proxies_and_not_for_good() -> None:
    timeouts = learned([1.0] * 40)
    usual = suggested(timeouts)
    for _ in range(20):
        timeouts.timed_out(SITE, "dead")
    assert suggested(timeouts) == usual
    for name in ("b", "c"):
        timeouts.timed_out(SITE, name)
    assert suggested(timeouts) == 2 * usual
    for name in ("d", "e", "f"):
        timeouts.timed_out(SITE, name)
    assert suggested(timeouts) == 4 * usual
    timeouts.succeeded(SITE, 1.0, 100.0)
    assert suggested(timeouts) == usual


def test_a_success_that_it_would_have_missed_widens_it_for_a_while() -> None:
    timeouts = learned([1.0] * 200)
    usual = suggested(timeouts, 200.0)
    for now in (201.0, 202.0):
        timeouts.succeeded(SITE, 60.0, now)
    assert suggested(timeouts, 202.0) >= 2 * usual
    for now in range(203, 500):
        timeouts.succeeded(SITE, 1.0, float(now))
    assert suggested(timeouts, 500.0) == usual


@given(
    st.lists(st.floats(0, 1e4), min_size=40, max_size=300),
    st.integers(0, 2),
    st.floats(1, 4),
)
def test_whatever_comes_the_suggestion_is_a_number_from_the_floor_on(
    seconds: list[float], cuts: int, slowness: float
) -> None:
    timeouts = learned(seconds)
    assert FLOOR <= suggested(timeouts, float(len(seconds)), cuts=cuts, slowness=slowness) < 1e9


@given(st.lists(st.floats(0.001, 100), min_size=60, max_size=400))
def test_most_of_what_was_lately_seen_is_within_it(seconds: list[float]) -> None:
    timeouts = learned(seconds)
    lately = seconds[-60:]
    timeout = suggested(timeouts, float(len(seconds)))
    assert sum(duration <= timeout for duration in lately) >= 0.8 * len(lately)


def test_it_forgets_the_oldest_of_very_many_targets() -> None:
    timeouts = learned([1.0] * 40, "first.test")
    for number in range(2000):
        timeouts.succeeded(f"{number}.test", 1.0, 40.0)
    assert timeouts.suggest("first.test", 40.0) is None


# A crawl, with pages that hang or take long


@attrs.define
class Page:
    cuts: int = 0
    tried: set[str] = attrs.field(factory=set)


@attrs.define
class Crawl:
    """A closed loop of workers, through proxies of which a part hangs for ever."""

    median: Callable[[float], float]
    hanging: float = 0.12
    own: float = 30.0
    adaptive: bool = True
    rng: Random = attrs.field(factory=lambda: Random(3))
    pages: int = 0
    #: When attempts ended, and whether they were cut off although they would have succeeded.
    ends: list[tuple[float, bool]] = attrs.field(factory=list)

    def run(self, until: float, workers: int = 48) -> None:
        timeouts, events = Timeouts(FLOOR), []
        number = 0

        def send(now: float, page: Page) -> None:
            nonlocal number
            number += 1
            proxy = self.rng.choice([p for p in map(str, range(100)) if p not in page.tried])
            hangs = int(proxy) < 100 * self.hanging
            duration = log_normal(self.rng, self.median(now))
            suggestion = timeouts.suggest(SITE, now, cuts=page.cuts) if self.adaptive else None
            timeout = min(self.own, suggestion or self.own)
            took = timeout if hangs else min(duration, timeout)
            cut = hangs or duration > timeout
            heappush(
                events, (now + took, number, page, proxy, cut, hangs, timeout < self.own, took)
            )

        for _ in range(workers):
            send(0.0, Page())
        while events[0][0] < until:
            now, _, page, proxy, cut, hangs, adaptive, took = heappop(events)
            if not cut:
                timeouts.succeeded(SITE, took, now)
                self.ends.append((now, False))
                self.pages += 1
                send(now, Page())
                continue
            timeouts.timed_out(SITE, proxy)
            self.ends.append((now, adaptive and not hangs))
            page.tried.add(proxy)
            page.cuts += adaptive
            send(now, page)


@pytest.mark.parametrize(("own", "gain"), [(30.0, 2.0), (180.0, 6.0)])
def test_where_an_eighth_hangs_much_more_comes_through_with_it(own: float, gain: float) -> None:
    with_it = Crawl(lambda _: 1.0, own=own)
    without = Crawl(lambda _: 1.0, own=own, adaptive=False)
    for crawl in (with_it, without):
        crawl.run(1500.0)
    assert with_it.pages > gain * without.pages
    assert sum(in_vain for _, in_vain in with_it.ends) < 0.02 * len(with_it.ends)


@pytest.mark.parametrize("slower", [5.0, 20.0])
def test_a_target_that_gets_much_slower_is_cut_off_for_some_dozens_of_requests_at_most(
    slower: float,
) -> None:
    crawl = Crawl(lambda now: 1.0 if now < 200 else slower, own=OWN)
    crawl.run(200 + 100 * slower)
    after = [in_vain for ended, in_vain in crawl.ends if ended > 200]
    assert len(after) > 600
    assert any(after[:150])  # or else nothing was tried
    assert sum(after[150:]) <= 0.03 * len(after[150:])


# The pool


def limited(pool: Pool, attempt: Attempt, now: float, *, own: float) -> float:
    attempt.timeout = None
    pool.limit_time(attempt, own, now)
    return own if attempt.timeout is None else attempt.timeout


def test_the_pool_suggests_from_the_durations_that_it_was_told() -> None:
    pool = make_pool(proxies(3), timeout_min=0.5)
    for now in range(40):
        attempt = acquire(pool, float(now), target=SITE)
        pool.release(attempt, Outcome.SUCCESS, now + 0.5, latency=0.1, duration=1.0)
    attempt = acquire(pool, 50.0, target=SITE)
    timeout = limited(pool, attempt, 50.0, own=OWN)
    assert 1.0 < timeout < 3.0
    assert attempt.timeout == timeout
    assert limited(pool, attempt, 50.0, own=1.0) == 1.0
    assert attempt.timeout is None
    assert limited(pool, acquire(pool, 50.0, target="new.test"), 50.0, own=OWN) == OWN


def test_only_the_durations_of_successes_count() -> None:
    pool = make_pool(proxies(3), timeout_min=0.5)
    for now in range(100):
        outcome = (Outcome.TARGET_SIGNAL, Outcome.IGNORED, Outcome.GATEWAY_FAULT)[now % 3]
        pool.release(acquire(pool, float(now), target=SITE), outcome, float(now), duration=1.0)
        carry(pool, now, target=SITE)  # of which nobody knows how long it took
    attempt = acquire(pool, 100.0, target=SITE)
    assert limited(pool, attempt, 100.0, own=OWN) == OWN


def test_the_pool_gives_a_slow_proxy_more_time() -> None:
    fast, slow = proxies(2)
    pool = make_pool([fast, slow], timeout_min=0.1)
    for now in range(0, 200, 2):
        for name, seconds in ((fast.name, 0.5), (slow.name, 1.5)):
            attempt = acquire(pool, float(now), target=SITE, proxy_filter={"name": name})
            pool.release(attempt, Outcome.SUCCESS, float(now), latency=seconds, duration=seconds)
    timeouts = [
        limited(
            pool, acquire(pool, 200.0, target=SITE, proxy_filter={"name": name}), 200.0, own=OWN
        )
        for name in (fast.name, slow.name)
    ]
    assert timeouts[1] > 1.3 * timeouts[0]


def test_the_pool_widens_a_timeout_that_ends_many_attempts_in_a_row() -> None:
    pool = make_pool(proxies(6), timeout_min=0.5)
    for now in range(40):
        attempt = acquire(pool, float(now), target=SITE)
        pool.release(attempt, Outcome.SUCCESS, float(now), duration=1.0)
    leases = [acquire(pool, 50.0, target=SITE, avoid=[f"p{n}" for n in range(i)]) for i in range(6)]
    before = limited(pool, leases[0], 50.0, own=OWN)
    for attempt in leases:
        pool.release(attempt, Outcome.AMBIGUOUS, 51.0, duration=before, failure="timeout")
    after = limited(pool, acquire(pool, 51.0, target=SITE), 51.0, own=OWN)
    assert after >= 2 * before


@pytest.mark.parametrize("floor", [0.0, -1.0, float("inf")])
def test_a_floor_that_cannot_work_is_refused(floor: float) -> None:
    with pytest.raises(ConfigurationError, match="timeout_min"):
        PoolPolicy(timeout_min=floor)
