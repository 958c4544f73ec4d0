"""A proxy: its identity, its derived name, and that its password is shown nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scrapy_proxybalance.core import ConfigurationError, Outcome, Proxy, ProxyBalanceError
from scrapy_proxybalance.core.events import CooldownStarted, ProbeStarted, ProxyOut, ProxyRemoved

from .helpers import Events, acquire, cooling, make_pool, proxy, put_out

if TYPE_CHECKING:
    from collections.abc import Callable

odd_passwords = st.one_of(
    st.text(min_size=8, max_size=40),
    st.text(alphabet="%@:/?#[]{}'\"\\<> =&+\n\t", min_size=8, max_size=40),
    st.sampled_from(["%s%s%s%s", "{self}{0}{name}", "p@ss:w/rd?#", "%(name)s%d", "pässwörter"]),
)
REFERENCE = "another-password"


# Identity and name


def test_two_usernames_on_one_gateway_are_two_proxies() -> None:
    one = Proxy(host="gate.test", port=7000, username="customer-1", password="x")
    two = Proxy(host="gate.test", port=7000, username="customer-2", password="x")
    assert one.gateway == two.gateway
    assert one.identity != two.identity
    assert one.name != two.name
    assert len(make_pool([one, two])) == 2


def test_a_new_password_is_a_new_identity_under_the_same_name() -> None:
    one = Proxy(host="gate.test", port=7000, username="customer", password="old-secret")
    two = Proxy(host="gate.test", port=7000, username="customer", password="new-secret")
    assert one.identity != two.identity
    assert one.name == two.name


def test_the_derived_name_is_the_same_in_every_run() -> None:
    named = Proxy(host="gate.test", port=7000, username="customer-1", password="secret")
    assert named.name == "gate.test:7000#34c8c8c5"


def test_without_a_username_the_derived_name_is_the_gateway() -> None:
    assert Proxy(host="192.0.2.1", port=3128).name == "192.0.2.1:3128"
    assert Proxy(host="2001:db8::1", port=3128).name == "[2001:db8::1]:3128"


def test_a_name_that_was_given_is_kept() -> None:
    assert Proxy(host="gate.test", port=7000, username="customer", name="berlin").name == "berlin"


@given(username=st.text(min_size=9, max_size=30))
def test_the_derived_name_does_not_contain_the_username(username: str) -> None:
    assume(username not in "<Proxy g:1# http://g:1>")
    named = Proxy(host="g", port=1, username=username, password="secret")
    assert username not in named.name
    assert username not in repr(named)
    assert named.name == Proxy(host="g", port=1, username=username).name


# The URL


@given(username=st.text(min_size=1), password=st.text())
def test_credentials_come_back_out_of_the_url_unchanged(username: str, password: str) -> None:
    parts = urlsplit(Proxy(host="gate.test", port=7000, username=username, password=password).url)
    assert unquote(parts.username or "") == username
    assert unquote(parts.password or "") == password
    assert (parts.scheme, parts.hostname, parts.port) == ("http", "gate.test", 7000)


def test_without_credentials_the_url_is_the_endpoint() -> None:
    plain = Proxy(scheme="socks5", host="2001:db8::1", port=1080)
    assert plain.url == plain.endpoint == "socks5://[2001:db8::1]:1080"


def test_the_endpoint_has_no_credentials() -> None:
    private = Proxy(scheme="https", host="gate.test", port=7000, username="u", password="p")
    assert private.endpoint == "https://gate.test:7000"


# Validation


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"scheme": "ftp"}, "'ftp'"),
        ({"port": 0}, "port 0"),
        ({"port": 65536}, "65536"),
        ({"weight": 0}, "weight 0"),
        ({"weight": -1.5}, "-1.5"),
        ({"weight": float("inf")}, "inf"),
        ({"weight": float("nan")}, "nan"),
        ({"max_in_flight": 0}, "max_in_flight 0"),
    ],
)
def test_a_value_that_cannot_work_is_named_in_the_error(
    changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        proxy("p", **changes)
    assert named in str(caught.value)


def test_one_tag_may_be_given_as_a_string() -> None:
    assert proxy("p", tags="fast").tags == {"fast"}
    assert proxy("p", tags=["fast", "eu"]).tags == {"fast", "eu"}


# No password is shown


def _with(password: str, **changes: Any) -> Proxy:
    return Proxy(
        **{"host": "gate.test", "port": 7000, "username": "u", **changes}, password=password
    )


def _life_of_a_pool(password: str) -> list[str]:
    """Everything that a pool shows while its proxy goes through all that can happen to it."""
    shown: list[str] = []
    pool = make_pool(
        [_with(password, name="one"), _with(password, name="two", username="v")],
        health=cooling(threshold=1, first=10),
    )
    events = Events(pool.events)
    one = {"name": "one"}

    def end(outcome: Outcome, now: float, failure: str | None = None) -> None:
        attempt = acquire(pool, now, target="shop.test", session="s", proxy_filter=one)
        shown.extend((repr(attempt), str(attempt)))
        pool.release(attempt, outcome, now, failure=failure, latency=0.5)
        shown.extend((repr(attempt), str(attempt)))

    pool.add(_with(password, name="three", port=7001), 0)
    end(Outcome.SUCCESS, 0)
    end(Outcome.PROXY_FAULT, 1)
    pool.targets.refused("shop.test", started_at=1, now=2, reason="429")
    end(Outcome.SUCCESS, 50)
    put_out(pool, "one", 51)
    shown.extend(map(repr, pool.snapshot(52)))
    pool.remove("three", 53)
    shown.extend(map(repr, events.seen))
    shown.extend(map(str, events.seen))
    shown.append(repr(pool.explain("one", 53)))
    kinds = {type(event) for event in events.seen}
    assert kinds >= {CooldownStarted, ProbeStarted, ProxyOut, ProxyRemoved}
    return shown


@given(password=odd_passwords)
def test_nothing_that_a_pool_shows_depends_on_a_password(password: str) -> None:
    text = _life_of_a_pool(password)
    reference = _life_of_a_pool(REFERENCE)
    assert text == reference
    assert not any(REFERENCE in line for line in text)


@given(password=odd_passwords)
def test_what_a_proxy_shows_does_not_depend_on_its_password(password: str) -> None:
    mine, other = _with(password), _with(REFERENCE)
    assert (repr(mine), str(mine), f"{mine}", mine.name, mine.endpoint, mine.gateway) == (
        repr(other),
        str(other),
        f"{other}",
        other.name,
        other.endpoint,
        other.gateway,
    )


def _refused_actions(password: str) -> list[Callable[[], object]]:
    pool = make_pool(
        [_with(password, name="one", max_in_flight=1), _with(password, name="two", username="v")],
        session_lost="fail",
    )
    pool.remove("two", 0)
    acquire(pool, 0, session="busy")
    lost = make_pool([_with(password, name="one")], session_lost="fail")
    acquire(lost, 0, session="s")
    lost.remove("one", 0)
    return [
        lambda: _with(password, scheme="ftp"),
        lambda: _with(password, port=0),
        lambda: _with(password, weight=-1),
        lambda: _with(password, max_in_flight=0),
        lambda: pool.add(_with(password, name="one", port=9), 0),
        lambda: pool.add(_with(password, name="again"), 0),
        lambda: pool.update(_with(password, name="unknown"), 0),
        lambda: acquire(pool, 0),
        lambda: acquire(pool, 0, session="busy"),
        lambda: acquire(pool, 0, proxy_filter={"country": "de"}),
        lambda: acquire(pool, 0, proxy_filter={"colour": "red"}),
        lambda: acquire(lost, 0, session="s"),
    ]


def _messages(password: str) -> list[str]:
    messages = []
    for action in _refused_actions(password):
        with pytest.raises((ProxyBalanceError, KeyError)) as caught:
            action()
        messages.append(f"{caught.value!s} {caught.value!r}")
    return messages


@given(password=odd_passwords)
def test_no_error_message_depends_on_a_password(password: str) -> None:
    messages = _messages(password)
    assert messages == _messages(REFERENCE)
    assert not any(REFERENCE in message for message in messages)


def test_an_update_to_another_proxys_credentials_is_refused_without_showing_them() -> None:
    pool = make_pool([_with("first-password", name="one"), _with("other-password", name="two")])
    with pytest.raises(ConfigurationError) as caught:
        pool.update(_with("first-password", name="two"), 0)
    assert "'two'" in str(caught.value)
    assert "password" not in str(caught.value)
