"""Filters: what a request may ask of a proxy."""

from __future__ import annotations

from typing import Any

import pytest

from scrapy_proxybalance.pool import ConfigurationError, NoProxyMatchesError, Outcome, ProxyFilter

from .helpers import carry, make_pool, proxy

BERLIN = proxy("berlin", country="de", city="berlin", tags=["fast", "eu"], tier=1)


@pytest.mark.parametrize(
    ("spec", "accepted"),
    [
        ({}, True),
        ({"country": "de"}, True),
        ({"country": "fr"}, False),
        ({"country": ["fr", "de"]}, True),
        ({"country": []}, False),
        ({"country": "de", "city": "berlin"}, True),
        ({"country": "de", "city": "bonn"}, False),
        ({"tags": "eu"}, True),
        ({"tags": ["slow", "eu"]}, True),
        ({"tags": "slow"}, False),
        ({"tier": 1}, True),
        ({"tier": {2, 3}}, False),
        ({"provider": None}, True),
        ({"name": "berlin"}, True),
        (lambda candidate: candidate.tier == 1, True),
        (lambda candidate: candidate.tier == 2, False),
    ],
)
def test_every_attribute_has_to_fit(spec: Any, accepted: bool) -> None:
    assert bool(ProxyFilter(spec)(BERLIN)) is accepted


def test_an_unknown_attribute_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'colour'.*country"):
        ProxyFilter({"colour": "red"})


def test_a_password_is_nothing_to_filter_on() -> None:
    with pytest.raises(ConfigurationError):
        ProxyFilter({"password": "x"})


@pytest.mark.parametrize("spec", ["de", 7, ["country", "de"]])
def test_what_is_neither_mapping_nor_function_is_refused(spec: Any) -> None:
    with pytest.raises(ConfigurationError, match="neither a mapping"):
        ProxyFilter(spec)


@pytest.mark.parametrize("spec", [{"country": [["de"]]}, {"tags": [{"eu": 1}]}])
def test_a_value_that_no_attribute_can_have_is_refused(spec: Any) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(spec))):
        ProxyFilter(spec)


def test_filters_that_ask_for_the_same_have_the_same_key() -> None:
    one = ProxyFilter({"country": ["de", "fr"], "tier": 1})
    two = ProxyFilter({"tier": [1], "country": ("fr", "de")})
    other = ProxyFilter({"country": "de", "tier": 1})
    assert one.key == two.key
    assert one.key != other.key


def test_only_proxies_that_match_are_leased() -> None:
    pool = make_pool([BERLIN, proxy("paris", country="fr"), proxy("bonn", country="de")])
    used = {carry(pool, now, matching={"country": "de"}).proxy.name for now in range(200)}
    assert used == {"berlin", "bonn"}


def test_a_filter_that_nothing_matches_is_an_error_whatever_is_free() -> None:
    pool = make_pool([BERLIN])
    with pytest.raises(NoProxyMatchesError, match="country"):
        pool.acquire(0, matching={"country": "fr"})
    with pytest.raises(NoProxyMatchesError):
        pool.hold(0, matching={"country": "fr"})


def test_a_filter_sees_proxies_that_come_go_and_change() -> None:
    pool = make_pool([BERLIN])
    french = {"country": "fr"}
    pool.add(proxy("paris", country="fr"), 0)
    assert carry(pool, 0, matching=french).proxy.name == "paris"
    pool.add(proxy("lyon", country="fr"), 0)
    assert {carry(pool, 0, matching=french).proxy.name for _ in range(50)} == {"paris", "lyon"}
    pool.remove("paris", 0)
    assert {carry(pool, 0, matching=french).proxy.name for _ in range(50)} == {"lyon"}
    pool.update(proxy("lyon", country="ch"), 0)
    with pytest.raises(NoProxyMatchesError):
        pool.acquire(0, matching=french)


def test_a_matching_proxy_that_is_out_is_waited_for_rather_than_denied() -> None:
    pool = make_pool([BERLIN])
    carry(pool, 0, Outcome.PROXY_FAULT, failure="proxy_auth")
    hold = pool.hold(1, matching={"country": "de"})
    assert hold is not None
