"""One entry of a proxy list: a URL, or a mapping with a URL and attributes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any
from urllib.parse import unquote, urlsplit

from ..core import ConfigurationError, Proxy, Rate
from .mistakes import what_is_wrong

_BYTE_ORDER_MARK = "\ufeff"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_BEHIND_ADDRESS = re.compile(r"[/?#]")
# What can only be a host: a word alone may be a password.
_HOST = re.compile(r"\w[\w-]*(\.[\w-]+)+\.?|localhost")
_HOST_WITH_PORT = re.compile(r"[\w.-]*:\d*")
_IPV6 = re.compile(r"\[[0-9a-fA-F:.]*\]?(:\d*)?")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}|<[^<>]*>|\$\w+|%\(\w+\)s|%s")


def redact(text: str) -> str:
    """Return ``text``, a proxy as somebody wrote it, without anything that may be a credential.

    What is shown is the scheme, and what can only be a host and a port.
    """
    match = _SCHEME.match(text)
    scheme = match[0] if match is not None else ""
    _, at, address = text[len(scheme) :].rpartition("@")
    behind = _BEHIND_ADDRESS.search(address)
    further = f"{behind[0]}***" if behind is not None else ""
    address = address[: behind.start()] if behind is not None else address
    if not any(form.fullmatch(address) for form in (_IPV6, _HOST, _HOST_WITH_PORT)):
        host, colon, _ = address.partition(":")
        known = colon and (at or address.count(":") == 1) and re.fullmatch(r"[\w.-]+", host)
        address = f"{host}:***" if known else "***"
    return f"{scheme}{'***@' if at else ''}{address}{further}"


def parse_entry(entry: object, where: str) -> Proxy:
    """Turn one entry into a proxy.

    :param entry: a URL such as ``http://user:password@host:port``, or a mapping with the key ``url``
        and any of those listed in the settings reference.
    :param where: the place to name in errors, such as ``PROXYBALANCE_PROXIES[3]``.
    :raises ConfigurationError: for an entry that cannot work.
    """
    if isinstance(entry, str):
        return _proxy(parse_url(entry, where), where)
    if not isinstance(entry, Mapping):
        raise ConfigurationError(
            f"{where}: an entry of type {type(entry).__name__} is neither a URL nor a dict; "
            "write 'http://host:port' or {'url': 'http://host:port', ...}"
        )
    unknown = [key for key in entry if key not in _READERS and key != "url"]
    if unknown:
        close = get_close_matches(str(unknown[0]), _READERS, n=1)
        meant = f"did you mean {close[0]!r}?" if close else f"use {', '.join(['url', *_READERS])}"
        raise ConfigurationError(f"{where}: unknown key {unknown[0]!r}; {meant}")
    if not isinstance(entry.get("url"), str):
        raise ConfigurationError(f"{where}: the key 'url' is missing; write 'http://host:port'")
    fields = parse_url(entry["url"], where)
    for key, value in entry.items():
        if key != "url" and value is not None:
            fields[key] = _READERS[key](value, f"{where}: {key}")
    return _proxy(fields, where)


def parse_url(url: str, where: str) -> dict[str, Any]:
    """Split a proxy's URL into the arguments of :class:`Proxy`.

    :raises ConfigurationError: for a URL that cannot work.
    """
    url = url.lstrip(_BYTE_ORDER_MARK).strip()
    shown = redact(url)
    wrong = what_is_wrong(url)
    if wrong is not None:
        raise ConfigurationError(f"{where}: that is not the URL of a proxy: {wrong}")
    if _PLACEHOLDER.search(url):
        raise ConfigurationError(
            f"{where}: {shown!r} has a placeholder that was never filled in; put your provider's "
            "value in its place (or percent-encode { } < > $ %, if they belong there)"
        )
    if re.search(r"\s", url):
        raise ConfigurationError(
            f"{where}: that is not the URL of a proxy: there is a blank in it; write "
            "'http://user:password@host:port' with special characters percent-encoded"
        )
    if "://" not in url:
        url = f"http://{url}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(
            f"{where}: {shown!r}: what stands behind the host is not a port in 1..65535; "
            "write 'http://host:port', or 'http://user:password@host:port' with special characters "
            "percent-encoded"
        ) from None
    if not host:
        raise ConfigurationError(f"{where}: {shown!r} names no host; write 'http://host:port'")
    if not host.isascii():
        raise ConfigurationError(
            f"{where}: {shown!r}: the host name is not ASCII, which no download handler looks up; write "
            f"it as {_in_ascii(host)}"
        )
    if port is None:
        raise ConfigurationError(
            f"{where}: {shown!r} names no port, and there is no usual one for proxies; write "
            f"'{parts.scheme}://{host if _HOST.fullmatch(host) else 'host'}:PORT'"
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{where}: {shown!r} has something behind the port; write 'http://host:port'"
            + (", and a blank before the '#' of a comment" if parts.fragment else "")
        )
    return {
        "scheme": parts.scheme.lower(),
        "host": host,
        "port": port,
        "username": unquote(parts.username) if parts.username is not None else None,
        "password": unquote(parts.password) if parts.password is not None else None,
    }


def _in_ascii(host: str) -> str:
    try:
        return repr(host.encode("idna").decode())
    except UnicodeError:
        return "DNS has it (xn--...)"


def _proxy(fields: dict[str, Any], where: str) -> Proxy:
    try:
        return Proxy(**fields)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{where}: it has to be a text that is not empty")
    return value


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < float("inf") or isinstance(value, bool):
        raise ConfigurationError(f"{where} {value!r} is not a number above 0")
    return number


def _count(value: Any, where: str) -> int:
    number = _number(value, where)
    if number != int(number):
        raise ConfigurationError(f"{where} {value!r} is not a whole number")
    return int(number)


def _rate(value: object, where: str) -> Rate:
    if not isinstance(value, str):
        raise ConfigurationError(f"{where} {value!r} is not a rate; write it like '30/min'")
    try:
        return Rate.parse(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None


def _tags(value: Any, where: str) -> frozenset[str]:
    tags = [tag.strip() for tag in value.split(",")] if isinstance(value, str) else value
    if not isinstance(tags, list | tuple | set | frozenset) or not all(
        isinstance(tag, str) and tag for tag in tags
    ):
        raise ConfigurationError(f"{where} {value!r} is not a list of texts")
    return frozenset(tags)


_READERS: dict[str, Callable[[Any, str], object]] = {
    "name": _text,
    "username": _text,
    "password": _text,
    "weight": _number,
    "max_in_flight": _count,
    "rate": _rate,
    "pool": _text,
    "country": _text,
    "region": _text,
    "city": _text,
    "provider": _text,
    "tags": _tags,
    "tier": _count,
}

#: The keys of an entry that is a mapping.
ENTRY_KEYS = ("url", *_READERS)
