"""What Prometheus is told of one crawl: metric families, worked out from the figures when it asks.

Names and units are by its conventions (https://prometheus.io/docs/practices/naming/); each is documented
in ``docs/reference/metrics.md``. Serves nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from ..pool import HealthState, Outcome, TargetState
from ..pool.events import LeaseEnded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..attempts import Attempt
    from ..balancer import Balancer
    from ..pool import Proxy
    from .figures import Figures

#: Upper bounds in seconds: from a proxy in the next rack to the longest that anybody waits.
BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# Targets that have never refused have no series: there may be as many as there are sites.
_TARGETS = 200


class Buckets:
    """Counts of observations, by :data:`BUCKETS`, and their sum."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """Return, for each upper bound, how many were no more than that."""
        total, listed = 0, []
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self._counts, strict=True):
            total += count
            listed.append((bound, float(total)))
        return listed


class Metrics:
    """An observer that answers Prometheus.

    :param figures: which sees the same events.
    :param per_proxy: the largest pool that has series for each proxy; in a larger one, they are added up
        by the proxies' pool, country and provider.
    """

    def __init__(self, balancer: Balancer, figures: Figures, per_proxy: int) -> None:
        self._balancer = balancer
        self._figures = figures
        self._per_proxy = per_proxy
        # Decided once, and kept when a proxy leaves: a counter that falls looks like a restart.
        self._each = len(balancer.pool) <= per_proxy
        self._shown: dict[str, str] = {}
        self._latency = Buckets()
        self._waited = Buckets()
        balancer.pool.events.subscribe(self._lease_ended, LeaseEnded)
        balancer.attempts.subscribe(self._attempted)

    def _lease_ended(self, event: LeaseEnded) -> None:
        if event.latency is not None and event.outcome is Outcome.SUCCESS:
            self._latency.observe(event.latency)

    def _attempted(self, attempt: Attempt) -> None:
        if attempt.proxy is not None:
            self._waited.observe(attempt.waited)

    def families(self, spider: str) -> Iterator[Metric]:
        """Give all families, as of now. To be called in the crawl's own thread.

        :param spider: the value of the label of that name.
        """
        figures, balancer = self._figures, self._balancer
        now = balancer.clock()
        figures.sample(now)
        yield from self._of_proxies(spider, now)
        yield from self._of_targets(spider)
        yield from self._of_gateways(spider)
        for name, text, buckets in (
            (
                "request_latency",
                "Time to the headers of responses that were successes.",
                self._latency,
            ),
            (
                "wait",
                "Time for which requests waited for a proxy, once it was their turn.",
                self._waited,
            ),
        ):
            histogram = HistogramMetricFamily(
                f"proxybalance_{name}_seconds", text, labels=["spider"]
            )
            histogram.add_metric([spider], buckets.cumulative(), buckets.sum)
            yield histogram
        failures = CounterMetricFamily(
            "proxybalance_failures", "Attempts that failed, by class.", labels=["spider", "failure"]
        )
        for failure, count in figures.failures.items():
            failures.add_metric([spider, str(failure)], count)
        yield failures
        yield _counter(spider, "retries", "Retries that were sent.", balancer.retries.let_out)
        yield _gauge(spider, "sessions", "Sessions that have a proxy.", len(balancer.pool.sessions))
        yield _gauge(
            spider,
            "capacity",
            "Requests that the pool carries at once when every proxy is well.",
            balancer.pool.capacity,
        )

    def _of_proxies(self, spider: str, now: float) -> Iterator[Metric]:
        pool = self._balancer.pool
        overview = pool.overview(now)
        names = self._shown
        for proxy, _, _ in overview:
            if proxy.name not in names:
                names[proxy.name] = proxy.name if self._each else _group(proxy)
        states: Counter[HealthState] = Counter()
        in_flight: Counter[str] = Counter()
        for proxy, state, under_way in overview:
            states[state] += 1
            in_flight[names[proxy.name]] += under_way
        requests: Counter[tuple[str, str]] = Counter()
        cooldowns: Counter[str] = Counter()
        for name, counted in self._figures.proxies.items():
            shown = names.get(name, "")  # one that came and left between two scrapes
            cooldowns[shown] += counted.cooldowns
            for outcome, count in counted.outcomes.items():
                requests[shown, outcome] += count
        attempts = CounterMetricFamily(
            "proxybalance_requests",
            "Attempts through the pool that have ended, by whose fault it was.",
            labels=["spider", "proxy", "outcome"],
        )
        for (name, outcome), count in requests.items():
            attempts.add_metric([spider, name, outcome], count)
        sat_out = CounterMetricFamily(
            "proxybalance_cooldowns", "Cooldowns that have begun.", labels=["spider", "proxy"]
        )
        for name, count in cooldowns.items():
            sat_out.add_metric([spider, name], count)
        load = GaugeMetricFamily(
            "proxybalance_in_flight", "Requests under way.", labels=["spider", "proxy"]
        )
        for name, count in in_flight.items():
            load.add_metric([spider, name], count)
        scores = GaugeMetricFamily(
            "proxybalance_score", "The score, which the choice goes by.", labels=["spider", "proxy"]
        )
        if self._each:
            for proxy, _, _ in overview:
                scores.add_metric([spider, proxy.name], pool.explain(proxy.name, now).value)
        proxies = GaugeMetricFamily(
            "proxybalance_proxies", "Proxies, by their state.", labels=["spider", "state"]
        )
        for state in HealthState:
            proxies.add_metric([spider, state.value], states[state])
        yield from (attempts, sat_out, load, scores, proxies)

    def _of_targets(self, spider: str) -> Iterator[Metric]:
        held = GaugeMetricFamily(
            "proxybalance_held_requests",
            "Requests that the scheduler holds for a target that has refused.",
            labels=["spider", "target"],
        )
        paused = GaugeMetricFamily(
            "proxybalance_target_paused",
            "1 while a target that has refused gets no traffic but a probe.",
            labels=["spider", "target"],
        )
        refusals = CounterMetricFamily(
            "proxybalance_refusals", "Refusals of a target.", labels=["spider", "target"]
        )
        going = (TargetState.OPEN, TargetState.RAMPING)
        for number, (name, target) in enumerate(self._figures.refusing()):
            if number >= _TARGETS:
                break
            held.add_metric([spider, name], target.held)
            state = self._balancer.pool.targets.state(name)
            paused.add_metric([spider, name], float(state not in going))
            refusals.add_metric([spider, name], target.signals)
        yield from (held, paused, refusals)

    def _of_gateways(self, spider: str) -> Iterator[Metric]:
        limits = GaugeMetricFamily(
            "proxybalance_gateway_limit",
            "Requests at once that a gateway is taken to bear; 0 while nothing gets through.",
            labels=["spider", "gateway"],
        )
        in_flight = GaugeMetricFamily(
            "proxybalance_gateway_in_flight",
            "Requests under way through a gateway.",
            labels=["spider", "gateway"],
        )
        for limit in self._figures.limits[: self._per_proxy]:
            limits.add_metric([spider, limit.name], limit.limit)
            in_flight.add_metric([spider, limit.name], limit.in_flight)
        yield from (limits, in_flight)


def _group(proxy: Proxy) -> str:
    """Return what a proxy is added up under in a large pool."""
    parts = [part for part in (proxy.pool, proxy.country, proxy.provider) if part]
    return "/".join(parts) or "all"


def _counter(spider: str, name: str, text: str, value: float) -> Metric:
    family = CounterMetricFamily(f"proxybalance_{name}", text, labels=["spider"])
    family.add_metric([spider], value)
    return family


def _gauge(spider: str, name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(f"proxybalance_{name}", text, labels=["spider"])
    family.add_metric([spider], value)
    return family
