"""What the documentation says is what the code does: tables, defaults, examples and links.

A block of Python after a line ``<!-- run -->`` is run; every other one is type-checked, by itself or
after the blocks before it on its page that define what it uses. A block that begins within a callback
may use ``scrapy`` and ``url``, and any block ``crawler``. Blocks of settings are read as in a crawl.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random
from symtable import SymbolTable, symtable
from textwrap import dedent, indent
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import attrs
import pytest
import scrapy
from scrapy.settings import Settings as ScrapySettings
from twisted.internet.defer import Deferred, succeed

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import scrapy_proxybalance
from scrapy_proxybalance import Outcome, ProxyPool, Verdict, signals
from scrapy_proxybalance.client import Page
from scrapy_proxybalance.core import (
    STRATEGIES,
    Dispatcher,
    Pick,
    Pool,
    PoolPolicy,
    Proxy,
    ProxySnapshot,
    Step,
    Strategy,
    View,
    Want,
    errors,
    events,
)
from scrapy_proxybalance.core import outcome as classes_of_failure
from scrapy_proxybalance.core.proxies.proxy import ATTRIBUTES
from scrapy_proxybalance.core.verdict import CERTIFICATE, UNSUPPORTED
from scrapy_proxybalance.http import library_errors as handler_errors
from scrapy_proxybalance.http import marks, oddities
from scrapy_proxybalance.plugin import context, request_meta
from scrapy_proxybalance.plugin.config.feed import FEED_KEYS
from scrapy_proxybalance.plugin.config.gateways import GATEWAY_KEYS
from scrapy_proxybalance.plugin.config.proxy_marks import MARK_KEYS
from scrapy_proxybalance.plugin.config.settings import (
    IDLE_POLICIES,
    PREFIX,
    REFUSAL_POLICIES,
    SETTINGS,
    TARGET_KEYS,
    Settings,
)
from scrapy_proxybalance.plugin.handlers import exceptions
from scrapy_proxybalance.plugin.lifecycle import only_paused as idle
from scrapy_proxybalance.plugin.requests import proxy_watch
from scrapy_proxybalance.reporting import stats, stats_file
from scrapy_proxybalance.reporting.figures import Figures
from scrapy_proxybalance.reporting.live.metrics import Metrics
from scrapy_proxybalance.reporting.report import CSV_COLUMNS
from scrapy_proxybalance.reporting.request_log import COLUMNS
from scrapy_proxybalance.reporting.signal_sender import SignalSender
from scrapy_proxybalance.reporting.standing import Standing
from scrapy_proxybalance.sources.entries import ENTRY_KEYS

from .core.helpers import acquire

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

_FENCE = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_RUN = "<!-- run -->\n"


def table(page: Path, first_column: str) -> list[list[str]]:
    """Return the rows, as cells, of the only table of a page whose first column is called so."""
    lines = page.read_text(encoding="utf-8").splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith(f"| {first_column} |")]
    assert len(heads) == 1, f"{page.name} has {len(heads)} tables of {first_column}"
    rows = []
    for line in lines[heads[0] + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def codes(cell: str) -> list[str]:
    """Return what a cell has in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def first_codes(page: Path, first_column: str) -> list[str]:
    """Return what the first cells of a table's rows have in backticks."""
    return [code for row in table(page, first_column) for code in codes(row[0])]


class Example(NamedTuple):
    """A block of Python on a page.

    ``line``: that of the fence above it. ``code``: without the indentation of the block.
    """

    page: Path
    line: int
    code: str
    to_run: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_within_a_callback(self) -> bool:
        """Whether it is no module by itself: it has a ``yield`` or an ``await`` outside of functions."""
        try:
            compile(self.code, str(self), "exec")
        except SyntaxError:
            return True
        return False

    @property
    def is_settings(self) -> bool:
        """Whether it consists of settings of the plugin's, at least one, and imports."""
        names = []
        for node in [] if self.is_within_a_callback else ast.parse(self.code).body:
            match node:
                case ast.Import() | ast.ImportFrom():
                    pass
                case ast.Assign(targets=[ast.Name(id=name)]) if name.isupper():
                    names.append(name)
                case _:
                    return False
        return any(name.startswith(PREFIX) for name in names)

    def settings(self) -> dict[str, Any]:
        """Return the settings that it consists of."""
        namespace: dict[str, Any] = {}
        exec(self.code, namespace)  # noqa: S102
        return {name: value for name, value in namespace.items() if name.isupper()}


def examples_of(page: Path) -> Iterator[Example]:
    """Give a page's blocks of Python."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        if match[2] == "python":
            line = text.count("\n", 0, match.start()) + 1
            yield Example(page, line, dedent(match[3]), text[: match.start()].endswith(_RUN))


EXAMPLES = [example for page in PAGES for example in examples_of(page)]


# Tables


def test_every_setting_is_documented_with_its_default() -> None:
    documented = {
        codes(name)[0]: ast.literal_eval(codes(default)[0])
        for name, default, *_ in table(REFERENCE / "settings.md", "Setting | Default")
    }
    actual = {
        PREFIX + name: list(default) if isinstance(default, tuple) else default
        for name, (default, _) in SETTINGS.items()
    }
    assert documented == actual
    assert list(documented) == list(actual)


@pytest.mark.parametrize(
    ("setting", "choices"),
    [
        ("STRATEGY", tuple(STRATEGIES)),
        ("SESSION_LOST", ("reassign", "wait", "fail")),
        ("ON_RATE_LIMITED", REFUSAL_POLICIES),
        ("ON_FORBIDDEN", REFUSAL_POLICIES),
        ("IDLE_WHEN_PAUSED", IDLE_POLICIES),
    ],
)
def test_the_choices_of_a_setting_are_those_that_it_takes(
    setting: str, choices: tuple[str, ...]
) -> None:
    rows = {codes(row[0])[0]: row for row in table(REFERENCE / "settings.md", "Setting | Default")}
    documented = [ast.literal_eval(code) for code in codes(rows[PREFIX + setting][2])]
    assert documented == list(choices)
    for choice in documented:
        assert SETTINGS[setting][1](PREFIX + setting, choice) == choice


def test_no_page_names_a_setting_that_does_not_exist() -> None:
    for page in PAGES:
        for name in re.findall(rf"{PREFIX}(\w+)", page.read_text(encoding="utf-8")):
            assert name in SETTINGS, f"{page.relative_to(ROOT)} names {PREFIX}{name}"


def test_the_keys_of_an_entry_are_those_that_are_read() -> None:
    assert sorted(first_codes(REFERENCE / "settings.md", "Key")) == sorted(ENTRY_KEYS)


def test_the_keys_of_a_target_are_those_that_are_read() -> None:
    assert first_codes(REFERENCE / "settings.md", "In a target's dict") == list(TARGET_KEYS)


def test_the_keys_of_a_gateway_are_those_that_are_read() -> None:
    assert first_codes(REFERENCE / "settings.md", "In a gateway's dict") == list(GATEWAY_KEYS)


def test_the_columns_of_the_report_are_documented() -> None:
    page = DOCS / "how-to" / "see-what-happened.md"
    assert first_codes(page, "CSV column") == list(CSV_COLUMNS)


def test_every_metric_is_documented_with_its_type_and_its_labels() -> None:
    seen: Any = SentSignals()
    proxies = [Proxy(host="gate.example", port=8000, name=name, username=name) for name in "ab"]
    pool = seen.pool = Pool(proxies, PoolPolicy(), rng=Random(1))
    seen.clock = lambda: 3.0
    seen.attempt_log = SimpleNamespace(subscribe=lambda _: None)
    seen.retries = SimpleNamespace(budget=SimpleNamespace(let_out=0))
    metrics = Metrics(seen, Figures(pool), per_proxy=10)
    for outcome, failure in ((Outcome.SUCCESS, None), (Outcome.TARGET_SIGNAL, "429")):
        attempt = acquire(pool, 1.0, target="shop.example")
        pool.release(attempt, outcome, 2.0, latency=1.0, failure=failure)
    told = {}
    for family in metrics.families("books"):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for one in family.samples for label in one.labels} - {"le"}
        told[name] = (family.type, labels)
    rows = table(REFERENCE / "metrics.md", "Metric")
    documented = {codes(row[0])[0]: (row[1], set(codes(row[2]))) for row in rows}
    assert documented == told


def test_the_columns_of_the_request_log_and_the_keys_of_its_setting_are_documented() -> None:
    page = REFERENCE / "request-log.md"
    assert first_codes(page, "Column") == list(COLUMNS)
    assert first_codes(page, "Key") == list(FEED_KEYS)
    outcomes = next(row[2] for row in table(page, "Column") if codes(row[0]) == ["outcome"])
    assert set(codes(outcomes)) == {outcome.value for outcome in Outcome}


def test_the_meta_keys_are_those_of_the_code() -> None:
    page = REFERENCE / "meta.md"
    set_by_users = {row[0].strip("`") for row in table(page, "Key | Value | What it does")}
    read_by_users = {row[0].strip("`") for row in table(page, "Key | Value | When it is there")}
    actual = {
        value
        for name, value in vars(request_meta).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str)
        if not value.startswith("_")
    }
    assert set_by_users | read_by_users == actual | {SETTINGS["SESSION_META_KEY"][0]}
    assert read_by_users == {request_meta.PROXY_NAME}


def test_the_private_meta_keys_and_no_others_are_named_as_private() -> None:
    text = (REFERENCE / "meta.md").read_text(encoding="utf-8")
    private = {
        value
        for value in vars(request_meta).values()
        if isinstance(value, str) and value.startswith("_proxybalance_")
    }
    assert set(re.findall(r"`(_\w+)`", text.split("## Private keys")[1])) == private


def test_the_filter_attributes_are_those_of_the_code() -> None:
    text = (REFERENCE / "meta.md").read_text(encoding="utf-8")
    sentence = text.split("The attributes are ")[1].split(".\n")[0]
    assert codes(sentence) == list(ATTRIBUTES)


def test_the_stats_keys_are_those_of_the_recorder() -> None:
    assert first_codes(REFERENCE / "stats.md", "Key") == [stats.PREFIX + key for key in stats.KEYS]


def test_the_stats_keys_are_set_on_events_that_exist() -> None:
    named = {code for row in table(REFERENCE / "stats.md", "Key") for code in codes(row[1])}
    assert named <= {event.__name__ for event in event_classes()}


def test_every_class_of_failure_of_an_exception_is_documented() -> None:
    documented = set(first_codes(REFERENCE / "stats.md", "Class"))
    rows = {failure for _, _, failure in exceptions._CERTAIN + exceptions._BROAD}
    of_libraries = {
        value.failure
        for value in (*vars(handler_errors).values(), *handler_errors._CURL.values())
        if isinstance(value, Verdict)
    }
    others = {CERTIFICATE, UNSUPPORTED, proxy_watch.BYPASSED, proxy_watch.OVERWRITTEN}
    assert rows | of_libraries | others <= documented


def test_the_states_of_a_proxy_are_those_that_are_shown() -> None:
    assert first_codes(REFERENCE / "stats.md", "State") == [state.value for state in Standing]
    assert {"state", "in_flight", "score"} <= {field.name for field in attrs.fields(ProxySnapshot)}


def event_classes() -> list[type[events.Event]]:
    return [
        value
        for value in vars(events).values()
        if inspect.isclass(value) and issubclass(value, events.Event) and value is not events.Event
    ]


def test_every_event_is_documented_with_its_fields() -> None:
    documented = {
        codes(name)[0]: codes(fields)
        for name, fields, *_ in table(REFERENCE / "events.md", "Event")
    }
    actual = {
        event.__name__: [field.name for field in attrs.fields(event) if field.name != "now"]
        for event in event_classes()
    }
    assert documented == actual


class SentSignals:
    """Stands for a crawler: notes the signals that are sent, and with which arguments."""

    def __init__(self) -> None:
        self.crawler = self.signals = self
        self.spider = None
        self.pool = Pool([], PoolPolicy(), rng=Random(1))
        self.sent: dict[str, list[str]] = {}

    def connect(self, *_: object, **__: object) -> None:
        pass

    def send_catch_log_async(self, signal: object, **arguments: object) -> Deferred[None]:
        [name] = [name for name, value in vars(signals).items() if value is signal]
        self.sent[name] = sorted(arguments)
        return succeed(None)


def test_every_signal_is_documented_with_its_arguments() -> None:
    seen: Any = SentSignals()
    SignalSender(seen, Figures(seen.pool))
    targets, name = seen.pool.targets, "shop.example"
    targets.refused(name, started_at=1.0, now=1.0, reason="response 429")
    targets.send(name, 1e6)
    targets.answered(name, 1e6, 1e6)
    targets.suspend(name, 1e6, "response 403")
    documented = {
        codes(signal)[0]: sorted(codes(arguments))
        for signal, arguments, *_ in table(REFERENCE / "signals.md", "Signal")
    }
    assert documented == seen.sent
    assert list(documented) == [
        name for name, value in vars(signals).items() if type(value) is object
    ]


def test_the_fields_of_a_target_are_those_of_the_stats_file() -> None:
    text = (REFERENCE / "stats.md").read_text(encoding="utf-8")
    example = next(match[3] for match in _FENCE.finditer(text) if match[2] == "json")
    rows = first_codes(REFERENCE / "stats.md", "Field of a target")
    [target] = json.loads(example)["targets"].values()
    seen: Any = SentSignals()
    figures = Figures(seen.pool)
    figures.targets["shop.example"].requests = 1
    seen.clock = lambda: 0.0
    seen.stats = seen
    seen.get_stats = dict
    [actual] = stats_file.stats_document(seen, figures, "finished")["targets"].values()
    assert rows == list(target) == list(actual)


def test_the_finish_reasons_are_those_of_the_code() -> None:
    actual = {
        value
        for module in (context, idle, proxy_watch)
        for name, value in vars(module).items()
        if name.startswith("REASON_")
    }
    assert set(first_codes(REFERENCE / "reasons.md", "Reason")) == actual


def logged() -> Iterator[str]:
    """Give every warning and error that the package logs, with ``…`` for what is filled in."""
    for file in sorted(Path(scrapy_proxybalance.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(
                        value=ast.Name(id="logger"),
                        attr="warning" | "error" | "exception" | "log" as how,
                    )
                ):
                    message = node.args[1 if how == "log" else 0]
                    parts = message.values if isinstance(message, ast.JoinedStr) else [message]
                    text = "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts
                    )
                    yield re.sub(r"%[-.0-9]*[a-z]", "…", text)


def fragments(line: str) -> set[str]:
    """Return what a log line has between the places that are filled in, if it says anything."""
    return {part.strip(" .:;,()") for part in line.split("…") if len(part.split()) >= 2}


def test_every_warning_and_error_is_explained_and_no_other() -> None:
    page = (REFERENCE / "log.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    explained = [parts for row in rows if (parts := fragments(codes(row)[0]))]
    said = [line for line in logged() if fragments(line)]
    assert said
    for line in said:
        assert any(part in line for parts in explained for part in parts), line
    for parts in explained:
        assert any(part in line for line in said for part in parts), parts


def loggers() -> Iterator[tuple[str, str]]:
    """Yield each module of the package that logs, and the name of its logger as it is in the code."""
    package = Path(scrapy_proxybalance.__file__).parent
    for file in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(attr="getLogger"), args=[name]):
                    yield file.relative_to(package).as_posix(), ast.unparse(name).strip("'\"")


def test_the_loggers_are_documented_and_say_what_their_names_promise() -> None:
    documented = {codes(row[0])[0]: row for row in table(REFERENCE / "log.md", "Logger")}
    events_of_the_pool, figures, others = documented
    special = {
        "reporting/log.py": events_of_the_pool,
        "reporting/pool_log.py": figures,
        "reporting/summary.py": figures,
    }
    actual = dict(loggers())
    assert actual == {module: special.get(module, others) for module in actual}
    assert special.keys() <= actual.keys()
    for name, row in documented.items():
        assert f'getLogger("{name}").setLevel(' in row[2]


def test_every_dependency_is_documented_with_the_extras_that_install_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    actual: dict[str, set[str]] = {}
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    for group, requirements in groups.items():
        for requirement in requirements:
            actual.setdefault(re.split(r"[\[<>=;]", requirement)[0], set()).add(group)
    documented = {}
    for row in table(DOCS / "contributing.md", "Dependency"):
        names, _, installed_by = row[0].partition(" (")
        installed = set(re.findall(r"(?!extra)\b[a-z]+", installed_by)) or {""}
        documented.update(dict.fromkeys(codes(names), installed))
    assert documented == actual


def test_the_extras_for_users_are_documented() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    of_developers = {"tests", "handlers", "benchmarks", "checks", "docs"}
    documented = set(first_codes(DOCS / "installation.md", "Extra"))
    assert documented == project["optional-dependencies"].keys() - of_developers


def test_every_exception_of_the_core_is_documented() -> None:
    documented = set(first_codes(REFERENCE / "reasons.md", "Exception"))
    actual = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value is not errors.ProxyBalanceError
    }
    assert documented == actual | {"IgnoreRequest"}


def test_the_built_in_marks_are_documented_in_their_order() -> None:
    documented = []
    for row in table(REFERENCE / "proxy-marks.md", "Program or provider"):
        header, value, status, body, verdict = ((codes(cell) or [None])[0] for cell in row[1:6])
        assert header is not None or status is not None or body is not None
        statuses: set[int] = set()
        for first, _, last in (code.partition("-") for code in codes(row[3])):
            statuses.update(range(int(first), int(last or first) + 1))
        mark = marks.Mark(
            header=header,
            value=value or "",
            statuses=frozenset(statuses),
            body=body,
            verdict=str(verdict),
            certain={"yes": True, "no": False}[row[6]],
        )
        documented.append(mark)
    assert tuple(documented) == marks.BUILT_IN


def test_the_keys_and_verdicts_of_a_mark_are_documented() -> None:
    page = REFERENCE / "proxy-marks.md"
    assert tuple(first_codes(page, "Key of a mark")) == MARK_KEYS
    documented = [[codes(cell)[0] for cell in row[:3]] for row in table(page, "Verdict of a mark")]
    assert documented == [
        [name, whose.value, failure] for name, (whose, failure) in marks.MEANINGS.items()
    ]


def test_every_class_of_failure_of_the_core_is_documented() -> None:
    documented = set(first_codes(REFERENCE / "stats.md", "Class"))
    named = {value for value in vars(classes_of_failure).values() if isinstance(value, str)}
    words = {value for value in named if re.fullmatch(r"[a-z_]+", value)}
    odd = {oddities.EMPTY, oddities.ELSEWHERE, classes_of_failure.SAME_PAGE}
    assert words | odd <= documented


def test_the_public_names_are_those_of_the_package() -> None:
    text = (REFERENCE / "api.md").read_text(encoding="utf-8")
    sentence = text.split("`scrapy_proxybalance`: ")[1].split(". ")[0]
    assert codes(sentence) == sorted(scrapy_proxybalance.__all__)


@pytest.mark.parametrize(
    ("kind", "column", "attributes"),
    [
        (ProxyPool, "Method of `ProxyPool`", {"core", "dispatcher", "clock"}),
        (Page, "Method of `Page`", {"attempt"}),
        (
            Dispatcher,
            "Method of `Dispatcher`",
            {"pool", "retry_budget", "dropped_targets", "answered_at", "has_failed"},
        ),
        (Pool, "Member of `Pool`", {"events", "targets", "sessions", "comparison"}),
        (Strategy, "Method of `Strategy`", set()),
        (View, "Method of `View`", set()),
    ],
)
def test_the_members_of_a_class_are_documented(
    kind: type, column: str, attributes: set[str]
) -> None:
    documented = {code.partition("(")[0] for code in first_codes(REFERENCE / "api.md", column)}
    actual = {name for name in vars(kind) if not name.startswith("_")} | attributes
    assert documented == actual


def test_the_fields_of_a_pick_are_documented() -> None:
    documented = first_codes(REFERENCE / "api.md", "Field of `Pick`")
    assert documented == [field.name for field in attrs.fields(Pick)]


def test_the_fields_of_a_want_and_the_steps_of_a_followup_are_documented() -> None:
    page = REFERENCE / "api.md"
    assert first_codes(page, "Field of `Want`") == [field.name for field in attrs.fields(Want)]
    assert first_codes(page, "`Step` of a `Followup`") == [step.name for step in Step]


def test_a_verdict_and_its_outcomes_are_documented() -> None:
    rows = table(REFERENCE / "api.md", "Field of `Verdict`")
    assert [codes(row[0])[0] for row in rows] == [field.name for field in attrs.fields(Verdict)]
    assert codes(rows[0][1])[1:] == [outcome.name for outcome in Outcome]


def test_the_outcomes_are_explained() -> None:
    documented = first_codes(DOCS / "how-it-works.md", "Outcome")
    assert documented == [outcome.value for outcome in Outcome if outcome.value in documented]
    assert len(documented) == len(Outcome)


def test_the_strategies_are_explained() -> None:
    assert first_codes(DOCS / "how-it-works.md", "Strategy") == list(STRATEGIES)


# Examples


@pytest.mark.parametrize("example", [one for one in EXAMPLES if one.to_run], ids=str)
def test_an_example_runs(example: Example, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c", example.code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def free_names(code: str) -> set[str]:
    """Return the names that a module uses and neither defines nor finds among the built-in ones."""
    module = symtable(code, "<example>", "exec")
    tables: list[SymbolTable] = [module]
    for table in tables:
        tables.extend(table.get_children())
    used = {
        symbol.get_name()
        for table in tables
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (symbol.is_global() or table is module)
    }
    return used - defined_names(code) - set(dir(builtins))


def defined_names(code: str) -> set[str]:
    """Return the names that a module defines or imports."""
    symbols = symtable(code, "<example>", "exec").get_symbols()
    return {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}


def as_module(example: Example) -> str:
    """Return a block as a module in which each of its lines has the number that it has on its page."""
    parts = [example]
    if not example.is_within_a_callback:
        missing = free_names(example.code)
        for earlier in reversed([one for one in examples_of(example.page) if one < example]):
            if not earlier.is_within_a_callback and missing & defined_names(earlier.code):
                parts.insert(0, earlier)
                missing = (missing - defined_names(earlier.code)) | free_names(earlier.code)
    lines = ["from scrapy.crawler import Crawler as _Crawler; crawler: _Crawler"]
    for part in parts:
        lines += [""] * (part.line - 1 - len(lines))
        if part.is_within_a_callback:
            lines[0] = "import scrapy"
            lines += ["async def example(url: str):", *indent(part.code, "    ").splitlines()]
        else:
            lines += ["", *part.code.splitlines()]
    return "\n".join(lines) + "\n"


@pytest.mark.skipif(scrapy.version_info < (2, 19), reason="they are written for the newest Scrapy")
def test_every_example_that_is_not_run_passes_the_type_checker(tmp_path: Path) -> None:
    pages = {}
    for number, example in enumerate(one for one in EXAMPLES if not one.to_run):
        file = tmp_path / f"example_{number}.py"
        file.write_text(as_module(example), encoding="utf-8")
        pages[file.name] = str(example.page.relative_to(ROOT))
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--config-file=", "--check-untyped-defs"),
            *("--follow-imports=silent", "--no-error-summary", "--no-color-output"),
            *(f"--cache-dir={tmp_path / 'cache'}", "--show-error-codes", "."),
        ],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    found = sorted(
        re.sub(r"^(example_\d+\.py)", lambda match: pages[match[1]], line)
        for line in ended.stdout.splitlines()
    )
    assert (found, ended.stderr, ended.returncode) == ([], "", 0), "\n".join(found)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", DOCS / "installation.md"], ids=["README", "installation"]
)
def test_the_settings_that_a_new_user_copies_are_valid(page: Path) -> None:
    written = next(one.settings() for one in examples_of(page) if "ADDONS" in one.code)
    assert written["ADDONS"] == {"scrapy_proxybalance.Addon": 500}
    assert len(Settings.read(ScrapySettings(written)).proxies) == 2


@pytest.mark.parametrize("example", [one for one in EXAMPLES if one.is_settings], ids=str)
def test_the_settings_of_an_example_are_valid(
    example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXYBALANCE_CONTROL_TOKEN", "t" * 16)  # one of them is read from there
    written = example.settings()
    gateways = [name for name in written.get("PROXYBALANCE_GATEWAYS", {}) if name != "*"]
    proxies = [f"http://{name}" for name in gateways or ["proxy.example:8080"]]
    read = Settings.read(ScrapySettings({"PROXYBALANCE_PROXIES": proxies, **written}))
    assert read.proxies


def test_the_example_of_a_proxies_file_is_valid(tmp_path: Path) -> None:
    text = (REFERENCE / "settings.md").read_text(encoding="utf-8").split("## The file")[1]
    match = _FENCE.search(text)
    assert match is not None
    (tmp_path / "proxies.txt").write_text(match[3], encoding="utf-8")
    written = {"PROXYBALANCE_PROXIES_FILE": str(tmp_path / "proxies.txt")}
    assert len(Settings.read(ScrapySettings(written)).proxies) == 3


# Links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page: Path) -> None:
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        parts = urlsplit(link)
        assert not parts.scheme, f"{link} leads out of the documentation"
        destination = (page.parent / parts.path).resolve() if parts.path else page
        assert destination.is_file(), f"{link} leads nowhere"
        assert destination.is_relative_to(ROOT)
        if parts.fragment:
            assert parts.fragment in headings(destination), f"{link}: there is no such heading"


def headings(page: Path) -> set[str]:
    """Return a page's anchors: of headings, as GitHub and MyST make them, and of MyST's targets."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
    return anchors | set(re.findall(r"^\(([\w-]+)\)=$", prose, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_files_and_tests_that_a_page_names_exist(page: Path) -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    for code in codes(page.read_text(encoding="utf-8")):
        if code.startswith(("tests/", "docs/", "example_project/")):
            assert (ROOT / code.split()[0]).exists(), code
        elif re.fullmatch(r"test_\w+", code):
            assert f"def {code}(" in source, code


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = {
        line
        for match in re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL)
        for line in match.splitlines()
        if line and not line.startswith(":")
    }
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")}
    assert listed == pages - {"index"}
