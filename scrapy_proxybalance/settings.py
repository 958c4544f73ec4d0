"""Every ``PROXYBALANCE_*`` setting: read once, validated, typed. Errors name the setting and the mend.

A new setting is one line in :data:`SETTINGS` and one row in ``docs/reference/settings.md``.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
from scrapy.utils.misc import load_object

from .pool import (
    STRATEGIES,
    ConfigurationError,
    HealthPolicy,
    PoolPolicy,
    Proxy,
    Rate,
    TargetPolicy,
)
from .pool.policy import SESSION_LOST_POLICIES
from .sources import parse_entry, read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scrapy.settings import BaseSettings

PREFIX = "PROXYBALANCE_"
REFUSAL_POLICIES = ("pause", "close_spider", "drop")


def _fail(name: str, value: object, mend: str) -> ConfigurationError:
    return ConfigurationError(f"{name} = {value!r}: {mend}")


def _boolean(name: str, value: Any) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    try:
        return known[str(value).lower()]
    except KeyError:
        raise _fail(name, value, "write True or False") from None


def _integer(name: str, value: Any) -> int:
    try:
        number = int(value) if isinstance(value, int | str) and value is not True else 0
    except ValueError:
        number = 0
    if number < 1:
        raise _fail(name, value, "write a whole number of at least 1")
    return number


def _seconds(name: str, value: Any) -> float:
    try:
        number = float(value) if value is not True else 0.0
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < float("inf"):
        raise _fail(name, value, "write a number of seconds above 0")
    return number


def _one_of(allowed: Iterable[str], name: str, value: Any) -> str:
    if value not in allowed:
        raise _fail(name, value, f"write one of {', '.join(map(repr, allowed))}")
    return str(value)


def _rate(name: str, value: Any) -> Rate | None:
    if value is None or isinstance(value, Rate):
        return value
    if not isinstance(value, str):
        raise _fail(name, value, "write a rate like '30/min', or None for no limit")
    try:
        return Rate.parse(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name} = {error}") from None


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _fail(name, value, "write a text that is not empty")
    return value


def _path(name: str, value: Any) -> str | None:
    if value is None or value == "":
        return None
    try:
        return str(value.__fspath__() if hasattr(value, "__fspath__") else _text(name, value))
    except TypeError:
        raise _fail(name, value, "write the path of a file") from None


def _class(name: str, value: Any) -> Any:
    if value is None:
        return None
    try:
        found = load_object(value)
    except (ImportError, NameError, TypeError, ValueError) as error:
        raise _fail(name, value, f"it cannot be imported ({error})") from None
    if not callable(found):
        raise _fail(name, value, "name a function or a class")
    return found


def _proxies(name: str, value: Any) -> list[Proxy]:
    if isinstance(value, str):
        value = [entry for entry in (part.strip() for part in value.split(",")) if entry]
    if not isinstance(value, list | tuple):
        raise ConfigurationError(
            f"{name} is of type {type(value).__name__}: write a list of URLs or dicts"
        )
    return [parse_entry(entry, f"{name}[{index}]") for index, entry in enumerate(value)]


#: Every setting without its prefix: the default, and what reads and checks a value.
SETTINGS: dict[str, tuple[Any, Callable[[str, Any], Any]]] = {
    "ENABLED": (True, _boolean),
    "PROXIES": ((), _proxies),
    "PROXIES_FILE": (None, _path),
    "STRATEGY": ("weighted", partial(_one_of, tuple(STRATEGIES))),
    "MAX_IN_FLIGHT": (4, _integer),
    "RATE": (None, _rate),
    "WINDOW": (50, _integer),
    "FAILURE_THRESHOLD": (3, _integer),
    "COOLDOWN": (30.0, _seconds),
    "COOLDOWN_MAX": (600.0, _seconds),
    "ACQUIRE_TIMEOUT": (30.0, _seconds),
    "EXHAUSTED_TIMEOUT": (300.0, _seconds),
    "SESSION_META_KEY": ("session", _text),
    "SESSION_TTL": (600.0, _seconds),
    "SESSION_LIMIT": (100_000, _integer),
    "SESSION_LOST": ("reassign", partial(_one_of, SESSION_LOST_POLICIES)),
    "ON_RATE_LIMITED": ("pause", partial(_one_of, REFUSAL_POLICIES)),
    "ON_FORBIDDEN": ("pause", partial(_one_of, REFUSAL_POLICIES)),
    "FORBIDDEN_THRESHOLD": (3, _integer),
    "PAUSE": (60.0, _seconds),
    "PAUSE_MAX": (3600.0, _seconds),
    "MAX_PAUSES": (5, _integer),
    "CLASSIFIER": (None, _class),
    "STATS_FILE": (None, _path),
    "STATS_PER_PROXY": (50, _integer),
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
    classifier: Any
    stats_file: str | None
    stats_per_proxy: int

    @classmethod
    def read(cls, settings: BaseSettings) -> Settings:
        """Read and check them all.

        :raises ConfigurationError: for the first one that cannot work.
        """
        refuse_unknown(settings)
        values = {name: read_one(settings, name) for name in SETTINGS}
        for short, long in (("COOLDOWN", "COOLDOWN_MAX"), ("PAUSE", "PAUSE_MAX")):
            if values[short] > values[long]:
                raise _fail(
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
        return cls(
            proxies=tuple(proxies),
            policy=_policy(values),
            acquire_timeout=values["ACQUIRE_TIMEOUT"],
            exhausted_timeout=values["EXHAUSTED_TIMEOUT"],
            session_meta_key=values["SESSION_META_KEY"],
            on_rate_limited=values["ON_RATE_LIMITED"],
            on_forbidden=values["ON_FORBIDDEN"],
            classifier=values["CLASSIFIER"],
            stats_file=values["STATS_FILE"],
            stats_per_proxy=values["STATS_PER_PROXY"],
        )


def _policy(values: dict[str, Any]) -> PoolPolicy:
    return PoolPolicy(
        strategy=values["STRATEGY"],
        max_in_flight=values["MAX_IN_FLIGHT"],
        rate=values["RATE"],
        session_ttl=values["SESSION_TTL"],
        session_limit=values["SESSION_LIMIT"],
        session_lost=values["SESSION_LOST"],
        health=HealthPolicy(
            window=values["WINDOW"],
            failure_threshold=values["FAILURE_THRESHOLD"],
            cooldown=values["COOLDOWN"],
            cooldown_max=values["COOLDOWN_MAX"],
        ),
        targets=TargetPolicy(
            pause=values["PAUSE"],
            pause_max=values["PAUSE_MAX"],
            max_pauses=values["MAX_PAUSES"],
            forbidden_threshold=values["FORBIDDEN_THRESHOLD"],
        ),
    )


def read_one(settings: BaseSettings, name: str) -> Any:
    """Read one setting, by its name without the prefix."""
    default, read = SETTINGS[name]
    return read(PREFIX + name, settings.get(PREFIX + name, default))


def refuse_unknown(settings: BaseSettings) -> None:
    """Raise :class:`ConfigurationError` for a setting that has our prefix and is none of ours."""
    for name in settings:
        if not isinstance(name, str) or not name.startswith(PREFIX):
            continue
        if name[len(PREFIX) :] not in SETTINGS:
            close = get_close_matches(name[len(PREFIX) :], SETTINGS, n=1)
            meant = f"; did you mean {PREFIX}{close[0]}?" if close else ""
            raise ConfigurationError(f"{name}: there is no such setting{meant}")
