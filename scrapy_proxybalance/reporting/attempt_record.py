"""What observers are told of a request that was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from ..core import Outcome


@attrs.frozen(kw_only=True)
class AttemptRecord:
    """A request that was sent, and how that ended. Times in seconds.

    :param timestamp: when it was sent, in seconds since the epoch.
    :param request_id: the same for all attempts at one page, on disk and in a resumed crawl, too.
    :param url: without credentials.
    :param target: what it went to.
    :param proxy: the proxy's name; ``None`` where the user has chosen the proxy, or none.
    :param session: the request's session, if it has one.
    :param attempt: which of those at its page, from 1 on.
    :param status: of the response, if there was one.
    :param failure: the class of failure in a word, if there was one.
    :param outcome: whose fault it was.
    :param latency: to the response's headers.
    :param duration: to the last byte, or to the failure; ``None`` where nobody knows.
    :param size: of the response's body as it came over the network, in bytes.
    :param waited: for a proxy, once it was its turn.
    :param target_paused: whether its target got no traffic any more when it had ended.
    """

    timestamp: float
    request_id: str
    url: str
    target: str
    proxy: str | None
    session: str | None
    attempt: int
    status: int | None
    failure: str | None
    outcome: Outcome
    latency: float | None
    duration: float | None
    size: int | None
    waited: float
    target_paused: bool
