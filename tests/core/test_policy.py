"""What a pool cannot be told to do."""

from __future__ import annotations

from typing import Any

import pytest

from scrapy_proxybalance.core import ConfigurationError, HealthPolicy, PoolPolicy, TargetPolicy

from .helpers import make_pool


@pytest.mark.parametrize(
    ("policy", "changes", "named"),
    [
        (PoolPolicy, {"max_in_flight": 0}, "max_in_flight 0"),
        (PoolPolicy, {"session_ttl": 0}, "session_ttl 0"),
        (PoolPolicy, {"session_limit": 0}, "session_limit 0"),
        (PoolPolicy, {"session_lost": "panic"}, "'panic'"),
        (HealthPolicy, {"window": 0}, "window 0"),
        (HealthPolicy, {"failure_threshold": 0}, "failure_threshold 0"),
        (HealthPolicy, {"cooldown": 0}, "cooldown 0"),
        (HealthPolicy, {"cooldown": 100, "cooldown_max": 99}, "99"),
        (TargetPolicy, {"pause": -1}, "pause -1"),
        (TargetPolicy, {"pause": 100, "pause_max": 99}, "99"),
        (TargetPolicy, {"max_pauses": 0}, "max_pauses 0"),
        (TargetPolicy, {"forbidden_threshold": 0}, "forbidden_threshold 0"),
    ],
)
def test_a_value_that_cannot_work_is_named_in_the_error(
    policy: Any, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        policy(**changes)
    assert named in str(caught.value)


def test_an_unknown_strategy_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'best'.*weighted.*round_robin"):
        make_pool([], strategy="best")
