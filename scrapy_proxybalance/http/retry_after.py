"""When a refusal says to come back: from a response's headers to seconds. No clock, no state.

``Retry-After`` is read first, then the headers that tell of a rate limit. The first header that says
something usable decides; of several values in one header the longest wait does.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_tz
from math import inf
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from .messages import Headers


@attrs.frozen(kw_only=True)
class Asked:
    """How long a response asks to be left alone.

    :param seconds: from now on; finite and above 0.
    :param header: the header that says so, as ``"Retry-After: 120"``: printable, cut to 80
        characters.
    """

    seconds: float
    header: str


def wait_asked(headers: Headers, now: float) -> Asked | None:
    """Return how long a response's headers ask to wait, or ``None`` where they do not say.

    Zero, negative values, dates in the past and garbage say nothing. Nor does the reset of a rate
    limit of which something is left: it is not what this refusal is about.

    :param now: seconds since the epoch.
    """
    for name, remaining, read in _HEADERS:
        if remaining is not None and _something_is_left(headers, remaining):
            continue
        values = _values(headers, name)
        waits = [(seconds, value) for value in values if (seconds := read(value, now)) is not None]
        seconds, value = max(waits, default=(0.0, ""))
        if 0 < seconds < inf:
            return Asked(seconds=seconds, header=_printable(f"{name}: {value}"))
    return None


def _values(headers: Headers, name: str) -> list[str]:
    lines = [line.decode("latin-1").strip() for line in headers.getlist(name)]
    # A structured field may go on in the next line.
    return [", ".join(lines)] if lines and name == _STRUCTURED else lines


def _something_is_left(headers: Headers, name: str) -> bool:
    left = [number for value in _values(headers, name) if (number := _number(value)) is not None]
    return min(left, default=0.0) > 0


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:80]


# The readers: from a header's value to seconds from now, or None where it cannot be read.

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def _number(text: str) -> float | None:
    """Read a decimal; the fractions are in no standard, but are sent."""
    number = float(text) if _NUMBER.fullmatch(text) else inf
    return number if number < inf else None


def _seconds(value: str, now: float) -> float | None:  # noqa: ARG001
    return _number(value)


def _seconds_or_date(value: str, now: float) -> float | None:
    """Read ``Retry-After``: RFC 9110, section 10.2.3."""
    seconds = _number(value)
    if seconds is None:
        date = _timestamp(value, now)
        seconds = None if date is None else date - now
    return seconds


_EPOCH_SECONDS_FROM = 1e9  # as a wait: 31 years; as a moment: September 2001
_EPOCH_MILLISECONDS_FROM = 1e11  # as seconds since the epoch: the year 5138; as milliseconds: 1973
_EPOCH_MILLISECONDS_TO = 1e14  # as milliseconds since the epoch: the year 5138


def _reset(value: str, now: float) -> float | None:
    """Read a reset, which is a wait or a moment: only its size tells which.

    GitHub, Twitter (X) and Discord document seconds since the epoch, with a fraction at Discord. The
    drafts of the IETF (up to 06) have seconds from now, and so have many gateways. Some applications
    send milliseconds since the epoch.
    """
    number = _number(value)
    if number is None or number < _EPOCH_SECONDS_FROM:
        return number
    if number < _EPOCH_MILLISECONDS_FROM:
        return number - now
    return number / 1000 - now if number < _EPOCH_MILLISECONDS_TO else None


_QUOTED = re.compile(r'"[^"]*"')


def _rate_limit(value: str, now: float) -> float | None:  # noqa: ARG001
    """Read the structured ``RateLimit`` of draft-ietf-httpapi-ratelimit-headers.

    Up to draft 07 it is one limit, ``limit=100, remaining=0, reset=50``; since then it is a list of
    limits, ``"a name";r=0;t=30``.
    """
    limits: list[dict[str, float | None]] = []
    single: dict[str, float | None] = {}
    # A name may have any of the separators in it.
    for member in _QUOTED.sub("", value).split(","):
        pairs = [part.partition("=") for part in member.split(";")]
        fields = {key.strip(): _number(text.strip()) for key, _, text in pairs}
        limits.append({"remaining": fields.get("r"), "reset": fields.get("t")})
        single |= {key: fields[key] for key in ("remaining", "reset") if key in fields}
    limits.append(single)
    # A limit that does not say what is left of it counts only where no other one is used up.
    for remaining in (0, None):
        resets = [limit.get("reset") for limit in limits if limit.get("remaining") == remaining]
        if waits := [reset for reset in resets if reset]:
            return max(waits)
    return None


_TWO_DIGIT_YEAR = re.compile(r"[0-9]-[A-Za-z]+-([0-9]{2})\s")


def _timestamp(text: str, now: float) -> float | None:
    """Return the seconds since the epoch of a date in any format of RFC 9110, section 5.6.7.

    ``email.utils`` reads all three, and takes what has no zone as GMT. But to it two-digit years end
    in 2068, and it looks at no field's range.
    """
    fields = parsedate_tz(text)
    if fields is None:
        return None
    year, month, day, hour, minute, second, *_, offset = fields
    if short := _TWO_DIGIT_YEAR.search(text):
        # The last year with these digits that is not more than 50 years ahead.
        latest = datetime.fromtimestamp(now, timezone.utc).year + 50
        year = latest - (latest - int(short[1])) % 100
    if second == 60:  # a leap second
        second = 59
    try:
        zone = timezone(timedelta(seconds=offset or 0))
        return datetime(year, month, day, hour, minute, second, tzinfo=zone).timestamp()
    except (ValueError, OverflowError):
        return None


_STRUCTURED = "RateLimit"

# In this order: the header, the one that says how much of its limit is left, how it is read.
_HEADERS: tuple[tuple[str, str | None, Callable[[str, float], float | None]], ...] = (
    ("Retry-After", None, _seconds_or_date),
    ("RateLimit-Reset", "RateLimit-Remaining", _reset),
    (_STRUCTURED, None, _rate_limit),
    ("X-RateLimit-Reset-After", "X-RateLimit-Remaining", _seconds),
    ("X-RateLimit-Reset", "X-RateLimit-Remaining", _reset),
    ("X-Rate-Limit-Reset", "X-Rate-Limit-Remaining", _reset),
)
