"""What the readers of settings share: numbers, dicts, and how an error names the value and gives advice.

Knows no setting by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ...core import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable


def fail(name: str, value: object, advice: str) -> ConfigurationError:
    """Return the error of a value that cannot work."""
    return ConfigurationError(f"{name} = {value!r}: {advice}")


def integer(name: str, value: Any) -> int:
    """Read a whole number above 0."""
    try:
        number = int(value) if isinstance(value, int | str) and value is not True else 0
    except ValueError:
        number = 0
    if number < 1:
        raise fail(name, value, "write a whole number of at least 1")
    return number


def mapping(name: str, value: Any, advice: str) -> Mapping[Any, Any]:
    """Read a mapping, or the same as a JSON text.

    :param advice: what to write instead of anything else.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value or "{}")
        except ValueError as error:
            # The text is not shown: there may be a password in it.
            raise ConfigurationError(f"{name}: the text is not JSON ({error}); {advice}") from None
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{name}: that is a {type(value).__name__}; {advice}")
    return value


def refuse_unknown_key(name: str, key: Any, value: Any, known: Iterable[str]) -> None:
    """Raise :class:`ConfigurationError` for a key that is none of ``known``."""
    known = list(known)
    if key not in known:
        close = get_close_matches(str(key), known, n=1)
        meant = f"did you mean {close[0]!r}?" if close else f"use {', '.join(known)}"
        raise ConfigurationError(f"{name}[{key!r}] = {value!r}: there is no such key; {meant}")
