"""A file that is written whole: what is on disk afterwards, and after a write that failed."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from scrapy_proxybalance.util.atomic_file import write_atomically


def test_a_file_is_written_in_utf_8_with_its_directories(tmp_path: Path) -> None:
    path = tmp_path / "one" / "two" / "file.json"
    write_atomically(path, "Zürich")
    assert path.read_bytes() == b"Z\xc3\xbcrich"


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, "a long text")
    write_atomically(path, "short")
    assert path.read_text("utf-8") == "short"
    assert list(tmp_path.iterdir()) == [path]


def test_whoever_has_opened_the_file_before_reads_what_it_was_then(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, "before")
    with path.open(encoding="utf-8") as reader:
        write_atomically(path, "after")
        assert reader.read() == "before"


@pytest.mark.parametrize("fails", ["write_text", "replace"])
def test_a_file_that_cannot_be_written_is_as_it_was_and_nothing_else_is_left(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, "before")
    write_text = Path.write_text

    def full_disk(self: Path, *args: str, **_: str) -> None:
        if fails == "write_text":
            write_text(self, args[0][:2], encoding="utf-8")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, fails, full_disk)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, "after")
    assert path.read_text("utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_in_the_files_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(path, "after")
    assert list(tmp_path.iterdir()) == [path]
    assert path.is_dir()
