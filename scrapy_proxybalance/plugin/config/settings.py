"""Every ``PROXYBALANCE_*`` setting: read once, validated, typed. Errors name the setting and advise.

A new setting is one line in :data:`SETTINGS` and one row in ``docs/reference/settings.md``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
from scrapy.utils.misc import load_object

from ...core import (
    STRATEGIES,
    ConfigurationError,
    GatewayPolicy,
    HealthPolicy,
    PoolPolicy,
    Proxy,
    ProxyFilter,
    Rate,
    TargetPolicy,
    TargetRules,
)
from ...core.followup import REFUSAL_POLICIES
from ...core.policy import SESSION_LOST_POLICIES
from ...core.strategies import strategy_class
from ...core.targets.policy import read_target_name
from ...sources import parse_entry, read_file
from ..handlers.kept_connections import warm_policy
from .feed import read_feed
from .gateways import EVERY_GATEWAY, read_gateways, refuse_unknown_gateways
from .proxy_marks import read_proxy_marks
from .report import read_report
from .values import fail, integer, mapping, refuse_unknown_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scrapy.settings import BaseSettings

    from ...http.marks import Mark
    from ...reporting.feed_place import Feed

PREFIX = "PROXYBALANCE_"
IDLE_POLICIES = ("wait", "close")

_IPV6_FIRST = re.compile(r"\s*\[[0-9a-fA-F:.]+\]:\d")

# A token must not be easy to guess.
_SHORTEST_TOKEN = 16


def _boolean(name: str, value: Any) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    try:
        return known[str(value).lower()]
    except KeyError:
        raise fail(name, value, "write True or False") from None


def _seconds(name: str, value: Any) -> float:
    try:
        number = float(value) if value is not True else 0.0
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < float("inf"):
        raise fail(name, value, "write a number of seconds above 0")
    return number


def _from_zero(meant: str, name: str, value: Any) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else -1.0
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < float("inf"):
        raise fail(name, value, f"write {meant}")
    return number


def _per_second(name: str, value: Any) -> float:
    number = _from_zero("a number per second above 0", name, value)
    if not number:
        raise fail(name, value, "write a number per second above 0, or retries may never be sent")
    return number


def _one_of(allowed: Iterable[str], name: str, value: Any) -> str:
    if value not in allowed:
        raise fail(name, value, f"write one of {', '.join(map(repr, allowed))}")
    return str(value)


def _rate(name: str, value: Any) -> Rate | None:
    if value is None or isinstance(value, Rate):
        return value
    if not isinstance(value, str):
        raise fail(name, value, "write a rate like '30/min', or None for no limit")
    try:
        return Rate.parse(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name} = {error}") from None


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise fail(name, value, "write a text that is not empty")
    return value


def _token(name: str, value: Any) -> str | None:
    if value is None or value == "":
        return None
    good = isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value
    if not good or len(value) < _SHORTEST_TOKEN:
        # The value is not shown: it is a secret.
        raise ConfigurationError(
            f"{name}: write at least {_SHORTEST_TOKEN} ASCII characters without spaces, "
            "such as secrets.token_urlsafe() makes"
        )
    return str(value)


def _port(name: str, value: Any) -> int | None:
    if value is None or value == "":
        return None
    try:
        number = int(value) if isinstance(value, int | str) and value is not True else -1
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise fail(name, value, "write the number of a port, 0 for any that is free, or None")
    return number


def _path(name: str, value: Any) -> str | None:
    if value is None or value == "":
        return None
    try:
        return str(value.__fspath__() if hasattr(value, "__fspath__") else _text(name, value))
    except TypeError:
        raise fail(name, value, "write the path of a file") from None


def _class(name: str, value: Any) -> Any:
    if value is None:
        return None
    try:
        found = load_object(value)
    except (ImportError, NameError, TypeError, ValueError) as error:
        raise fail(name, value, f"it cannot be imported ({error})") from None
    if not callable(found):
        raise fail(name, value, "name a function or a class")
    return found


def _strategy(name: str, value: Any) -> Any:
    own_class = isinstance(value, str) and value not in STRATEGIES and "." in value
    strategy = _class(name, value) if own_class else value
    try:
        strategy_class(strategy)
    except ConfigurationError as error:
        raise fail(name, value, f"{error}, or its import path") from None
    return strategy


def _proxies(name: str, value: Any) -> list[Proxy]:
    if isinstance(value, str):
        value = _listed(name, value)
    if not isinstance(value, list | tuple):
        raise ConfigurationError(
            f"{name} is of type {type(value).__name__}: write a list of URLs or dicts"
        )
    return [parse_entry(entry, f"{name}[{index}]") for index, entry in enumerate(value)]


def _listed(name: str, text: str) -> Any:
    """Return what a text lists: as JSON, or as URLs separated by commas."""
    if not text.lstrip().startswith(("[", "{")) or _IPV6_FIRST.match(text):
        return [entry for entry in (part.strip() for part in text.split(",")) if entry]
    try:
        return json.loads(text)
    except ValueError as error:
        # The text is not shown: there are passwords in it.
        raise ConfigurationError(
            f"{name}: the text begins like JSON but is not JSON ({error}); write "
            '["http://host:port", ...], or URLs separated by commas. In a shell, put single quotes '
            "around the whole of it"
        ) from None


def _filter(name: str, value: Any) -> ProxyFilter:
    spec = _class(name, value) if isinstance(value, str) else value
    try:
        return ProxyFilter(spec)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from None


#: What a target's own dict may say: the field of its policy, and what reads and checks a value.
TARGET_KEYS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "rate": ("rate", _rate),
    "in_flight": ("max_in_flight", integer),
    "spacing": ("spacing", _seconds),
    "filter": ("proxy_filter", _filter),
    "strategy": ("strategy", _strategy),
    "pause": ("pause", _seconds),
    "pause_max": ("pause_max", _seconds),
    "max_pauses": ("max_pauses", integer),
    "forbidden_threshold": ("forbidden_threshold", integer),
    "ramp": ("ramp", _seconds),
}


def _targets(name: str, value: Any) -> dict[str, dict[str, Any]]:
    """Return, for each target's name, the fields of its policy that differ from the crawl's."""
    value = mapping(name, value, "write a dict like {'example.com': {'rate': '2/s'}}")
    return {target: _target(name, target, entry) for target, entry in value.items()}


def _target(name: str, target: Any, entry: Any) -> dict[str, Any]:
    try:
        read_target_name(target)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from None
    name = f"{name}[{target!r}]"
    if not isinstance(entry, Mapping):
        raise fail(name, entry, "write a dict like {'rate': '2/s', 'in_flight': 4}")
    fields = {}
    for key, value in entry.items():
        refuse_unknown_key(name, key, value, TARGET_KEYS)
        if value is not None:
            field, read = TARGET_KEYS[key]
            fields[field] = read(f"{name}[{key!r}]", value)
    return fields


#: Every setting without its prefix: the default, and what reads and checks a value.
SETTINGS: dict[str, tuple[Any, Callable[[str, Any], Any]]] = {
    "ENABLED": (True, _boolean),
    "PROXIES": ((), _proxies),
    "PROXIES_FILE": (None, _path),
    "STRATEGY": ("weighted", _strategy),
    "MAX_IN_FLIGHT": (4, integer),
    "RATE": (None, _rate),
    "WINDOW": (20, integer),
    "FAILURE_THRESHOLD": (3, integer),
    "COOLDOWN": (30.0, _seconds),
    "COOLDOWN_MAX": (600.0, _seconds),
    "ACQUIRE_TIMEOUT": (30.0, _seconds),
    "EXHAUSTED_TIMEOUT": (300.0, _seconds),
    "SESSION_META_KEY": ("session", _text),
    "SESSION_TTL": (600.0, _seconds),
    "SESSION_LIMIT": (100_000, integer),
    "SESSION_LOST": ("reassign", partial(_one_of, SESSION_LOST_POLICIES)),
    "ON_RATE_LIMITED": ("pause", partial(_one_of, REFUSAL_POLICIES)),
    "ON_FORBIDDEN": ("pause", partial(_one_of, REFUSAL_POLICIES)),
    "FORBIDDEN_THRESHOLD": (3, integer),
    "PAUSE": (60.0, _seconds),
    "PAUSE_MAX": (3600.0, _seconds),
    "MAX_PAUSES": (5, integer),
    "RAMP": (60.0, _seconds),
    "TARGETS": ({}, _targets),
    "ADAPTIVE_TIMEOUT": (True, _boolean),
    "ADAPTIVE_TIMEOUT_MIN": (5.0, _seconds),
    "RETRY_DELAY": (0.25, partial(_from_zero, "a number of seconds, or 0 for none")),
    "RETRY_BUDGET": (0.2, partial(_from_zero, "a share, like 0.2 for one retry per five requests")),
    "RETRY_BUDGET_MIN": (10.0, _per_second),
    "WARM_CONNECTIONS": (True, _boolean),
    "GATEWAYS": ({}, read_gateways),
    "IDLE_WHEN_PAUSED": ("wait", partial(_one_of, IDLE_POLICIES)),
    "IDLE_TIMEOUT": (7200.0, _seconds),
    "CLASSIFIER": (None, _class),
    "PROXY_MARKS": ((), read_proxy_marks),
    "STATS_FILE": (None, _path),
    "STATS_PER_PROXY": (50, integer),
    "REQUEST_LOG": (None, read_feed),
    "REPORT": ((), read_report),
    "METRICS_PORT": (None, _port),
    "METRICS_HOST": ("127.0.0.1", _text),
    "METRICS_PER_PROXY": (100, integer),
    "CONTROL_TOKEN": (None, _token),
    "PROGRESS": (False, _boolean),
}


@attrs.frozen(kw_only=True)
class Settings:
    """The settings of one crawl. Durations in seconds."""

    proxies: tuple[Proxy, ...] = attrs.field(repr=False)
    policy: PoolPolicy
    acquire_timeout: float
    exhausted_timeout: float
    session_meta_key: str
    on_rate_limited: str
    on_forbidden: str
    adaptive_timeout: bool
    retry_delay: float
    retry_budget: float
    retry_budget_min: float
    idle_when_paused: str
    idle_timeout: float
    classifier: Any
    proxy_marks: tuple[Mark, ...]
    stats_file: str | None
    stats_per_proxy: int
    request_log: Feed | None
    report: tuple[str, ...]
    metrics_port: int | None
    metrics_host: str
    metrics_per_proxy: int
    control_token: str | None = attrs.field(repr=False)
    progress: bool

    @classmethod
    def read(cls, settings: BaseSettings) -> Settings:
        """Read and check them all.

        :raises ConfigurationError: for the first one that cannot work.
        """
        refuse_unknown(settings)
        values = {name: read_one(settings, name) for name in SETTINGS}
        for short, long in (("COOLDOWN", "COOLDOWN_MAX"), ("PAUSE", "PAUSE_MAX")):
            if values[short] > values[long]:
                raise fail(
                    PREFIX + short,
                    values[short],
                    f"that is longer than {PREFIX}{long} ({values[long]:g}); raise that one too",
                )
        proxies = list(values["PROXIES"])
        if values["PROXIES_FILE"] is not None:
            proxies += read_file(values["PROXIES_FILE"], f"{PREFIX}PROXIES_FILE")
        if not proxies:
            raise ConfigurationError(
                f"{PREFIX}PROXIES and {PREFIX}PROXIES_FILE name no proxy, and nothing is sent "
                f"without one; list your proxies, or set {PREFIX}ENABLED = False"
            )
        refuse_unknown_gateways(f"{PREFIX}GATEWAYS", values["GATEWAYS"], proxies)
        return cls(
            proxies=tuple(proxies),
            policy=attrs.evolve(
                _policy(values), warm=warm_policy(settings) if values["WARM_CONNECTIONS"] else None
            ),
            acquire_timeout=values["ACQUIRE_TIMEOUT"],
            exhausted_timeout=values["EXHAUSTED_TIMEOUT"],
            session_meta_key=values["SESSION_META_KEY"],
            on_rate_limited=values["ON_RATE_LIMITED"],
            on_forbidden=values["ON_FORBIDDEN"],
            adaptive_timeout=values["ADAPTIVE_TIMEOUT"],
            retry_delay=values["RETRY_DELAY"],
            retry_budget=values["RETRY_BUDGET"],
            retry_budget_min=values["RETRY_BUDGET_MIN"],
            idle_when_paused=values["IDLE_WHEN_PAUSED"],
            idle_timeout=values["IDLE_TIMEOUT"],
            classifier=values["CLASSIFIER"],
            proxy_marks=values["PROXY_MARKS"],
            stats_file=values["STATS_FILE"],
            stats_per_proxy=values["STATS_PER_PROXY"],
            request_log=values["REQUEST_LOG"],
            report=values["REPORT"],
            metrics_port=values["METRICS_PORT"],
            metrics_host=values["METRICS_HOST"],
            metrics_per_proxy=values["METRICS_PER_PROXY"],
            control_token=values["CONTROL_TOKEN"],
            progress=values["PROGRESS"],
        )


def _policy(values: dict[str, Any]) -> PoolPolicy:
    targets = TargetPolicy(
        pause=values["PAUSE"],
        pause_max=values["PAUSE_MAX"],
        max_pauses=values["MAX_PAUSES"],
        forbidden_threshold=values["FORBIDDEN_THRESHOLD"],
        ramp=values["RAMP"],
    )
    return PoolPolicy(
        strategy=values["STRATEGY"],
        max_in_flight=values["MAX_IN_FLIGHT"],
        rate=values["RATE"],
        session_ttl=values["SESSION_TTL"],
        session_limit=values["SESSION_LIMIT"],
        session_lost=values["SESSION_LOST"],
        timeout_min=values["ADAPTIVE_TIMEOUT_MIN"],
        health=HealthPolicy(
            window=values["WINDOW"],
            failure_threshold=values["FAILURE_THRESHOLD"],
            cooldown=values["COOLDOWN"],
            cooldown_max=values["COOLDOWN_MAX"],
        ),
        gateways=values["GATEWAYS"].get(EVERY_GATEWAY, GatewayPolicy()),
        gateways_by_name={
            name: policy for name, policy in values["GATEWAYS"].items() if name != EVERY_GATEWAY
        },
        targets=targets,
        targets_by_name=_targets_by_name(targets, values["TARGETS"]),
    )


def _targets_by_name(
    default: TargetPolicy, changes: dict[str, dict[str, Any]]
) -> dict[str, TargetPolicy]:
    by_name = {}
    for target, fields in changes.items():
        pause = fields.get("pause", default.pause)
        longest = fields.get("pause_max", default.pause_max)
        if pause > longest:
            own = "" if "pause" in fields else f" (from {PREFIX}PAUSE)"
            raise fail(
                f"{PREFIX}TARGETS[{target!r}]['pause']{own}",
                pause,
                f"that is longer than its 'pause_max' ({longest:g}); write both",
            )
        by_name[target] = attrs.evolve(default, **fields)
    try:
        TargetRules(default, by_name)
    except ConfigurationError as error:
        raise ConfigurationError(f"{PREFIX}TARGETS: {error}") from None
    return by_name


def read_one(settings: BaseSettings, name: str) -> Any:
    """Read one setting, by its name without the prefix."""
    default, read = SETTINGS[name]
    return read(PREFIX + name, settings.get(PREFIX + name, default))


def refuse_unknown(settings: BaseSettings) -> None:
    """Raise :class:`ConfigurationError` for a setting that has our prefix and does not exist."""
    for name in settings:
        if not isinstance(name, str) or not name.startswith(PREFIX):
            continue
        if name[len(PREFIX) :] not in SETTINGS:
            close = get_close_matches(name[len(PREFIX) :], SETTINGS, n=1)
            meant = f"; did you mean {PREFIX}{close[0]}?" if close else ""
            raise ConfigurationError(f"{name}: there is no such setting{meant}")
