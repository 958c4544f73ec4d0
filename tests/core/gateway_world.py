"""A gateway with a hidden limit, in virtual time, used by so many workers in a closed loop."""

from __future__ import annotations

from heapq import heappop, heappush
from math import exp
from random import Random
from typing import TYPE_CHECKING

import attrs

from scrapy_proxybalance.core.gateways.limit import GatewayLimit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy_proxybalance.core import GatewayPolicy

SIGMA = 0.5
REJECTED_AFTER = 0.05


@attrs.frozen
class Seen:
    """``goodput``: part of what the hidden limit carries; ``refused``: part of the attempts."""

    goodput: float
    refused: float
    latency: float  # mean, relative to that without a queue
    limits: list[float]  # each second


@attrs.define
class GatewayWorld:
    """The gateway and its users.

    ``phases``: the hidden limit from each moment on; ``queues``: it queues in place of rejecting;
    ``noise``: the share of attempts that it rejects whatever the load is; ``slower``: from which
    moment on, and how many times, everything takes longer; ``sigma``: of the log-normal times.
    """

    phases: Sequence[tuple[float, int]] = ((0.0, 50), (200.0, 200), (400.0, 80))
    queues: bool = False
    noise: float = 0.0
    slower: tuple[float, float] = (float("inf"), 1.0)
    sigma: float = SIGMA
    workers: int = 300
    seconds: float = 600.0

    def run(self, seed: int, policy: GatewayPolicy) -> Seen:
        rng, limit = Random(seed), GatewayLimit(policy)
        mean_service = exp(self.sigma * self.sigma / 2)  # seconds; the median is 1
        events: list[tuple[float, int, str, float]] = []
        number = served = refused = attempts = inside = 0
        queue: list[float] = []
        latencies: list[float] = []
        limits: list[float] = []

        def push(when: float, kind: str, value: float) -> None:
            nonlocal number
            number += 1
            heappush(events, (when, number, kind, value))

        def serve(started_at: float, now: float) -> None:
            nonlocal inside
            inside += 1
            slower = self.slower[1] if now >= self.slower[0] else 1.0
            push(now + slower * rng.lognormvariate(0.0, self.sigma), "answer", started_at)

        for when, hidden in self.phases:
            push(when, "phase", hidden)
        for second in range(int(self.seconds)):
            push(second + 0.5, "look", 0.0)
        hidden = 0
        while events:
            now, _, kind, value = heappop(events)
            if now > self.seconds:
                break
            if kind == "phase":
                hidden = int(value)
            elif kind == "look":
                limits.append(limit.limit)
            elif kind == "answer":
                inside -= 1
                served += 1
                latencies.append(now - value)
                limit.answered(value, now - value, "shop.example", now)
                limit.in_flight -= 1
            else:
                refused += 1
                limit.rejected(value, now)
                limit.in_flight -= 1
            while queue and inside < hidden:
                serve(queue.pop(0), now)
            while limit.in_flight < self.workers and limit.room > 0:
                limit.granted()
                attempts += 1
                if rng.random() < self.noise:
                    push(now + REJECTED_AFTER, "rejection", now)
                elif inside < hidden:
                    serve(now, now)
                elif self.queues:
                    queue.append(now)
                else:
                    push(now + REJECTED_AFTER, "rejection", now)
        ends = [when for when, _ in self.phases[1:]] + [self.seconds]
        possible = sum(
            (end - begin) * min(limit_then, self.workers) / mean_service
            for (begin, limit_then), end in zip(self.phases, ends, strict=True)
        )
        return Seen(
            goodput=served / possible,
            refused=refused / attempts,
            latency=sum(latencies) / len(latencies) / mean_service,
            limits=limits,
        )
