"""How the tests run here: how many at once, and how hypothesis looks for examples."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Generator

# No deadline, since CI machines stall, and no database in the tree.
settings.register_profile(
    "project",
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("project")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes run the tests unless ``-n`` says it.

    Two for each core, since crawls wait much of their time, but no more than are of use. None for
    tests that are named one by one, which are done before the processes have started.
    """
    if any("::" in argument for argument in config.args):
        return 0
    return min(2 * (os.cpu_count() or 1), 16)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what no process can tell another: a log line may name a file that is not UTF-8."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report
