"""``PROXYBALANCE_PROXY_MARKS``: from what users write to the marks of their proxies' own pages."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ...core import ConfigurationError
from ...http.marks import BUILT_IN, MEANINGS, Mark
from .values import fail, refuse_unknown_key

#: What a mark's own dict may say.
MARK_KEYS = ("header", "value", "status", "body", "verdict")

_STATUS = re.compile(r"[1-9]\d\d|[1-9]\dx|[1-9]xx")
_EXAMPLE = "write a list like [{'header': 'X-Gate-Error', 'status': '5xx', 'verdict': 'proxy'}]"


def read_proxy_marks(name: str, value: Any) -> tuple[Mark, ...]:
    """Return the user's marks, and behind them the built-in ones.

    :param name: the setting's.
    :param value: a list of dicts, or the same as a JSON text.
    :raises ConfigurationError: for what cannot work.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value or "[]")
        except ValueError as error:
            raise ConfigurationError(f"{name}: the text is no JSON ({error}); {_EXAMPLE}") from None
    if not isinstance(value, list | tuple):
        raise fail(name, value, _EXAMPLE)
    own = tuple(_mark(f"{name}[{index}]", entry) for index, entry in enumerate(value))
    return (*own, *BUILT_IN)


def _mark(name: str, entry: Any) -> Mark:
    if not isinstance(entry, Mapping):
        raise fail(name, entry, _EXAMPLE)
    for key, value in entry.items():
        refuse_unknown_key(name, key, value, MARK_KEYS)
    if not {"header", "status", "body"} & set(entry):
        raise fail(name, dict(entry), "say at least one of 'header', 'status' and 'body'")
    if "value" in entry and "header" not in entry:
        raise fail(name, dict(entry), "'value' is that of a header; name it under 'header'")
    verdict = entry.get("verdict", "proxy")
    if not isinstance(verdict, str) or verdict not in MEANINGS:
        raise fail(f"{name}['verdict']", verdict, f"write one of {', '.join(MEANINGS)}")
    return Mark(
        header=_text(name, entry, "header"),
        value=_text(name, entry, "value") or "",
        statuses=_statuses(f"{name}['status']", entry.get("status")),
        body=_text(name, entry, "body"),
        verdict=verdict,
        certain=True,
    )


def _text(name: str, entry: Mapping[str, Any], key: str) -> str | None:
    value = entry.get(key)
    if value is not None and (not isinstance(value, str) or not value):
        raise fail(f"{name}[{key!r}]", value, "write a text that is not empty")
    return value


def _statuses(name: str, value: Any) -> frozenset[int]:
    if value is None:
        return frozenset()
    found: set[int] = set()
    for one in value if isinstance(value, list | tuple) else [value]:
        text = str(one)
        if isinstance(one, bool) or not _STATUS.fullmatch(text):
            raise fail(name, value, "write a status like 503, '59x' or '5xx', or a list of these")
        least = int(text.replace("x", "0"))
        found.update(range(least, least + 10 ** text.count("x")))
    return frozenset(found)
