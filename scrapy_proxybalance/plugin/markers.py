"""What tells our parts of Scrapy from Scrapy's own and others': base classes with nothing in them.

The parts build on the middleware, and the messages at the start, which it logs, ask which of them are in
use. So neither has to import the other.
"""

from __future__ import annotations


class HoldsRequests:
    """A priority queue of the scheduler that holds what cannot be sent at once."""


class HoldsUnfetchedRobots:
    """A middleware for ``robots.txt`` that holds requests while it could not be fetched."""
