"""Moments as people read them."""

from __future__ import annotations

from datetime import datetime

import pytest

from scrapy_proxybalance.util.wall_clock import local_time

NOON = datetime(2026, 3, 4, 12, 0, 0).timestamp()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "12:00:00"),
        (61.4, "12:01:01"),
        (11 * 3600 + 3599, "23:59:59"),
        (12 * 3600, "2026-03-05 00:00:00"),
    ],
)
def test_a_moment_has_a_date_unless_it_is_today(seconds: float, text: str) -> None:
    assert local_time(seconds, NOON) == text
