"""Having something done in the thread of a crawl, from another one: nothing in a crawl is locked."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Result = TypeVar("_Result")


class CrawlThread:
    """The thread in which this is made, with its event loop or its reactor."""

    def __init__(self) -> None:
        try:
            self._schedule: Callable[..., object] = asyncio.get_running_loop().call_soon_threadsafe
        except RuntimeError:  # a reactor that is not asyncio's
            from twisted.internet import reactor

            self._schedule = reactor.callFromThread

    def call(self, function: Callable[[], _Result], timeout: float) -> _Result:
        """Return what ``function`` returns there.

        :param timeout: seconds to wait for it.
        :raises TimeoutError: if the crawl is busy for longer than that, or over.
        """
        future: Future[_Result] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        try:
            self._schedule(run)
        except RuntimeError as error:  # its event loop is closed
            raise TimeoutError("the crawl is over") from error
        wait([future], timeout)
        if not future.done():
            future.cancel()
            raise TimeoutError(f"the crawl has not answered for {timeout:g} s")
        return future.result()
