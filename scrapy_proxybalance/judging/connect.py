"""From a proxy's answer to CONNECT, other than 200, to whose fault it was. No state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pool import Outcome
from ..pool.outcome import PROXY_AUTH
from .verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

_GATEWAY = {429, 500, 502, 503, 504}


def of_connect(status: int | None, headers: Mapping[str, str] | None = None) -> Verdict:  # noqa: ARG001
    """Return whose fault it was that CONNECT was refused.

    :param status: of the answer; ``None`` if it was not HTTP.
    :param headers: of the answer, where the download handler gives them.
    """
    if status in (401, 407):
        return Verdict(outcome=Outcome.PROXY_FAULT, failure=PROXY_AUTH)
    if status in _GATEWAY:
        return Verdict(outcome=Outcome.GATEWAY_FAULT, failure=f"connect_{status}")
    return Verdict(outcome=Outcome.PROXY_FAULT, failure=f"connect_{status or 'garbage'}")
