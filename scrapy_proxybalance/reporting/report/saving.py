"""Where a report's files are written, whatever is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...util.atomic_file import write_atomically
from .reading import ReportError

if TYPE_CHECKING:
    from pathlib import Path


def save(path: Path, text: str) -> None:
    """Write a file in UTF-8; what is no Unicode is written as an escape.

    :raises ReportError: if it cannot be written.
    """
    try:
        write_atomically(path, text.encode(errors="backslashreplace").decode())
    except OSError as error:
        raise ReportError(f"{path} cannot be written ({error.strerror or error})") from None
