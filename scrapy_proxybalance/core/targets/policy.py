"""What holds for a target: how much it may get, and how long it is left alone when it refuses.

Names of targets are matched here, and nowhere else: a host, a domain with its subdomains, a pattern.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from ..errors import ConfigurationError
from ..strategies import strategy_class

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..limits.rate import Rate
    from ..proxies.filters import ProxyFilter
    from ..strategies import StrategyChoice

# Hosts whose rule is remembered; beyond that all are looked up again.
_HOSTS_REMEMBERED = 10_000

# A host, or one in brackets (IPv6), and a port.
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(\d+))?")
_NAME = re.compile(r"\[[0-9a-f:.]+\]|[a-z0-9_*?-]+(\.[a-z0-9_*?-]+)*|(\.[a-z0-9_-]+)+")
_USUAL_PORTS = (80, 443)


@attrs.frozen(kw_only=True)
class TargetPolicy:
    """How much a target may get, across all proxies, and how long one that refuses is left alone.

    :param pause: seconds of the first pause; each further one in a row doubles.
    :param pause_max: seconds that no pause exceeds, whatever the target asks for.
    :param max_pauses: pauses in a row after which the target is suspended.
    :param forbidden_threshold: 403s in a row that count as one refusal.
    :param ramp: seconds over which traffic grows back after a pause.
    :param rate: requests over time; ``None`` for no limit.
    :param max_in_flight: requests at once; ``None`` for no limit.
    :param spacing: seconds between two requests through the same proxy; ``None`` for no limit.
    :param proxy_filter: which proxies may be used; ``None`` for all.
    :param strategy: chooses among them; ``None`` for that of the whole pool.
    """

    pause: float = 60.0
    pause_max: float = 3600.0
    max_pauses: int = 5
    forbidden_threshold: int = 3
    ramp: float = 60.0
    rate: Rate | None = None
    max_in_flight: int | None = None
    spacing: float | None = None
    proxy_filter: ProxyFilter | None = None
    strategy: StrategyChoice | None = None

    @property
    def narrows_proxies(self) -> bool:
        """Whether not every free proxy may be used for a request."""
        return self.proxy_filter is not None or self.spacing is not None

    def __attrs_post_init__(self) -> None:
        if not 0 < self.pause <= self.pause_max:
            raise ConfigurationError(
                f"pause {self.pause!r} s has to be above 0 and no longer than pause_max "
                f"({self.pause_max!r} s)"
            )
        for name in ("max_pauses", "forbidden_threshold", "max_in_flight"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} {value!r} is below 1")
        for name in ("ramp", "spacing"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigurationError(f"{name} {value!r} s is not above 0")
        if self.strategy is not None:
            strategy_class(self.strategy)


class TargetRules:
    """Which target a host belongs to, and what holds for that target.

    A name is a host (``www.example.com``, or ``www.example.com:8080`` for an unusual port), a domain
    with all its subdomains (``.example.com``), which are one target whatever the port, or a pattern
    (``shop-*.example.com``), whose hosts are a target each, whatever the port. A host goes before
    a domain, the longest domain before others, and a domain before patterns, of which the first counts.

    :param default: what holds for every target without a name of its own here.
    :param by_name: what holds for the others.
    :raises ConfigurationError: for a name that no target can have.
    """

    def __init__(
        self, default: TargetPolicy, by_name: Mapping[str, TargetPolicy] | None = None
    ) -> None:
        self.default = default
        self._exact: dict[str, TargetPolicy] = {}
        self._patterns: list[tuple[re.Pattern[str], str, TargetPolicy]] = []
        self._found: dict[str, tuple[str, TargetPolicy]] = {}
        seen: dict[str, str] = {}
        for written, policy in (by_name or {}).items():
            name = read_target_name(written)
            if name in seen:
                raise ConfigurationError(
                    f"target names {seen[name]!r} and {written!r} are the same; keep one of them"
                )
            seen[name] = written
            if _is_pattern(name):
                self._patterns.append((_compile(name), name, policy))
            else:
                self._exact[name] = policy
        self._unmatched = seen
        #: Whether any of the rules says that not every free proxy may be used.
        self.narrow_proxies = any(
            policy.narrows_proxies for policy in (default, *(by_name or {}).values())
        )

    @property
    def unmatched(self) -> list[str]:
        """The names, as they were written, that no host that was asked for belongs to so far."""
        return list(self._unmatched.values())

    def find(self, host: str) -> tuple[str, TargetPolicy]:
        """Return :meth:`target_of` and :meth:`policy_of` a host."""
        return self._found.get(host) or self._find(host)

    def target_of(self, host: str) -> str:
        """Return the target that a host belongs to: itself, or its domain like ``.example.com``.

        :param host: like ``example.com`` or ``example.com:8080``, or a target already.
        """
        return (self._found.get(host) or self._find(host))[0]

    def policy_of(self, target: str) -> TargetPolicy:
        """Return what holds for a target, or for a host."""
        return (self._found.get(target) or self._find(target))[1]

    def _find(self, host: str) -> tuple[str, TargetPolicy]:
        found = self._search(_normal(host))
        if len(self._found) >= _HOSTS_REMEMBERED:
            self._found.clear()
        self._found[host] = found
        return found

    def _search(self, host: str) -> tuple[str, TargetPolicy]:
        if host in self._exact:
            self._unmatched.pop(host, None)
            return host, self._exact[host]
        alone = _without_port(host)
        domain = f".{alone}"
        while domain:
            if domain in self._exact:
                self._unmatched.pop(domain, None)
                return domain, self._exact[domain]
            dot = domain.find(".", 1)
            domain = domain[dot:] if dot > 0 else ""
        for pattern, name, policy in self._patterns:
            if pattern.fullmatch(alone):
                self._unmatched.pop(name, None)
                return host, policy
        return host, self.default


def read_target_name(name: object) -> str:
    """Return a target's name in its normal form: lower case, international hosts in ASCII.

    :raises ConfigurationError: if it is no host, domain or pattern.
    """
    normal = _normal(name) if isinstance(name, str) else ""
    if not normal.isascii() and not _is_pattern(normal):
        try:
            normal = normal.encode("idna").decode("ascii")
        except UnicodeError:
            normal = ""
    parts = _HOST_AND_PORT.fullmatch(normal)
    if parts is None or not _NAME.fullmatch(parts[1]):
        raise ConfigurationError(
            f"target name {name!r} is not a host; write the host alone: 'example.com', "
            "'.example.com' with its subdomains, or a pattern like 'shop-*.example.com'"
        )
    if parts[2] is None:
        return normal
    if normal.startswith(".") or _is_pattern(normal):
        raise ConfigurationError(
            f"target name {name!r}: domains and patterns hold for every port; "
            f"write it without one: {parts[1]!r}"
        )
    port = int(parts[2])
    if port in _USUAL_PORTS or not 0 < port < 65536:
        raise ConfigurationError(
            f"target name {name!r}: a host with a usual port (80, 443) is written without it: "
            f"{parts[1]!r}; others are numbers up to 65535"
        )
    return f"{parts[1]}:{port}"


def _normal(host: str) -> str:
    """Return a host in lower case, without the root's dot, and an IPv6 address in brackets."""
    host = host.lower()
    if host.count(":") > 1 and not host.startswith("["):
        return f"[{host}]"
    alone = _without_port(host)
    return alone.rstrip(".") + host[len(alone) :] if alone.endswith(".") else host


def _without_port(host: str) -> str:
    parts = _HOST_AND_PORT.fullmatch(host)
    return parts[1] if parts is not None else host


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


def _compile(pattern: str) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(letter) or re.escape(letter) for letter in pattern))
