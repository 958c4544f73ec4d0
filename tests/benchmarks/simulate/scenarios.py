"""The scenarios, by name."""

from __future__ import annotations

from .plan import Churn, Load, PoolPlan, Scenario

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "steady",
            "200 mixed proxies, closed loop at 75 % of capacity",
            load=Load(workers=0.75),
        ),
        Scenario(
            "churn",
            "10,000 proxies of which 25 % are dead, coming and going; 100 pages/s arrive",
            pool=PoolPlan(size=10_000, churn=Churn()),
            load=Load(arrivals=100.0),
        ),
    )
}
