"""The house map of ``docs/contributing.md`` and the tree: the same folders, and no file that is gone."""

from __future__ import annotations

import re
from pathlib import Path

import scrapy_proxybalance

from .test_documentation import DOCS, ROOT, first_codes, table

PACKAGE = Path(scrapy_proxybalance.__file__).parent
PAGE = DOCS / "contributing.md"


def folders() -> set[str]:
    return {
        f"{path.relative_to(PACKAGE).as_posix()}/"
        for path in PACKAGE.rglob("*")
        if path.is_dir() and path.name != "__pycache__"
    }


def test_every_folder_of_the_package_is_in_the_house_map_and_no_other() -> None:
    mapped = first_codes(PAGE, "Folder")
    assert len(mapped) == len(set(mapped))
    assert set(mapped) == folders()


def test_every_folder_says_in_the_house_map_what_belongs_there_and_what_it_may_not_know() -> None:
    assert all(len(row) == 3 and all(row) for row in table(PAGE, "Folder"))


def test_the_page_names_no_file_that_does_not_exist() -> None:
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:\w+/)+[\w*]+\.py|docs/[\w/-]+\.md", text))
    gone = {path for path in named if not any(any(top.glob(path)) for top in (ROOT, PACKAGE))}
    assert {"tests/core/test_strategies.py", "core/dispatcher.py"} <= named
    assert not gone
