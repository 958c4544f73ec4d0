"""``PROXYBALANCE_GATEWAYS``: what is read from it, and how what cannot work is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scrapy.settings import Settings as ScrapySettings

from scrapy_proxybalance.core import ConfigurationError, GatewayPolicy, PoolPolicy
from scrapy_proxybalance.plugin.config.settings import Settings

GATE = "gate.example:8080"
PROXIES = [f"http://alice:s3cr3t@{GATE}", f"http://bob:s3cr3t@{GATE}", "http://[::1]:3128"]


def policy(given: object) -> PoolPolicy:
    settings = {"PROXYBALANCE_PROXIES": PROXIES, "PROXYBALANCE_GATEWAYS": given}
    return Settings.read(ScrapySettings(settings)).policy


def error_of(given: object) -> str:
    with pytest.raises(ConfigurationError) as raised:
        policy(given)
    return str(raised.value)


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ({}, GatewayPolicy()),
        ({"max_in_flight": 7}, GatewayPolicy(max_in_flight=7)),
        ({"max_in_flight": "7"}, GatewayPolicy(max_in_flight=7)),
        ({"max_in_flight": "adaptive", "start": 5}, GatewayPolicy(start=5)),
        ({"max_in_flight": None, "adaptive_max": 50}, GatewayPolicy(adaptive_max=50)),
        ({"adaptive_max": 50}, GatewayPolicy(adaptive_max=50)),
        ({"rotating": True, "max_in_flight": 7}, GatewayPolicy(max_in_flight=7, rotating=True)),
    ],
)
def test_an_entry_is_read(entry: dict[str, Any], read: GatewayPolicy) -> None:
    assert policy({GATE: entry}).gateways_by_name == {GATE: read}
    assert policy({"*": entry}).gateways == read
    assert policy(json.dumps({GATE: entry})).gateways_by_name == {GATE: read}


def test_names_are_those_of_proxies_in_any_case() -> None:
    assert set(policy({"Gate.Example:8080": {}, "[::1]:3128": {}}).gateways_by_name) == {
        GATE,
        "[::1]:3128",
    }


@pytest.mark.parametrize("given", [{}, "", "{}"])
def test_nothing_is_left_as_it_is(given: object) -> None:
    read = policy(given)
    assert (read.gateways, read.gateways_by_name) == (GatewayPolicy(), {})


@pytest.mark.parametrize(
    "given",
    [
        "{'http://user:secret@gate.example:8080': {}}",
        ["http://user:secret@gate.example:8080"],
        {"http://user:secret@gate.example:8080": {}},
        {GATE: "http://user:secret@gate.example:8080"},
    ],
)
def test_no_error_shows_a_password(given: object) -> None:
    assert "secret" not in error_of(given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([GATE], ("PROXYBALANCE_GATEWAYS", "write a dict")),
        ("{", ("PROXYBALANCE_GATEWAYS", "not JSON")),
        ({"gate.example": {}}, ("'gate.example'", "host and port")),
        ({8080: {}}, ("8080", "host and port")),
        ({"gate.example:80800": {}}, ("'gate.example:80800'", "no proxy has that host and port")),
        ({"gate.exmple:8080": {}}, ("'gate.exmple:8080'", f"did you mean {GATE!r}?")),
        ({GATE: {}, GATE.upper(): {}}, (GATE, "twice")),
        ({GATE: 100}, (f"PROXYBALANCE_GATEWAYS[{GATE!r}] = 100", "write a dict")),
        ({GATE: {"in_flight": 1}}, ("['in_flight'] = 1", "did you mean 'max_in_flight'?")),
        ({GATE: {"max_in_flght": 1}}, ("['max_in_flght'] = 1", "did you mean 'max_in_flight'?")),
        ({GATE: {"max_in_flight": 0}}, ("['max_in_flight'] = 0", "at least 1, or 'adaptive'")),
        ({GATE: {"max_in_flight": "some"}}, ("['max_in_flight'] = 'some'", "or 'adaptive'")),
        ({GATE: {"adaptive_max": -1}}, ("['adaptive_max'] = -1", "at least 1")),
        ({GATE: {"max_in_flight": 5, "start": 3}}, ("['start'] = 3", "'adaptive'")),
        ({GATE: {"max_in_flight": 5, "adaptive_max": 9}}, ("['adaptive_max'] = 9", "'adaptive'")),
        ({GATE: {"start": 5, "adaptive_max": 3}}, ("['start'] = 5", "'adaptive_max' (3)")),
    ],
)
def test_what_cannot_work_is_refused_with_a_mend(given: object, said: tuple[str, ...]) -> None:
    error = error_of(given)
    assert "PROXYBALANCE_GATEWAYS" in error
    for part in said:
        assert part in error


def test_a_url_in_the_place_of_a_name_is_refused_without_its_password() -> None:
    error = error_of({f"http://alice:s3cr3t@{GATE}": {"max_in_flight": 5}})
    assert "host and port alone" in error
    assert "s3cr3t" not in error
