"""The placeholders of feeds, in the paths of files: ``%(name)s``, ``%(time)s``."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .scrapy_hooks import Spider


# Any other percent sign is itself, as in what is percent-encoded.
_LONE = re.compile(r"%(?!\(\w+\))")


def fill_in(template: str, spider: Spider) -> str:
    """Return a path with what feeds fill in: the spider's attributes, and the time.

    :raises ValueError: for a placeholder that cannot be filled in.
    """
    values = {key: getattr(spider, key) for key in dir(spider) if not key.startswith("_")}
    time = datetime.now(timezone.utc).replace(microsecond=0, tzinfo=None)
    try:
        return _LONE.sub("%%", template) % {**values, "time": time.isoformat().replace(":", "-")}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"a placeholder cannot be filled in: {error}") from None
