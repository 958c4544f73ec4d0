"""The environments that a change has to hold in; ``nox -l`` lists them, ``nox -s lowest`` runs one.

``.ci/run`` runs the same on the built wheel, on a machine that has all servers and a browser. What
follows ``--`` goes to pytest: ``nox -s tests-3.13 -- tests/core``.
"""

from __future__ import annotations

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "venv"

PYPROJECT = nox.project.load_toml("pyproject.toml")
OLDEST, *_, NEWEST = nox.project.python_versions(PYPROJECT)
# scrapy==2.14, and so on
LEAST = [one.replace(">=", "==") for one in PYPROJECT["project"]["dependencies"]]
# The tests that talk to Scrapy.
SCRAPY_TESTS = ("tests/crawl", "tests/handlers", "tests/servers")


@nox.session(python=[OLDEST, NEWEST])
def tests(session: nox.Session) -> None:
    """All tests with the newest Scrapy, on the oldest and on the newest Python."""
    session.install("-e", ".[tests]")
    session.run("pytest", *session.posargs)


@nox.session
def oldest_scrapy(session: nox.Session) -> None:
    """The tests that talk to Scrapy, with the oldest one that is supported."""
    scrapy = next(one for one in LEAST if one.startswith("scrapy=="))
    session.install("-e", ".[tests]", f"{scrapy}.*")
    session.run("pytest", *(session.posargs or SCRAPY_TESTS))


@nox.session(python=OLDEST)
def lowest(session: nox.Session) -> None:
    """The core and a few crawls with the least version of each dependency, on the oldest Python."""
    session.install("-e", ".[tests]", *LEAST)
    crawls = ("tests/crawl/test_first_crawl.py", "tests/crawl/test_metrics.py")
    session.run("pytest", *(session.posargs or ("tests/core", *crawls)))


@nox.session
def checks(session: nox.Session) -> None:
    """Style, types, and which module may import which."""
    session.install("-e", ".[tests,checks]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("mypy", "tests/typed_use.py")
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, without a warning."""
    session.install("-e", ".[docs]")
    session.run(
        "sphinx-build", "-W", "--keep-going", "-q", "-b", "html", "docs", "docs/_build/html"
    )
