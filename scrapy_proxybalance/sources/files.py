"""A file with one proxy per line: a URL, then ``key=value`` pairs; ``#`` begins a comment line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..pool import ConfigurationError
from .entries import parse_entry

if TYPE_CHECKING:
    from ..pool import Proxy


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
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        place = f"{where}: {path}, line {number}"
        entry = {"url": words[0]}
        for word in words[1:]:
            key, separator, value = word.partition("=")
            if not separator:
                raise ConfigurationError(
                    f"{place}: one of the words behind the URL is not of the form key=value"
                )
            entry[key] = value
        proxies.append(parse_entry(entry, place))
    return proxies
