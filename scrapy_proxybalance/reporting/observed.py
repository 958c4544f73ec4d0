"""The crawl as reporters see it: what they may read, and what the live page's operator may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy.crawler import Crawler

    from ..core import Pool, RetryBudget
    from .attempt_record import AttemptRecord
    from .feed_place import Feed


class ObservedSettings(Protocol):
    """The settings of reporters, as documented in ``docs/reference/settings.md``."""

    @property
    def stats_file(self) -> str | None: ...  # noqa: D102
    @property
    def stats_per_proxy(self) -> int: ...  # noqa: D102
    @property
    def request_log(self) -> Feed | None: ...  # noqa: D102
    @property
    def report(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def metrics_port(self) -> int | None: ...  # noqa: D102
    @property
    def metrics_host(self) -> str: ...  # noqa: D102
    @property
    def metrics_per_proxy(self) -> int: ...  # noqa: D102
    @property
    def control_token(self) -> str | None: ...  # noqa: D102
    @property
    def progress(self) -> bool: ...  # noqa: D102


class AttemptSource(Protocol):
    """Tells of attempts."""

    def subscribe(self, listener: Callable[[AttemptRecord], None]) -> None:
        """Call ``listener`` with every attempt that ends from now on."""


class ObservedRetries(Protocol):
    """The retries of a crawl."""

    @property
    def budget(self) -> RetryBudget:
        """How many may go."""


class ObservedCrawl(Protocol):
    """One crawl."""

    @property
    def crawler(self) -> Crawler:
        """Scrapy's."""

    @property
    def settings(self) -> ObservedSettings:
        """As read from the crawler."""

    @property
    def pool(self) -> Pool:
        """Its proxies and targets, with their events."""

    @property
    def clock(self) -> Callable[[], float]:
        """Gives seconds, never going back."""

    @property
    def wall_clock(self) -> Callable[[], float]:
        """Gives seconds since the epoch."""

    @property
    def attempt_log(self) -> AttemptSource:
        """Tells of requests that were sent."""

    @property
    def retries(self) -> ObservedRetries:
        """Its retries."""

    @property
    def dropped_targets(self) -> set[str]:
        """Targets whose requests fail, as they refuse."""

    def held(self, target: str) -> int:
        """Return how many requests the scheduler holds for a target."""


class OperatedCrawl(ObservedCrawl, Protocol):
    """One crawl, on which an operator may act."""

    def recall(self, target: str) -> None:
        """Stop the requests to a target that have not been sent."""

    def target_changed(self, target: str) -> None:
        """Have the queues look at a target again."""

    def look_again(self) -> None:
        """Let requests that wait try again: something was changed by hand."""
