"""What our download handler raises when CONNECT fails. Nothing else; knows no state.

All are Scrapy's ``TunnelError``, so that code that handles that one still works.
"""

from __future__ import annotations

from scrapy.core.downloader.handlers.http11 import TunnelError
from scrapy.http import Headers


class ConnectFailedError(TunnelError):
    """A proxy answered CONNECT with something other than a tunnel.

    :param message: for the log, without credentials.
    :param status: of the answer; ``None`` if there was none, or it was not HTTP.
    :param headers: of the answer; empty if there are none.
    """

    def __init__(
        self, message: str, *, status: int | None = None, headers: Headers | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers if headers is not None else Headers()


class ConnectClosedError(ConnectFailedError):
    """The proxy closed the connection without a byte in answer to CONNECT."""


class ClosedAfterConnectError(ConnectFailedError):
    """The tunnel was there, and was closed before the target's TLS handshake was over.

    ``status`` and ``headers`` are those of the answer to CONNECT.
    """
