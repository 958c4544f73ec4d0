"""What an entry that is no URL was meant to be: the forms of providers' lists, and common mistakes.

Each is told in words that hold no part of a password: what is named is the form, and not the text.
"""

from __future__ import annotations

import re

_WRITE = "write 'http://user:password@host:port'"
_SEPARATORS = re.compile(r"[:,;|]")
_HOST = re.compile(r"(\w[\w-]*\.)+\w[\w-]*|localhost")
_SCHEME_SLIP = re.compile(
    r"(https?|socks(?:4|5h?)?)(:/|//?|:(?=[^@]*[:.][^@]*$))(?!/)", re.IGNORECASE
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_BARE_IPV6 = re.compile(r"[0-9a-f]{0,4}(:[0-9a-f]{0,4}){2,7}(:\d+)?", re.IGNORECASE)
_QUOTES = ("'", '"', "`")
_ENCODED = {"/": "%2F", "?": "%3F", "#": "%23"}


def what_is_wrong(entry: str) -> str | None:
    """Return what is wrong with an entry and what to write, if its form is a known one.

    :param entry: as it was written; may be good.
    """
    in_brackets = entry.startswith("<") and entry.endswith(">")
    if entry.startswith(_QUOTES) or entry.endswith((*_QUOTES, ",", ";")) or in_brackets:
        return (
            "there is a quote, a bracket, a comma or a semicolon around it; write the URL alone, like "
            "'http://host:port'"
        )
    scheme = _SCHEME.match(entry)
    rest = entry[scheme.end() :] if scheme is not None else entry
    if _SCHEME.match(rest):
        return "it has two schemes; write 'http://host:port'"
    slip = _SCHEME_SLIP.match(rest) if scheme is None else None
    if slip is not None:
        return f"the scheme is not written right; write '{slip[1].lower()}://host:port'"
    if "://" in rest.partition("@")[0]:
        return "there is something before the scheme; write the URL alone, like 'http://host:port'"
    before, at, after = rest.rpartition("@")
    if at:
        return _with_credentials(before, after)
    if _BARE_IPV6.fullmatch(rest) and ("::" in rest or rest.count(":") > 3):
        return "an IPv6 address stands in brackets; write 'http://[address]:port'"
    return _in_fields(rest)


def _with_credentials(before: str, after: str) -> str | None:
    for character, code in _ENCODED.items():
        if character in before:
            return (
                f"there is a {character!r} in the username or the password; percent-encode it: write "
                f"{code!r} in its place"
            )
    host, _, port = before.partition(":")
    if _HOST.fullmatch(host) and _is_port(port) and not _is_port(after.rpartition(":")[2]):
        return f"it looks like host:port@user:password; {_WRITE}"
    return None


def _in_fields(rest: str) -> str | None:
    if rest.startswith("["):
        return None
    fields = _SEPARATORS.split(rest)
    separators = set(_SEPARATORS.findall(rest))
    csv = separators - {":"}
    if csv:
        separator = min(csv)
        return (
            f"it looks like fields separated by {separator!r}; {_WRITE}, and what else is known of the "
            "proxy as keys, such as country"
        )
    if len(fields) < 3:
        return None
    if len(fields) == 3 and _is_port(fields[1]):
        return f"there is something behind the port; {_WRITE}"
    if len(fields) == 4:
        host_first = _is_port(fields[1])
        if host_first and _is_port(fields[3]):
            host_first = _HOST.fullmatch(fields[0]) is not None
        if host_first:
            return f"it looks like host:port:user:password; {_WRITE}"
        if _is_port(fields[3]):
            return f"it looks like user:password:host:port; {_WRITE}"
    return f"it may be host:port:user:password or the other way round; {_WRITE}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text) < 65536
