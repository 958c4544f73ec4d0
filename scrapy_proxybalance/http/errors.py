"""From an exception of any HTTP library to whose fault it was, without Scrapy. No state."""

from __future__ import annotations

from ..core.outcome import AMBIGUOUS, IGNORED
from ..core.verdict import CERTIFICATE, Verdict
from .connect import of_connect
from .library_errors import chain, connect_status, is_bad_certificate, of_library

LONGEST_FAILURE = 40


def of_error(error: Exception) -> Verdict:
    """Return whose fault an exception was, by what it and its causes are.

    What nobody knows is evidence all the same: something has failed, be it the proxy or the target.
    """
    inside = chain(error)
    if is_bad_certificate(inside):
        return Verdict(outcome=IGNORED, failure=CERTIFICATE)
    status = connect_status(inside)
    if status is not None:
        return of_connect(status)
    return of_library(inside) or unknown(error)


def unknown(error: Exception) -> Verdict:
    """Return the verdict on an exception that says nothing."""
    return Verdict(outcome=AMBIGUOUS, failure=type(error).__name__[:LONGEST_FAILURE])
