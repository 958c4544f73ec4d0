"""Rules of the house that no other tool checks: others' private names, chance in the core, file sizes.

Each reads the source of the package. Which module may import which is for import-linter to say.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import scrapy_proxybalance

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(scrapy_proxybalance.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

#: The only files that may use private names of Scrapy's and Twisted's.
INTERNALS = ("plugin/scrapy_internals.py", "plugin/handlers/")
#: Private names that are public in truth: the methods of named tuples.
PUBLIC = {"_replace", "_asdict", "_fields"}

#: The most lines that a file may have.
LINES = 400
#: What is longer today. The numbers may only shrink, until each file has lost its line here.
LONG_FILES = {
    "core/choosing/chooser.py": 451,
    "core/gateways/limit.py": 406,
    "core/pool.py": 517,
    "core/targets/gate.py": 441,
    "plugin/config/settings.py": 443,
    "plugin/middleware.py": 405,
    "plugin/robots/question.py": 440,
}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC


def own_names(tree: ast.AST) -> set[str]:
    """Return the private names that a module defines: its functions, classes, methods and attributes."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)) or (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("self", "cls")
        ):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


def foreign_private_names(tree: ast.AST, inherited: frozenset[str] = frozenset()) -> Iterator[str]:
    """Give the private names that a module uses and does not define, with their lines.

    :param inherited: those that its classes may have from others of ours.
    """
    own = own_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            if ast.unparse(node.value) not in ("self", "cls") or node.attr not in inherited:
                yield f"line {node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom):
            modules = (node.module or "").split(".")
            for name in filter(is_private, [*modules, *(alias.name for alias in node.names)]):
                yield f"line {node.lineno}: {name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                for name in filter(is_private, alias.name.split(".")):
                    yield f"line {node.lineno}: {name}"


@cache
def names_defined_in(folder: Path) -> frozenset[str]:
    """Return the private names that the modules of one package define."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in folder.glob("*.py"))
    return frozenset().union(*map(own_names, trees))


def private_names_overridden(path: Path) -> Iterator[str]:
    """Give the private names that a module's classes have in common with their foreign bases."""
    module = name_of(path).removesuffix(".py").replace("/", ".")
    try:
        found = import_module(f"scrapy_proxybalance.{module}".removesuffix(".__init__"))
    except ImportError:  # of an optional library
        return
    for one in vars(found).values():
        if not isinstance(one, type) or one.__module__ != found.__name__:
            continue
        for base in one.__mro__[1:]:
            if base.__module__.startswith(("scrapy.", "twisted.")):
                for name in filter(is_private, vars(one).keys() & vars(base).keys()):
                    if not name.startswith("_abc_"):
                        yield f"{one.__name__}.{name}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_private_names_of_others_are_used_in_one_place_only(path: Path) -> None:
    if name_of(path).startswith(INTERNALS):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inherited = names_defined_in(path.parent)
    assert [*foreign_private_names(tree, inherited), *private_names_overridden(path)] == []


@pytest.mark.parametrize(
    "source",
    [
        "engine._slot.closing",
        "class Queue(Base):\n    def f(self):\n        return self._interface",
        "from twisted.web._newclient import HTTP11ClientProtocol",
        "from scrapy.utils.defer import _defer_sleep",
        "import twisted.web._newclient",
    ],
)
def test_a_private_name_of_others_is_found(source: str) -> None:
    assert list(foreign_private_names(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    def __init__(self):\n        self._a = 1\n    def f(self, other):\n"
        "        return other._a",
        "parts._replace(netloc='')",
        "engine.__class__",
    ],
)
def test_an_own_private_name_is_none_of_others(source: str) -> None:
    assert not list(foreign_private_names(ast.parse(source)))


def imports_of_own_package(path: Path, tree: ast.Module) -> Iterator[str]:
    """Give the imports of names that a package above the module has taken from its modules."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        folder = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        if folder not in path.parents or path == folder / "__init__.py":
            continue
        for alias in node.names:
            one = folder / alias.name
            if not one.is_dir() and not one.with_suffix(".py").is_file():
                yield f"line {node.lineno}: {alias.name}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_module_imports_from_a_package_that_it_is_in(path: Path) -> None:
    """The package may import the module: import-linter looks for circles among siblings only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert list(imports_of_own_package(path, tree)) == []


def imports_of_random(tree: ast.Module) -> Iterator[str]:
    """Give the imports of ``random``, but for that of the class ``Random`` as a type."""
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            if any(alias.name == "random" for alias in node.names):
                yield f"line {node.lineno}"
        elif isinstance(node, ast.ImportFrom) and node.module == "random" and not node.level:
            as_type = id(node) in typing_only and {one.name for one in node.names} == {"Random"}
            if not as_type:
                yield f"line {node.lineno}"


@pytest.mark.parametrize(
    "path", [path for path in FILES if name_of(path).startswith("core/")], ids=name_of
)
def test_the_core_has_no_randomness_of_its_own(path: Path) -> None:
    assert list(imports_of_random(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_is_longer_than_allowed(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONG_FILES.get(name_of(path), LINES)


@pytest.mark.parametrize("name", LONG_FILES)
def test_every_allowance_for_a_long_file_is_needed(name: str) -> None:
    assert len((PACKAGE / name).read_text(encoding="utf-8").splitlines()) > LINES
