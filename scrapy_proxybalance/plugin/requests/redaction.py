"""Takes a proxy's password out of an exception, before anybody logs it.

Libraries put the URL that they were given into their messages, credentials included; Scrapy's retry
messages, and the tracebacks of what was given up, repeat that.
"""

from __future__ import annotations

import re
from base64 import b64encode
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from ...http.library_errors import chain

if TYPE_CHECKING:
    from ...core import Proxy

_USERINFO = re.compile(r"(://)[^\s/?#'\"<>@]*@")
_HIDDEN = "***"


def redact_exception(exception: BaseException, proxy: Proxy | None) -> None:
    """Remove the password from an exception, and from all its causes.

    Its type, its attributes and the rest of its text stay.

    :param proxy: whose password may be in it; that of any URL is taken out as well.
    """
    forms = _forms(proxy)
    for one in chain(exception):
        shown = (str(one), repr(one))
        if all(_redacted(text, forms) == text for text in shown):
            continue
        with suppress(Exception):
            one.args = tuple(
                _redacted(arg, forms) if isinstance(arg, str) else arg for arg in one.args
            )
        text, representation = _redacted(str(one), forms), _redacted(repr(one), forms)
        if (text, representation) != (str(one), repr(one)):
            _show(one, text, representation)


def _show(one: BaseException, text: str, representation: str) -> None:
    """Give an exception another text, whatever its class computes."""
    kind = type(one)
    hidden = type(
        kind.__name__,
        (kind,),
        {
            "__module__": kind.__module__,
            "__qualname__": kind.__qualname__,
            "__str__": lambda _: text,
            "__repr__": lambda _: representation,
        },
    )
    with suppress(TypeError):  # of a built-in class, whose text is made of its arguments
        one.__class__ = hidden


def _redacted(text: str, forms: tuple[re.Pattern[str], ...]) -> str:
    for form in forms:
        text = form.sub(_HIDDEN, text)
    return _USERINFO.sub(rf"\1{_HIDDEN}@", text)


def _forms(proxy: Proxy | None) -> tuple[re.Pattern[str], ...]:
    """Return what a proxy's password may look like in a text."""
    if proxy is None or not proxy.password:
        return ()
    password, both = proxy.password, f"{proxy.username}:{proxy.password}"
    forms = {password, quote(password, safe=""), quote(password)}
    for encoding in ("utf-8", "latin-1"):
        with suppress(UnicodeError):
            forms.add(b64encode(both.encode(encoding)).decode())
    longest_first = sorted(forms, key=len, reverse=True)
    return tuple(re.compile(rf"(?<!\w){re.escape(form)}(?!\w)") for form in longest_first)
