"""A file with one proxy per line: a URL, then ``key=value`` pairs; ``#`` begins a comment."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import ConfigurationError
from .entries import parse_entry

if TYPE_CHECKING:
    from ..core import Proxy


def read_file(path: str | Path, where: str) -> list[Proxy]:
    """Return the proxies of a file, in its order.

    :param path: the file, in UTF-8, with or without a byte order mark.
    :param where: the setting to name in errors.
    :raises ConfigurationError: if it cannot be read, or for a line that cannot work.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigurationError(
            f"{where}: the file {str(path)!r} cannot be read ({error.strerror}); "
            "check the path, which is relative to where the crawl is started"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{where}: the file {str(path)!r} is not UTF-8 text") from None
    proxies = []
    for number, line in enumerate(lines, start=1):
        words = list(takewhile(lambda word: not word.startswith("#"), line.split()))
        if words:
            proxies.append(_proxy(words, f"{where}: {path}, line {number}"))
    return proxies


def _proxy(words: list[str], place: str) -> Proxy:
    url, *attributes = words
    if any("://" in word for word in attributes):
        raise ConfigurationError(f"{place}: the URL has to come first, and one alone in a line")
    entry = {"url": url}
    for count, word in enumerate(attributes, start=2):
        key, separator, value = word.partition("=")
        if not (key and separator):
            raise ConfigurationError(
                f"{place}: a line is a URL like 'http://user:password@host:port', then key=value pairs "
                "without blanks around '=', then, if you like, a comment that begins with '#'; word "
                f"{count} is neither"
            )
        entry[key] = value
    return parse_entry(entry, place)
