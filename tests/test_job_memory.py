"""What a job remembers of its targets: the file in ``JOBDIR``, and what becomes of a bad one."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from scrapy import signals
from scrapy.settings import Settings
from scrapy.signalmanager import SignalManager

from scrapy_proxybalance.core import TargetPolicy, TargetState
from scrapy_proxybalance.core.events import TargetPaused
from scrapy_proxybalance.plugin.lifecycle.job_memory import FILE_NAME, JobMemory

from .core.helpers import make_pool, proxies
from .crawl.crawling import crawl_test

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scrapy_proxybalance.core.targets.gate import TargetGate
    from scrapy_proxybalance.plugin.context import CrawlContext

# No test comes near it.
_HANGING = 10


class Run:
    """One run of a job: a pool with a clock of its own, and the signals of its crawler."""

    def __init__(
        self,
        directory: Path | None,
        now: float = 0.0,
        *,
        rules: Mapping[str, TargetPolicy] | None = None,
        **policy: Any,
    ) -> None:
        self.now = now
        self.pool = make_pool(
            proxies(1),
            targets=TargetPolicy(**{"pause": 60, "pause_max": 600, **policy}),
            targets_by_name=rules or {},
        )
        self.pauses: list[TargetPaused] = []
        self.pool.events.subscribe(self.pauses.append, TargetPaused)
        settings = Settings({} if directory is None else {"JOBDIR": str(directory)})
        self.signals = SignalManager(self)
        self.dropped: set[str] = set()
        context = SimpleNamespace(
            crawler=SimpleNamespace(settings=settings, signals=self.signals),
            pool=self.pool,
            clock=lambda: self.now,
            wall_clock=time.time,
            dropped_targets=self.dropped,
            drop=self.dropped.add,
        )
        self.memory = JobMemory(cast("CrawlContext", context))

    def open(self) -> Run:
        self.signals.send_catch_log(signals.spider_opened)
        return self

    def close(self) -> None:
        self.signals.send_catch_log(signals.spider_closed)

    @property
    def gate(self) -> TargetGate:
        return self.pool.targets

    def refuse(self, target: str = "a.test") -> None:
        """Have a target refuse a request that was sent just now."""
        self.gate.send(target, self.now)
        self.gate.refused(target, started_at=self.now, now=self.now, reason="response 429")
        self.gate.ended(target)

    def left(self, target: str = "a.test") -> float:
        """Return how many seconds a target is left alone yet."""
        ready_at = self.gate.ready_at(target, self.now)
        assert ready_at is not None
        return ready_at - self.now


def content(directory: Path) -> Any:
    return json.loads((directory / FILE_NAME).read_text("utf-8"))


def entry(**changes: Any) -> dict[str, Any]:
    """Return what the file says of a target that pauses for a minute yet."""
    return {
        "target": "a.test",
        "step": 2,
        "pause": 120.0,
        "rate": 3.5,
        "peak": 4,
        "observed": 20.0,
        "suspended": None,
        "dropped": False,
        "until": time.time() + 60.0,
        **changes,
    }


def write(directory: Path, *entries: Any, version: Any = 1) -> None:
    document = {"version": version, "targets": list(entries)}
    (directory / FILE_NAME).write_text(json.dumps(document), "utf-8")


def complaints(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.levelno >= logging.WARNING
    ]


async def until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + _HANGING
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        await asyncio.sleep(0.001)


# Round trip


def test_a_pause_goes_on_where_it_was_whatever_the_clock_of_the_process(tmp_path: Path) -> None:
    first = Run(tmp_path, now=1000.0).open()
    first.refuse()
    first.now += 10.0
    left = first.left()
    assert 50 <= left <= 56
    first.close()
    second = Run(tmp_path, now=5.0).open()
    assert second.gate.state("a.test") is TargetState.PAUSED
    assert left - 5 <= second.left() <= left + 0.01
    [pause] = second.pauses
    assert (pause.target, pause.step) == ("a.test", 1)
    assert "resumed" in pause.reason


def test_a_pause_that_has_ended_in_the_meantime_is_followed_by_one_probe(tmp_path: Path) -> None:
    write(tmp_path, entry(until=time.time() - 1000.0))
    run = Run(tmp_path).open()
    assert run.left() == 0
    assert run.gate.available("a.test", run.now) == 1
    assert run.gate.send("a.test", run.now)
    assert run.gate.available("a.test", run.now) == 0


def test_the_backoff_goes_on_where_it_was(tmp_path: Path) -> None:
    first = Run(tmp_path).open()
    for _ in range(2):
        first.refuse()
        first.now += first.left()
    first.close()
    second = Run(tmp_path).open()
    second.now += second.left()
    second.refuse()
    # The one that was over when the crawl was resumed is not told again, but it counts.
    assert [pause.step for pause in second.pauses] == [3]
    assert second.left() >= 4 * 60


def test_what_a_target_bore_is_where_its_ramp_begins(tmp_path: Path) -> None:
    write(tmp_path, entry(until=time.time(), rate=10.0, peak=8))
    run = Run(tmp_path).open()
    run.now += 1.0
    assert run.gate.send("a.test", run.now)
    run.gate.answered("a.test", run.now, run.now)
    run.gate.ended("a.test")
    assert run.gate.state("a.test") is TargetState.RAMPING
    # 0.8 of it.
    assert run.left() == pytest.approx(1 / 8, abs=0.01)


def test_a_suspension_is_remembered_and_the_log_says_how_to_end_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Run(tmp_path).open()
    first.gate.suspend("a.test", 0.0, "response 429, after 5 pauses in a row")
    first.close()
    second = Run(tmp_path).open()
    assert second.gate.state("a.test") is TargetState.SUSPENDED
    [(level, message)] = complaints(caplog)
    assert level == "WARNING"
    assert "a.test" in message
    assert f"Remove {tmp_path / FILE_NAME}" in message
    second.close()
    [remembered] = content(tmp_path)["targets"]
    assert remembered["suspended"] == "response 429, after 5 pauses in a row"


def test_a_target_that_was_dropped_stays_so_and_nobody_is_told_to_lift_that(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Run(tmp_path).open()
    first.gate.suspend("a.test", 0.0, "response 429")
    first.dropped.add("a.test")
    first.close()
    second = Run(tmp_path).open()
    assert second.gate.state("a.test") is TargetState.SUSPENDED
    assert second.dropped == {"a.test"}
    assert complaints(caplog) == []
    second.close()
    assert Run(tmp_path).open().dropped == {"a.test"}


def test_several_targets_are_remembered_and_those_that_never_refused_are_not(
    tmp_path: Path,
) -> None:
    first = Run(tmp_path).open()
    for target in ("a.test", "b.test"):
        first.refuse(target)
    first.gate.send("c.test", 0.0)
    first.close()
    assert [one["target"] for one in content(tmp_path)["targets"]] == ["a.test", "b.test"]
    second = Run(tmp_path).open()
    assert sorted(name for name, _, _ in second.gate) == ["a.test", "b.test"]


def test_a_target_that_has_recovered_is_forgotten_and_with_the_last_one_the_file(
    tmp_path: Path,
) -> None:
    write(tmp_path, entry(until=time.time(), step=1, pause=1.0))
    run = Run(tmp_path, ramp=1.0).open()
    run.now += 1.0
    run.gate.send("a.test", run.now)
    for _ in range(100):
        run.gate.answered("a.test", run.now, run.now)
        run.now += 1.0
    run.close()
    assert list(tmp_path.iterdir()) == []


def domain_run(directory: Path) -> Run:
    """A run in which every host under test. is the same target."""
    return Run(directory, rules={".test": TargetPolicy(pause=60, pause_max=600)})


def test_targets_that_have_become_one_are_paused_as_the_one_that_asked_for_most(
    tmp_path: Path,
) -> None:
    soon, late = time.time() + 100.0, time.time() + 300.0
    write(
        tmp_path,
        entry(target="a.test", until=soon, step=3),
        entry(target="b.test", until=late, step=1),
        entry(target="c.test", until=time.time() - 50.0),
    )
    run = domain_run(tmp_path).open()
    assert [name for name, _, _ in run.gate] == [".test"]
    assert run.left(".test") == pytest.approx(300, abs=5)
    [pause] = run.pauses
    assert pause.target == ".test"
    run.now += run.left(".test")
    run.refuse(".test")
    assert [pause.step for pause in run.pauses] == [1, 4]
    run.close()
    [remembered] = content(tmp_path)["targets"]
    assert (remembered["target"], remembered["step"]) == (".test", 4)


@pytest.mark.parametrize("dropped", [False, True])
def test_targets_of_which_one_was_suspended_have_become_a_suspended_one(
    dropped: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = entry(target="b.test", suspended="response 429", dropped=dropped, until=0)
    write(tmp_path, entry(target="a.test"), gone)
    run = domain_run(tmp_path).open()
    assert run.gate.state(".test") is TargetState.SUSPENDED
    assert run.dropped == ({".test"} if dropped else set())
    told = [message for _, message in complaints(caplog)]
    assert [".test" in message for message in told] == ([] if dropped else [True])


# When the file is written


def test_without_anything_to_remember_there_is_no_file(tmp_path: Path) -> None:
    run = Run(tmp_path).open()
    run.gate.send("a.test", 0.0)
    run.gate.answered("a.test", 0.0, 1.0)
    run.close()
    assert list(tmp_path.iterdir()) == []


def test_without_jobdir_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run(None).open()
    run.refuse()
    run.close()
    assert list(tmp_path.iterdir()) == []


@crawl_test
async def test_after_every_change_the_file_says_how_things_stand(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME

    def remembered() -> list[tuple[str, int, bool]]:
        return [
            (one["target"], one["step"], one["suspended"] is not None)
            for one in content(tmp_path)["targets"]
        ]

    run = Run(tmp_path, pause=1.0, ramp=1.0).open()
    run.refuse()
    await until(path.exists)
    assert remembered() == [("a.test", 1, False)]
    run.now += run.left()
    run.refuse()
    await until(lambda: remembered() == [("a.test", 2, False)])
    run.gate.suspend("b.test", run.now, "response 403")
    await until(lambda: len(remembered()) == 2)
    assert remembered() == [("a.test", 2, False), ("b.test", 0, True)]
    run.gate.refused("a.test", started_at=-1, now=run.now, reason="response 429", wait=300)
    await until(lambda: content(tmp_path)["targets"][0]["until"] > time.time() + 200)
    run.close()
    assert list(tmp_path.iterdir()) == [path]


@crawl_test
async def test_thousands_of_changes_at_once_are_a_few_writings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writings = 0
    replace = Path.replace

    def count(self: Path, target: Path) -> Path:
        nonlocal writings
        writings += 1
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", count)
    run = Run(tmp_path).open()
    for number in range(2000):
        run.refuse(f"{number}.test")
    await until(lambda: writings)
    run.close()
    assert writings == 2
    assert len(content(tmp_path)["targets"]) == 2000


def test_a_crawl_that_was_closed_before_it_was_open_forgets_nothing(tmp_path: Path) -> None:
    write(tmp_path, entry())
    before = (tmp_path / FILE_NAME).read_bytes()
    Run(tmp_path).close()
    assert (tmp_path / FILE_NAME).read_bytes() == before


# A file that cannot be used

NUMBERS = ("until", "step", "pause", "rate", "peak", "observed")


def assert_forgotten(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Open a run and see that it has said once that it knows nothing, and works."""
    run = Run(directory).open()
    [(level, message)] = complaints(caplog)
    assert level == "WARNING"
    assert str(directory / FILE_NAME) in message
    assert "forgotten" in message
    assert list(run.gate) == []
    assert run.gate.may_send("a.test", run.now)
    run.refuse()
    run.close()
    assert [one["step"] for one in content(directory)["targets"]] == [1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "\0\0\0\0",
        '{"version": 1, "targets": [{"target": "a.test", "st',
        "[]",
        "{}",
        "null",
        "1",
        '{"version": 1}',
        '{"version": 1, "targets": null}',
        '{"version": 1, "targets": 7}',
        '{"version": 1, "targets": ["a.test"]}',
        '{"version": 1, "targets": [{}]}',
        '{"version": 1, "targets": [null]}',
        "[" * 100_000,
    ],
    ids=range(15),
)
def test_a_file_that_is_none_of_ours_is_forgotten(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_text(text, "utf-8")
    assert_forgotten(tmp_path, caplog)


def test_a_file_that_is_not_utf_8_is_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_bytes(b'{"version": 1, "targets": [], "\xff": 1}')
    assert_forgotten(tmp_path, caplog)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_a_file_of_another_version_is_forgotten(
    version: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, entry(), version=version)
    assert_forgotten(tmp_path, caplog)


@pytest.mark.parametrize("value", ["NaN", "-1", "1e400", "-1e400", "null", '"5"', "[]", "1" * 400])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_is_none_does_no_harm(
    name: str, value: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, entry(**{name: "here"}))
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text("utf-8").replace('"here"', value), "utf-8")
    assert_forgotten(tmp_path, caplog)


@pytest.mark.parametrize(("name", "value"), [("rate", 0), ("rate", 1e-300), ("peak", 0)])
def test_a_number_that_the_ramp_could_not_work_with_does_no_harm(
    name: str, value: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, entry(**{name: value}))
    assert_forgotten(tmp_path, caplog)


@pytest.mark.parametrize(("name", "value"), [("target", None), ("target", 7), ("suspended", True)])
def test_a_text_that_is_none_does_no_harm(
    name: str, value: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, entry(**{name: value}))
    assert_forgotten(tmp_path, caplog)


def test_a_moment_in_the_far_future_is_no_longer_pause_than_the_longest(tmp_path: Path) -> None:
    write(tmp_path, entry(until=1e300))
    run = Run(tmp_path).open()
    assert run.left() == 600


@pytest.mark.parametrize(
    "changes",
    [
        {"step": 10**9},
        {"step": 0},
        {"pause": 0},
        {"pause": 1e300},
        {"rate": 1e300},
        {"rate": 1e-9},
        {"peak": 10**300},
        {"observed": 1e300},
        {"observed": 0},
        {"until": 0},
    ],
    ids=str,
)
def test_with_a_number_beyond_all_measure_the_target_still_comes_back(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    write(tmp_path, entry(**changes))
    run = Run(tmp_path, now=1e6).open()
    assert run.left() <= 600
    run.now += run.left()
    assert run.gate.send("a.test", run.now)
    run.gate.answered("a.test", run.now, run.now)
    run.gate.ended("a.test")
    assert run.gate.state("a.test") is TargetState.RAMPING
    assert 0 <= run.left() < float("inf")
    run.close()


def test_a_file_that_may_not_be_read_is_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: Path, **_: Any) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    write(tmp_path, entry())
    monkeypatch.setattr(Path, "read_text", denied)
    run = Run(tmp_path).open()
    [(level, message)] = complaints(caplog)
    assert level == "WARNING"
    assert "Permission denied" in message
    assert list(run.gate) == []


# A file that cannot be written


def test_a_directory_in_the_files_place_is_one_warning_and_one_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).mkdir()
    run = Run(tmp_path).open()
    run.refuse()
    run.memory.save()
    run.memory.save()
    run.close()
    assert [level for level, _ in complaints(caplog)] == ["WARNING", "ERROR"]
    assert all(str(tmp_path / FILE_NAME) in message for _, message in complaints(caplog))
    assert run.gate.state("a.test") is TargetState.PAUSED
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@crawl_test
async def test_a_full_disk_is_one_error_until_there_is_room_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def full_disk(*_: Any, **__: Any) -> None:
        nonlocal tries
        tries += 1
        raise OSError(errno.ENOSPC, "No space left on device")

    run = Run(tmp_path).open()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full_disk)
        for number in range(3):
            run.refuse(f"{number}.test")
            await until(lambda number=number: tries > number)
    [(level, message)] = complaints(caplog)
    assert level == "ERROR"
    assert f"{tmp_path / FILE_NAME} cannot be written (No space left on device)" in message
    run.refuse("3.test")
    run.close()
    assert len(content(tmp_path)["targets"]) == 4
    assert len(complaints(caplog)) == 1
