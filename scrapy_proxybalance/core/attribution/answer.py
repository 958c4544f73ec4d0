"""What the core asks about a response that came back; whoever reads responses answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..verdict import Verdict


class Answer(Protocol):
    """A response, and the request that it answers. Nothing is worked out before it is asked for."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def url(self) -> str:
        """What was asked for."""

    @property
    def is_anonymous(self) -> bool:
        """Whether the request had no credentials for a proxy."""

    def oddity(self) -> str | None:
        """Return in a word what it looks like that may be a proxy's own; ``None`` for a page."""

    def looks(self) -> tuple[str, ...]:
        """Return what is equal for pages that look the same, each in one way."""

    def via(self) -> list[str]:
        """Return the members of its ``Via``, the nearest server last."""

    def signature(self) -> str:
        """Return what is equal for pages that look as if the same server had made them up."""

    def as_the_sites(self) -> Verdict:
        """Return the verdict on it if it is the site's, whatever marks of a proxy it has."""
