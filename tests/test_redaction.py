"""No password is left in an exception, whatever a library has made of the proxy's URL."""

from __future__ import annotations

import traceback
from base64 import b64encode
from urllib.parse import quote

import pytest

from scrapy_proxybalance.core import Proxy
from scrapy_proxybalance.plugin.requests.redaction import redact_exception

PASSWORD = "s3cr3t/Pa55:w&rd"
PROXY = Proxy(host="proxy.example", port=8080, username="alice", password=PASSWORD)
FORMS = (
    PASSWORD,
    quote(PASSWORD),
    quote(PASSWORD, safe=""),
    b64encode(f"alice:{PASSWORD}".encode()).decode(),
)


class OwnTextError(Exception):
    """Makes its text of something else than its arguments, as aiohttp's do."""

    def __init__(self, url: str) -> None:
        super().__init__(1)
        self.url = url
        self.status = 407

    def __str__(self) -> str:
        return f"407, url={self.url!r}"

    __repr__ = __str__


def caused(exception: Exception, cause: Exception) -> Exception:
    exception.__cause__ = cause
    return exception


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "make",
    [
        ValueError,
        OwnTextError,
        lambda text: caused(RuntimeError("outside"), OwnTextError(text)),
        lambda text: caused(RuntimeError(text), caused(KeyError(text), ValueError(text))),
    ],
    ids=["argument", "own text", "cause", "chain"],
)
def test_no_form_of_the_password_is_left_in_any_text(make: type[Exception], form: str) -> None:
    exception = make(f"no way through http://alice:{form}@proxy.example:8080, sorry")
    kind = type(exception)
    redact_exception(exception, PROXY)
    shown = "".join(traceback.format_exception(exception)) + repr(exception)
    assert form not in shown
    assert "s3cr3t" not in shown
    assert "proxy.example:8080" in shown
    assert isinstance(exception, kind)
    assert (type(exception).__module__, type(exception).__qualname__) == (
        kind.__module__,
        kind.__qualname__,
    )


def test_attributes_stay() -> None:
    exception = OwnTextError(f"http://alice:{quote(PASSWORD)}@proxy.example:8080")
    redact_exception(exception, PROXY)
    assert exception.status == 407


def test_the_credentials_of_any_url_are_taken_out() -> None:
    exception = ValueError("http://bob:hunter2@theirs.example:1 and http://shop.example/a@b?c=@")
    redact_exception(exception, None)
    assert str(exception) == "http://***@theirs.example:1 and http://shop.example/a@b?c=@"


def test_what_holds_no_password_is_left_as_it_is() -> None:
    exception = OwnTextError("http://shop.example/")
    redact_exception(exception, PROXY)
    assert type(exception) is OwnTextError
