"""What Prometheus is told of one crawl: metric families, worked out from the figures when it asks.

Names and units are by its conventions (https://prometheus.io/docs/practices/naming/); each is documented
in ``docs/reference/metrics.md``. Serves nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from ...core import Outcome
from ...core.events import AttemptEnded
from ..standing import Standing, standing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ...core import Proxy
    from ..attempt_record import AttemptRecord
    from ..figures import Figures
    from ..observed import ObservedCrawl

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

    def __init__(self, context: ObservedCrawl, figures: Figures, per_proxy: int) -> None:
        self._context = context
        self._figures = figures
        self._per_proxy = per_proxy
        # Decided once, and kept when a proxy leaves: a counter that falls looks like a restart.
        self._each = len(context.pool) <= per_proxy
        self._shown: dict[str, str] = {}
        self._latency = Buckets()
        self._waited = Buckets()
        context.pool.events.subscribe(self._lease_ended, AttemptEnded)
        context.attempt_log.subscribe(self._attempted)

    def _lease_ended(self, event: AttemptEnded) -> None:
        if event.latency is not None and event.outcome is Outcome.SUCCESS:
            self._latency.observe(event.latency)

    def _attempted(self, attempt: AttemptRecord) -> None:
        if attempt.proxy is not None:
            self._waited.observe(attempt.waited)

    def families(self, spider: str) -> Iterator[Metric]:
        """Give all families, as of now. To be called in the crawl's own thread.

        :param spider: the value of the label of that name.
        """
        now = self._context.clock()
        self._figures.sample(now)
        for told in (
            *self._of_proxies(now),
            *self._of_targets(),
            *self._of_gateways(),
            *self._of_the_crawl(),
        ):
            family = told.kind(
                f"proxybalance_{told.name}", told.text, labels=["spider", *told.labels]
            )
            for labels, value in told.values.items():
                family.add_metric([spider, *labels], value)
            yield family
        for name, text, buckets in (
            ("request_latency", "Time to the headers of successes.", self._latency),
            ("wait", "Time for which requests waited for a proxy.", self._waited),
        ):
            histogram = HistogramMetricFamily(
                f"proxybalance_{name}_seconds", text, labels=["spider"]
            )
            histogram.add_metric([spider], buckets.cumulative(), buckets.sum)
            yield histogram

    def _of_proxies(self, now: float) -> Iterator[_Told]:
        pool = self._context.pool
        overview = pool.overview(now)
        names = self._shown
        for one in overview:
            if one.proxy.name not in names:
                names[one.proxy.name] = one.proxy.name if self._each else _group(one.proxy)
        states = dict.fromkeys(((state.value,) for state in Standing), 0.0)
        in_flight: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for one in overview:
            states[(standing(one).value,)] += 1
            in_flight[(names[one.proxy.name],)] += one.in_flight
        requests: defaultdict[tuple[str, ...], float] = defaultdict(float)
        cooldowns: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for name, counted in self._figures.proxies.items():
            shown = names.get(name, "")  # one that came and left between two scrapes
            cooldowns[(shown,)] += counted.cooldowns
            for outcome, count in counted.outcomes.items():
                requests[shown, outcome] += count
        scores = {}
        if self._each:
            scores = {
                (one.proxy.name,): pool.explain(one.proxy.name, now).value for one in overview
            }
        yield _Told(
            CounterMetricFamily,
            "requests",
            "Attempts through the pool that have ended, by whose fault it was.",
            ("proxy", "outcome"),
            requests,
        )
        for kind, what, text, values in (
            (CounterMetricFamily, "cooldowns", "Cooldowns that have begun.", cooldowns),
            (GaugeMetricFamily, "in_flight", "Requests under way.", in_flight),
            (GaugeMetricFamily, "score", "The score, which the choice goes by.", scores),
        ):
            yield _Told(kind, what, text, ("proxy",), values)
        yield _Told(GaugeMetricFamily, "proxies", "Proxies, by their state.", ("state",), states)

    def _of_targets(self) -> Iterator[_Told]:
        targets = self._context.pool.targets
        shown = list(islice(self._figures.refusing(), _TARGETS))
        for kind, what, text, values in (
            (
                GaugeMetricFamily,
                "held_requests",
                "Requests that the scheduler holds for a target that has refused.",
                {(name,): float(target.held) for name, target in shown},
            ),
            (
                GaugeMetricFamily,
                "target_paused",
                "1 while a target that has refused gets no traffic but a probe.",
                {(name,): float(not targets.state(name).gets_traffic) for name, _ in shown},
            ),
            (
                CounterMetricFamily,
                "refusals",
                "Refusals of a target.",
                {(name,): float(target.signals) for name, target in shown},
            ),
        ):
            yield _Told(kind, what, text, ("target",), values)

    def _of_gateways(self) -> Iterator[_Told]:
        limits = self._figures.limits[: self._per_proxy]
        for what, text, values in (
            (
                "limit",
                "Requests at once that a gateway is taken to bear; 0 while nothing gets through.",
                {(limit.name,): limit.limit for limit in limits},
            ),
            (
                "in_flight",
                "Requests under way through a gateway.",
                {(limit.name,): float(limit.in_flight) for limit in limits},
            ),
        ):
            yield _Told(GaugeMetricFamily, f"gateway_{what}", text, ("gateway",), values)

    def _of_the_crawl(self) -> Iterator[_Told]:
        context = self._context
        yield _Told(
            CounterMetricFamily,
            "failures",
            "Attempts that failed, by class.",
            ("failure",),
            {(str(failure),): float(count) for failure, count in self._figures.failures.items()},
        )
        for kind, what, text, value in (
            (
                CounterMetricFamily,
                "retries",
                "Retries that were sent.",
                context.retries.budget.let_out,
            ),
            (
                GaugeMetricFamily,
                "sessions",
                "Sessions that have a proxy.",
                len(context.pool.sessions),
            ),
            (
                GaugeMetricFamily,
                "capacity",
                "Requests that the pool carries at once when every proxy is healthy.",
                context.pool.capacity,
            ),
        ):
            yield _Told(kind, what, text, (), {(): float(value)})


class _Told(NamedTuple):
    """A family: its ``name`` without the prefix, and its values by those of its ``labels``."""

    kind: type[CounterMetricFamily | GaugeMetricFamily]
    name: str
    text: str
    labels: tuple[str, ...]
    values: Mapping[Any, float]  # by tuples of texts, as long as ``labels``


def _group(proxy: Proxy) -> str:
    """Return what a proxy is added up under in a large pool."""
    parts = [part for part in (proxy.pool, proxy.country, proxy.provider) if part]
    return "/".join(parts) or "all"
