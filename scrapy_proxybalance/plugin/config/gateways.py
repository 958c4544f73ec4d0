"""``PROXYBALANCE_GATEWAYS``: from what users write to a policy for each gateway."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ...core import ConfigurationError, GatewayPolicy
from ...sources import redact
from .values import fail, integer, mapping, refuse_unknown_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...core import Proxy

#: The value of a gateway's ``max_in_flight`` that has the limit learned.
ADAPTIVE = "adaptive"

#: The name of what holds for every gateway that has no name of its own.
EVERY_GATEWAY = "*"

#: What a gateway's own dict may say: the fields of its policy.
GATEWAY_KEYS = ("max_in_flight", "start", "adaptive_max", "rotating")

_HOST_AND_PORT = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/@\[\]]+):\d{1,5}")


def read_gateways(name: str, value: Any) -> dict[str, GatewayPolicy]:
    """Return each gateway's policy by its ``host:port``, or by ``*``.

    :param name: the setting's.
    :param value: a mapping, or the same as a JSON text.
    :raises ConfigurationError: for what cannot work.
    """
    value = mapping(name, value, "write a dict like {'gate.example:8080': {'max_in_flight': 100}}")
    policies: dict[str, GatewayPolicy] = {}
    for written, entry in value.items():
        gateway = _gateway_name(name, written)
        if gateway in policies:
            raise ConfigurationError(f"{name}: {gateway!r} is there twice; keep one of them")
        policies[gateway] = _policy(f"{name}[{gateway!r}]", entry)
    return policies


def refuse_unknown_gateways(name: str, gateways: Iterable[str], proxies: Iterable[Proxy]) -> None:
    """Raise :class:`ConfigurationError` for the first gateway that no proxy has."""
    known = {proxy.gateway.lower() for proxy in proxies}
    for gateway in gateways:
        if gateway != EVERY_GATEWAY and gateway not in known:
            close = get_close_matches(gateway, known, n=1)
            meant = f"did you mean {close[0]!r}?" if close else "name the host and port of one"
            raise ConfigurationError(
                f"{name}[{gateway!r}]: no proxy has that host and port; {meant}"
            )


def _gateway_name(name: str, written: Any) -> str:
    if written == EVERY_GATEWAY:
        return EVERY_GATEWAY
    if not isinstance(written, str) or not _HOST_AND_PORT.fullmatch(written.lower()):
        # It may be a URL, with a password in it.
        shown = redact(written) if isinstance(written, str) else written
        raise ConfigurationError(
            f"{name}: {shown!r} is not a gateway; write its host and port alone, like "
            f"'gate.example:8080', or {EVERY_GATEWAY!r}"
        )
    return written.lower()


def _policy(name: str, entry: Any) -> GatewayPolicy:
    if not isinstance(entry, Mapping):
        # It may be a URL, with a password in it.
        shown = redact(entry) if isinstance(entry, str) else entry
        raise fail(name, shown, "write a dict like {'max_in_flight': 100}")
    fields: dict[str, Any] = {}
    for key, value in entry.items():
        refuse_unknown_key(name, key, value, GATEWAY_KEYS)
        if value is None or (key == "max_in_flight" and value == ADAPTIVE):
            continue
        if key == "rotating":
            if not isinstance(value, bool):
                raise fail(f"{name}[{key!r}]", value, "write True or False")
            fields[key] = value
            continue
        try:
            fields[key] = integer(f"{name}[{key!r}]", value)
        except ConfigurationError as error:
            also = f", or {ADAPTIVE!r}" if key == "max_in_flight" else ""
            raise ConfigurationError(f"{error}{also}") from None
    for key in ("start", "adaptive_max"):
        if "max_in_flight" in fields and key in fields:
            raise fail(
                f"{name}[{key!r}]",
                entry[key],
                f"it applies to a learned limit only; write 'max_in_flight': {ADAPTIVE!r}, or leave "
                "it out",
            )
    policy = GatewayPolicy(**fields)
    if "start" in fields and policy.start > policy.adaptive_max:
        raise fail(
            f"{name}['start']",
            entry["start"],
            f"that is above its 'adaptive_max' ({policy.adaptive_max}); write both",
        )
    return policy
