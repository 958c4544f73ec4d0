"""Filters: what a request may ask of a proxy."""

from __future__ import annotations

from typing import Any

import pytest

from scrapy_proxybalance.core import (
    ConfigurationError,
    NoProxyMatchesError,
    Pool,
    ProxyFilter,
    TargetPolicy,
)

from .helpers import acquire, blocked, carry, make_pool, proxy, put_out, refuses

BERLIN = proxy("berlin", country="de", city="berlin", tags=["fast", "eu"], tier=1)


@pytest.mark.parametrize(
    ("spec", "accepted"),
    [
        ({}, True),
        ({"country": "de"}, True),
        ({"country": "DE"}, True),
        ({"country": ["FR", "De"], "tags": ["EU"], "name": "Berlin"}, True),
        ({"tags": "SLOW"}, False),
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


def test_how_the_list_writes_an_attribute_does_not_matter_either() -> None:
    written = proxy("one", country="DE", tags=["Fast"])
    assert ProxyFilter({"country": "de", "tags": "fast"})(written)
    assert ProxyFilter({"country": "de"}).key == ProxyFilter({"country": "DE"}).key


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
    nodes = [BERLIN, proxy("paris", country="fr"), proxy("bonn", country="de")]
    pool = make_pool(nodes, strategy="round_robin")
    used = {carry(pool, now, proxy_filter={"country": "de"}).proxy.name for now in range(200)}
    assert used == {"berlin", "bonn"}


def test_a_filter_that_nothing_matches_is_an_error_whatever_is_free() -> None:
    pool = make_pool([BERLIN])
    with pytest.raises(NoProxyMatchesError, match="country"):
        acquire(pool, 0, proxy_filter={"country": "fr"})
    with pytest.raises(NoProxyMatchesError):
        blocked(pool, 0, proxy_filter={"country": "fr"})


def test_a_filter_sees_proxies_that_come_go_and_change() -> None:
    pool = make_pool([BERLIN], strategy="round_robin")
    french = {"country": "fr"}
    pool.add(proxy("paris", country="fr"), 0)
    assert carry(pool, 0, proxy_filter=french).proxy.name == "paris"
    pool.add(proxy("lyon", country="fr"), 0)
    assert {carry(pool, 0, proxy_filter=french).proxy.name for _ in range(50)} == {"paris", "lyon"}
    pool.remove("paris", 0)
    assert {carry(pool, 0, proxy_filter=french).proxy.name for _ in range(50)} == {"lyon"}
    pool.update(proxy("lyon", country="ch"), 0)
    with pytest.raises(NoProxyMatchesError):
        acquire(pool, 0, proxy_filter=french)


def test_a_matching_proxy_that_is_out_is_waited_for_rather_than_denied() -> None:
    pool = make_pool([BERLIN])
    put_out(pool, BERLIN.name, 0)
    hold = blocked(pool, 1, proxy_filter={"country": "de"})
    assert hold is not None


# Two filters at once


def test_two_filters_together_accept_what_both_accept() -> None:
    german, fast = ProxyFilter({"country": "de"}), ProxyFilter({"tags": "fast"})
    both = german & fast
    assert both(BERLIN)
    assert not both(proxy("bonn", country="de"))
    assert not both(proxy("paris", country="fr", tags=["fast"]))
    assert both.key == (ProxyFilter({"country": ["de"]}) & fast).key
    assert len({both.key, german.key, fast.key}) == 3
    assert (german & ProxyFilter({"country": ["de"]})).key == german.key
    assert "country" in both.text
    assert "tags" in both.text


# The filter of a target

BONN, PARIS = proxy("bonn", country="de"), proxy("paris", country="fr", tags=["fast"])
GERMAN = TargetPolicy(proxy_filter=ProxyFilter({"country": "de"}))


def _pool(*nodes: Any, **policy: Any) -> Pool:
    rules = {"german.test": GERMAN}
    return make_pool(nodes or (BERLIN, BONN, PARIS), targets_by_name=rules, **policy)


def test_a_target_gets_the_proxies_that_its_filter_accepts() -> None:
    pool = _pool(strategy="round_robin")
    at_german = {carry(pool, now, target="german.test").proxy.name for now in range(100)}
    elsewhere = {carry(pool, now, target="other.test").proxy.name for now in range(100, 200)}
    assert at_german == {"berlin", "bonn"}
    assert elsewhere == {"berlin", "bonn", "paris"}


def test_the_filters_of_a_target_and_of_a_request_both_have_to_accept() -> None:
    pool = _pool()
    fast = {"tags": "fast"}
    used = {carry(pool, n, target="german.test", proxy_filter=fast).proxy.name for n in range(50)}
    assert used == {"berlin"}


def test_a_target_whose_filter_nothing_matches_is_named_in_the_error() -> None:
    pool = _pool(PARIS)
    with pytest.raises(NoProxyMatchesError, match=r"country.*'german\.test'"):
        acquire(pool, 0, target="german.test")
    with pytest.raises(NoProxyMatchesError, match=r"country.*'german\.test'"):
        blocked(pool, 0, target="german.test")


def test_filters_that_no_proxy_matches_together_are_both_named_in_the_error() -> None:
    pool = _pool(BONN, PARIS)
    with pytest.raises(NoProxyMatchesError, match=r"country.*tags.*country.*'german\.test'"):
        acquire(pool, 0, target="german.test", proxy_filter={"tags": "fast"})


def test_a_session_on_a_proxy_that_the_targets_filter_refuses_fails_rather_than_goes_through_it() -> (
    None
):
    pool = _pool()
    carry(pool, 0, target="other.test", session="s", proxy_filter={"name": "paris"})
    for ask in (acquire, blocked):
        with pytest.raises(NoProxyMatchesError, match=r"'s'.*paris.*'german\.test'.*another"):
            ask(pool, 1, target="german.test", session="s")
    assert carry(pool, 1, target="other.test", session="s").proxy.name == "paris"


def test_a_request_for_a_filtered_target_waits_for_its_own_proxies() -> None:
    pool = _pool(max_in_flight=2)
    for _ in range(3):
        acquire(pool, 0, target="german.test")
    assert blocked(pool, 0, target="german.test") is None
    assert blocked(pool, 0, target="german.test", ahead=1) is not None
    acquire(pool, 0, target="german.test")
    refuses(pool, 0, target="german.test")
    hold, other = (
        blocked(pool, 0, target="german.test"),
        blocked(pool, 0, proxy_filter={"country": "de"}),
    )
    assert hold is not None
    assert other is not None
    assert hold.waits_for != other.waits_for
    assert blocked(pool, 0, target="other.test", ahead=1) is None
