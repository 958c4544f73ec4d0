"""What holds for a target: which rule a host falls under, and which names there can be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_proxybalance.core import ConfigurationError, TargetPolicy, TargetRules

DEFAULT = TargetPolicy()


def rules(*names: str) -> TargetRules:
    """Rules of which each is told by its place: the first has a ``max_in_flight`` of 1, and so on."""
    return TargetRules(
        DEFAULT, {name: TargetPolicy(max_in_flight=n) for n, name in enumerate(names, start=1)}
    )


def which(named: TargetRules, host: str) -> int | None:
    return named.policy_of(host).max_in_flight


# A host, a domain, a pattern


def test_without_rules_every_host_is_a_target_with_the_default() -> None:
    none = TargetRules(DEFAULT)
    assert none.target_of("example.com:8080") == "example.com:8080"
    assert none.policy_of("example.com:8080") is DEFAULT


@pytest.mark.parametrize(
    ("name", "host", "target"),
    [
        ("example.com", "example.com", "example.com"),
        ("example.com", "www.example.com", None),
        ("example.com", "example.com:8080", None),
        ("example.com:8080", "example.com:8080", "example.com:8080"),
        ("example.com:8080", "example.com", None),
        ("Example.COM", "example.com", "example.com"),
        ("example.com", "EXAMPLE.com", "example.com"),
        ("example.com", "example.com.", "example.com"),
        ("bücher.example", "xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:8080"),
        ("[::1]:8080", "[::1]:8080", "[::1]:8080"),
        ("[::1]", "[::1]", "[::1]"),
        ("::1", "[::1]", "[::1]"),
        ("[::1]", "::1", "[::1]"),
        ("[::1]", "[::1]:8080", None),
        (".example.com", "example.com", ".example.com"),
        (".example.com", "www.example.com", ".example.com"),
        (".example.com", "a.b.example.com:8080", ".example.com"),
        (".example.com", "badexample.com", None),
        (".example.com", "example.com.evil.test", None),
        (".com", "example.com", ".com"),
        ("shop-*.example.com", "shop-de.example.com", "shop-de.example.com"),
        ("shop-*.example.com", "shop-de.example.com:8080", "shop-de.example.com:8080"),
        ("shop-*.example.com", "shop.example.com", None),
        ("shop-*.example.com", "shop-de.example.org", None),
        ("shop-?.example.com", "shop-1.example.com", "shop-1.example.com"),
        ("shop-?.example.com", "shop-12.example.com", None),
        ("shop-?.example.com", "shop-1xexample.com", None),
        ("*", "anything.test:81", "anything.test:81"),
        ("*", "[::1]:8080", "[::1]:8080"),
    ],
)
def test_a_name_holds_for_what_it_says(name: str, host: str, target: str | None) -> None:
    named = rules(name)
    if target is None:
        assert named.target_of(host) == host
        assert named.policy_of(host) is DEFAULT
    else:
        assert named.target_of(host) == target
        assert which(named, target) == which(named, host) == 1


def test_the_most_specific_rule_wins() -> None:
    named = rules(
        "*", "shop-*.example.com", ".com", ".example.com", ".b.example.com", "www.b.example.com"
    )
    assert which(named, "www.b.example.com") == 6
    assert which(named, "shop-1.b.example.com") == 5
    assert which(named, "shop-1.example.com") == 4
    assert which(named, "example.com.com") == 3
    assert which(named, "example.org") == 1


def test_of_patterns_the_first_written_wins() -> None:
    assert which(rules("*.example.com", "shop-*"), "shop-1.example.com") == 1
    assert which(rules("shop-*", "*.example.com"), "shop-1.example.com") == 1
    assert which(rules("shop-*", "*"), "www.example.com") == 2


def test_a_domain_target_is_found_by_its_own_name_even_in_a_wider_domain() -> None:
    named = rules(".com", ".example.com")
    assert named.target_of(named.target_of("www.example.com")) == ".example.com"
    assert which(named, ".example.com") == 2


HOSTS = st.builds(
    lambda labels, port: ".".join(labels) + port,
    st.lists(st.sampled_from(["a", "B", "shop-1", "com", "xn--a", "1"]), min_size=1, max_size=4),
    st.sampled_from(["", ":8080", "."]),
)
NAMES = st.one_of(
    HOSTS,
    st.sampled_from([".com", ".a.com", ".b.a.com", "*", "shop-*", "*.com", "?.com", "[::1]"]),
)


@given(st.lists(NAMES, max_size=6, unique_by=lambda name: name.lower().rstrip(".")), HOSTS)
def test_a_target_is_a_target_of_its_own_and_has_its_hosts_rule(
    names: list[str], host: str
) -> None:
    named = rules(*names)
    target = named.target_of(host)
    assert named.target_of(target) == target
    assert named.policy_of(target) is named.policy_of(host)
    assert named.target_of(host.upper()) == target


def test_rules_hold_for_more_hosts_than_are_remembered() -> None:
    named = rules(".even.test")
    for number in range(25_000):
        host = f"{number}.{'odd' if number % 2 else 'even'}.test"
        assert named.target_of(host) == (host if number % 2 else ".even.test")


# Names that cannot work


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        ".",
        "..",
        "https://example.com/x",
        "example.com/x",
        "//example.com",
        "exa mple.com",
        "example.com ",
        "example..com",
        "user@example.com",
        "example.com:http",
        "example.com:",
        ".example.*",
        "[shop].example.com",
        "bü*.example",
        7,
        None,
    ],
)
def test_what_is_no_name_is_refused_with_the_mend(name: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"write the host alone: 'example\.com'") as caught:
        TargetRules(DEFAULT, {name: DEFAULT})
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", [".example.com:8080", "*.example.com:8080"])
def test_a_domain_or_a_pattern_takes_no_port(name: str) -> None:
    with pytest.raises(ConfigurationError, match="every port"):
        rules(name)


@pytest.mark.parametrize("name", ["example.com:443", "example.com:80", "example.com:70000"])
def test_a_port_that_no_target_is_called_by_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"without it: 'example\.com'"):
        rules(name)


def test_the_same_name_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'Example\.com' and 'example\.com'"):
        rules("Example.com", "example.com")
