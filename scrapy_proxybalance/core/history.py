"""What earlier attempts at a page have left behind: it travels with the page, and the core keeps none.

Plain values only, so that whoever keeps pages can write it to disk with them.
"""

from __future__ import annotations

from typing import NamedTuple

import attrs


class OddAnswer(NamedTuple):
    """An answer that may be a proxy's own.

    ``kind``: what it looked like. ``who``: who was compared. ``proxy``: the name of the one that gave
    it. ``part``: what that was charged with, 0 to 1. ``at``: when it came, in seconds on the pool's
    clock. ``generation``: that of its attempt.
    """

    kind: str
    who: str
    proxy: str
    part: float
    at: float
    generation: int


@attrs.define
class History:
    """The attempts at one page so far.

    ``tried``: the names of the proxies that have failed it. ``refused_by``: of those that have refused
    their credentials for it, and ``answers_before``: how many answers the pool had had when the first
    did. ``odd``: what was odd about the latest answer, if it was odd. ``cuts``: how often it was cut off
    by a timeout of ours. ``spared``, ``too_many``: how often an attempt was free of charge because of a
    suspected outage, and because it was one too many at once.
    """

    tried: tuple[str, ...] = ()
    refused_by: tuple[str, ...] = ()
    answers_before: int = 0
    odd: OddAnswer | None = None
    cuts: int = 0
    spared: int = 0
    too_many: int = 0


#: Of a page that was never sent, or whose attempts have left nothing.
NO_HISTORY = History()
