"""The scenarios, by name."""

from __future__ import annotations

from .plan import Churn, GatewayPlan, Load, Overload, PoolPlan, Scenario, Steps, TargetPlan

_USUAL = TargetPlan()
_THREE_USUAL = (_USUAL,) * 3
_BUSY = Load(workers=0.75)
_MOVING = Steps(((0.0, 50.0), (200.0, 200.0), (400.0, 80.0)))
# Behind a gateway there are more proxies than it lets through, and workers than it ever bears.
# They are alike, so that nothing but how well the limit is used tells.
_MANY = PoolPlan(
    size=400, spread=0.0, sigma=(0.63, 0.63), success=(0.98, 0.98), weak=0.0, knee=(4, 4)
)
_TOO_MANY = Load(workers=300)

_ALL = (
    Scenario(
        "steady-50",
        "200 mixed proxies, closed loop at 50 % of what they carry",
        load=Load(workers=0.5),
    ),
    Scenario(
        "steady-75",
        "200 mixed proxies, closed loop at 75 % of what they carry",
        load=_BUSY,
    ),
    Scenario(
        "steady-100",
        "200 mixed proxies, closed loop at 100 % of what they carry",
        load=Load(workers=1.0),
    ),
    Scenario(
        "churn-open",
        "10,000 proxies that come and go, 25 % dead at any time; 100 pages/s arrive",
        pool=PoolPlan(size=10_000, churn=Churn()),
        load=Load(arrivals=100.0),
    ),
    Scenario(
        "churn-closed",
        "200 proxies that come and go, 25 % dead at any time; closed loop at 50 %",
        pool=PoolPlan(churn=Churn()),
        load=Load(workers=0.5),
    ),
    Scenario(
        "black-hole",
        "one of 200 proxies fails every attempt at once",
        pool=PoolPlan(black_hole=True),
        load=_BUSY,
    ),
    Scenario(
        "slowdown",
        "every other proxy is 10 times slower from 200 to 300 s",
        pool=PoolPlan(slowdown=((200.0, 300.0),)),
        load=Load(workers=0.5),
        event=(200.0, 300.0),
    ),
    Scenario(
        "gateway-down",
        "all 200 proxies are behind one gateway, which refuses everything from 200 to 230 s",
        gateways=(GatewayPlan(outages=((200.0, 230.0),)),),
        load=_BUSY,
        event=(200.0, 230.0),
    ),
    Scenario(
        "wrong-password",
        "all 200 proxies are behind one gateway, which answers 407 from 200 to 230 s",
        gateways=(GatewayPlan(password_refused=((200.0, 230.0),)),),
        load=_BUSY,
        event=(200.0, 230.0),
    ),
    Scenario(
        "target-slow",
        "one of four targets is 10 times slower from 200 to 400 s",
        targets=(TargetPlan(slow=((200.0, 400.0),)), *_THREE_USUAL),
        load=_BUSY,
        event=(200.0, 400.0),
    ),
    Scenario(
        "target-down",
        "nothing comes of any attempt at one of four targets from 200 to 260 s",
        targets=(TargetPlan(hangs=((200.0, 260.0),)), *_THREE_USUAL),
        load=_BUSY,
        event=(200.0, 260.0),
    ),
    Scenario(
        "target-errors",
        "one of four targets answers 502 from 200 to 260 s",
        targets=(TargetPlan(errors=((200.0, 260.0),)), *_THREE_USUAL),
        load=_BUSY,
        event=(200.0, 260.0),
    ),
    Scenario(
        "target-limit",
        "one of four targets answers 429 to more than 20 requests/s",
        targets=(TargetPlan(rate=20.0), *_THREE_USUAL),
        load=_BUSY,
    ),
    Scenario(
        "heavy-pages",
        "one page in a hundred takes 5 times as long",
        load=Load(workers=0.75, heavy=0.01),
    ),
    Scenario(
        "cold-start",
        "1,000 proxies that come and go, 25 % dead, of which nothing is known; the first 120 s",
        pool=PoolPlan(size=1000, churn=Churn()),
        load=Load(workers=400),
        seconds=120.0,
        warm_up=0.0,
    ),
    Scenario(
        "gateway-limit-rejecting",
        "a gateway rejects what is above a limit of 50, 200, 80 for 200 s each; 300 workers",
        pool=_MANY,
        gateways=(GatewayPlan(limit=_MOVING),),
        load=_TOO_MANY,
    ),
    Scenario(
        "gateway-limit-queueing",
        "the same, but what is above the limit waits in the gateway",
        pool=_MANY,
        gateways=(GatewayPlan(limit=_MOVING, overload=Overload.QUEUE),),
        load=_TOO_MANY,
    ),
    Scenario(
        "equal",
        "100 equal, healthy proxies, closed loop at 70 % of what they carry",
        pool=PoolPlan(
            size=100, spread=0.0, sigma=(0.63, 0.63), success=(0.98, 0.98), weak=0.0, knee=(4, 4)
        ),
        load=Load(workers=0.7),
    ),
    Scenario(
        "scale-100",
        "100 proxies that come and go; 20 pages/s arrive",
        pool=PoolPlan(size=100, churn=Churn()),
        load=Load(arrivals=20.0),
    ),
    Scenario(
        "scale-10000",
        "10,000 proxies that come and go; 50 pages/s arrive",
        pool=PoolPlan(size=10_000, churn=Churn()),
        load=Load(arrivals=50.0),
    ),
    Scenario(
        "scale-100000",
        "100,000 proxies that come and go; 50 pages/s arrive",
        pool=PoolPlan(size=100_000, churn=Churn()),
        load=Load(arrivals=50.0),
    ),
)

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
