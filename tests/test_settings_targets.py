"""``PROXYBALANCE_TARGETS``: what is read from it, and how what cannot work is refused."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from scrapy.settings import Settings as ScrapySettings

from scrapy_proxybalance.core import ConfigurationError, Pool, Proxy, Rate, TargetPolicy
from scrapy_proxybalance.plugin.config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping


def european(proxy: Proxy) -> bool:
    """Serve as a filter that is named by its import path."""
    return proxy.country in {"de", "fr"}


def read(**settings: Any) -> Settings:
    given = {"PROXIES": ["http://127.0.0.1:8080"], **settings}
    return Settings.read(
        ScrapySettings({f"PROXYBALANCE_{name}": value for name, value in given.items()})
    )


def targets(given: object, **settings: Any) -> Mapping[str, TargetPolicy]:
    return read(TARGETS=given, **settings).policy.targets_by_name


def error_of(given: object, **settings: Any) -> str:
    with pytest.raises(ConfigurationError) as raised:
        read(TARGETS=given, **settings)
    return str(raised.value)


def test_every_key_of_a_target_is_read() -> None:
    entry = {
        "rate": "2/s",
        "in_flight": 3,
        "spacing": 5,
        "filter": {"country": "de"},
        "strategy": "random",
        "pause": 10,
        "pause_max": 20,
        "max_pauses": 2,
        "forbidden_threshold": 1,
        "ramp": 30,
    }
    policy = targets({"example.com": entry})["example.com"]
    assert policy.proxy_filter is not None
    assert policy.proxy_filter(Proxy(host="a", port=1, country="de"))
    assert not policy.proxy_filter(Proxy(host="a", port=1, country="fr"))
    assert policy == TargetPolicy(
        rate=Rate(2, 1),
        max_in_flight=3,
        spacing=5,
        proxy_filter=policy.proxy_filter,
        strategy="random",
        pause=10,
        pause_max=20,
        max_pauses=2,
        forbidden_threshold=1,
        ramp=30,
    )


def test_what_a_target_does_not_say_is_as_for_the_whole_crawl() -> None:
    crawl = {
        "PAUSE": 7,
        "PAUSE_MAX": 70,
        "MAX_PAUSES": 4,
        "FORBIDDEN_THRESHOLD": 9,
        "RAMP": 11,
    }
    policy = read(TARGETS={"a.example": {"max_pauses": 1, "pause": None}, "b.example": {}}, **crawl)
    named, default = policy.policy.targets_by_name, policy.policy.targets
    assert named["b.example"] == default
    assert (default.pause, default.pause_max, default.ramp) == (7, 70, 11)
    assert (named["a.example"].max_pauses, named["a.example"].pause) == (1, 7)


def test_a_json_text_says_the_same_as_a_dict() -> None:
    entry = {".example.com": {"rate": "2/s", "in_flight": 3}, "*": {"spacing": 1.5}}
    assert targets(json.dumps(entry)) == targets(entry)
    assert targets("") == targets({}) == targets(None) == {}


@pytest.mark.parametrize("spec", [european, f"{__name__}.european"])
def test_a_filter_may_be_a_function_or_its_import_path(spec: object) -> None:
    matching = targets({"example.com": {"filter": spec}})["example.com"].proxy_filter
    assert matching is not None
    assert matching(Proxy(host="a", port=1, country="fr"))
    assert not matching(Proxy(host="a", port=1, country="ch"))


def test_the_pool_holds_to_what_was_set() -> None:
    settings = read(TARGETS={".example.com": {"in_flight": 3}})
    pool = Pool(settings.proxies, settings.policy, rng=Random(1))
    assert pool.rules.target_of("www.example.com") == ".example.com"
    assert pool.targets.available(".example.com", 0.0) == 3


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (
            {"https://example.com/x": {}},
            ["PROXYBALANCE_TARGETS", "'https://example.com/x'", "write the host alone"],
        ),
        ({"": {}}, ["PROXYBALANCE_TARGETS", "''", "write the host alone"]),
        ({7: {}}, ["PROXYBALANCE_TARGETS", "7", "write the host alone"]),
        ({"a.example:80": {}}, ["PROXYBALANCE_TARGETS", "'a.example:80'", "without it"]),
        ({"A.example": {}, "a.example": {}}, ["PROXYBALANCE_TARGETS", "are the same", "keep one"]),
        ({"a.example": "2/s"}, ["PROXYBALANCE_TARGETS['a.example']", "'2/s'", "write a dict"]),
        (
            {"a.example": {"rates": "2/s"}},
            ["PROXYBALANCE_TARGETS['a.example']['rates']", "'2/s'", "did you mean 'rate'?"],
        ),
        (
            {"a.example": {"max_in_flight": 2}},
            ["PROXYBALANCE_TARGETS['a.example']['max_in_flight']", "did you mean 'in_flight'?"],
        ),
        ({"a.example": {"zzz": 2}}, ["['zzz']", "use rate, in_flight, spacing, filter"]),
        (
            {"a.example": {"rate": "often"}},
            ["PROXYBALANCE_TARGETS['a.example']['rate']", "'often'", "'30/min'"],
        ),
        ({"a.example": {"rate": 2}}, ["['rate'] = 2", "write a rate like '30/min'"]),
        ({"a.example": {"in_flight": 0}}, ["['in_flight'] = 0", "whole number of at least 1"]),
        ({"a.example": {"in_flight": True}}, ["['in_flight'] = True", "whole number"]),
        ({"a.example": {"spacing": 0}}, ["['spacing'] = 0", "seconds above 0"]),
        ({"a.example": {"spacing": "inf"}}, ["['spacing'] = 'inf'", "seconds above 0"]),
        ({"a.example": {"ramp": -1}}, ["['ramp'] = -1", "seconds above 0"]),
        (
            {"a.example": {"filter": {"colour": "red"}}},
            ["PROXYBALANCE_TARGETS['a.example']['filter']", "'colour'", "country"],
        ),
        ({"a.example": {"filter": 7}}, ["['filter']", "7", "neither a mapping"]),
        (
            {"a.example": {"filter": "no.such.filter"}},
            ["['filter'] = 'no.such.filter'", "cannot be imported"],
        ),
        (
            {"a.example": {"strategy": "best"}},
            [
                "PROXYBALANCE_TARGETS['a.example']['strategy']",
                "'best'",
                "round_robin",
                "import path",
            ],
        ),
        (
            {"a.example": {"pause": 30, "pause_max": 20}},
            ["PROXYBALANCE_TARGETS['a.example']['pause']", "30", "'pause_max' (20)"],
        ),
        (
            {"a.example": {"pause_max": 20}},
            ["PROXYBALANCE_TARGETS['a.example']", "60", "PROXYBALANCE_PAUSE", "write both"],
        ),
        ("{'a.example': {}}", ["PROXYBALANCE_TARGETS", "not JSON"]),
        ("[1]", ["PROXYBALANCE_TARGETS: that is a list", "write a dict"]),
        (["a.example"], ["PROXYBALANCE_TARGETS: that is a list", "write a dict"]),
    ],
)
def test_what_cannot_work_is_refused_with_its_place_and_the_mend(
    given: object, parts: list[str]
) -> None:
    message = error_of(given)
    for part in parts:
        assert part in message


def test_idling_waits_unless_told_to_close() -> None:
    assert (read().idle_when_paused, read().idle_timeout) == ("wait", 7200)
    told = read(IDLE_WHEN_PAUSED="close", IDLE_TIMEOUT="60")
    assert (told.idle_when_paused, told.idle_timeout) == ("close", 60)
    with pytest.raises(ConfigurationError, match=r"PROXYBALANCE_IDLE_WHEN_PAUSED.*'wait', 'close'"):
        read(IDLE_WHEN_PAUSED="stop")
