"""Why nothing may come back: the likeliest causes, from what failed."""

from __future__ import annotations

from collections import Counter

import pytest

from scrapy_proxybalance.reporting.causes import failures_in_words, likeliest_causes


@pytest.mark.parametrize(
    ("failures", "under_way", "words"),
    [
        ({"connection_refused": 5}, 0, ("port", "not running", "firewall")),
        ({"dns": 5}, 0, ("misspelt", "DNS", "network")),
        ({"proxy_auth": 5}, 0, ("password", "IP address", "traffic")),
        ({"timeout": 5}, 0, ("firewall drops", "gateway is down", "site")),
        ({}, 20, ("firewall drops", "gateway is down", "site")),
        ({"no_response": 5}, 0, ("protocol", "IP address", "traffic")),
        ({"connect_503": 5}, 0, ("does not reach", "traffic", "region")),
        ({"502": 5, "squid_err_connect_fail": 3}, 0, ("does not reach", "traffic", "region")),
        ({"WeirdError": 5}, 0, ("old", "not running", "site")),
        # Of several kinds, the likeliest cause of each goes first.
        ({"connection_refused": 9, "proxy_auth": 5}, 0, ("port", "password", "not running")),
        ({"connection_refused": 9}, 4, ("port", "firewall drops", "not running")),
        # One in a hundred says nothing of the pool.
        ({"connection_refused": 99, "dns": 1}, 0, ("port", "not running", "firewall")),
        # What two kinds have in common is named once.
        ({"proxy_auth": 5, "no_response": 5}, 0, ("password", "protocol", "IP address")),
    ],
)
def test_the_three_likeliest_causes_come_from_what_failed(
    failures: dict[str, int], under_way: int, words: tuple[str, ...]
) -> None:
    causes = likeliest_causes(failures, under_way)
    assert len(causes) == 3
    for word, cause in zip(words, causes, strict=True):
        assert word in cause


def test_where_nothing_has_failed_there_is_no_cause() -> None:
    assert likeliest_causes({}) == []


def test_the_most_frequent_failures_are_named_with_their_counts() -> None:
    assert failures_in_words(Counter(a=1, b=3, c=2, d=1)) == "b 3, c 2, a 1"
