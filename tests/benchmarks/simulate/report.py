"""Tables of the figures: means over the seeds with their 95 % confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isinf, isnan, nan, sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from .runs import GREEDY, Bounds
from .scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .measures import Figures
    from .runs import Cell

    Results = Mapping[Cell, Figures | Bounds]

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Value:
    """A mean, and how far to either side the mean of all seeds may be."""

    mean: float
    within: float

    def text(self, digits: int) -> str:
        """Return it to print."""
        if isnan(self.mean):
            return "-"
        if isinf(self.mean):
            return "never"
        if isnan(self.within):
            return f"{self.mean:.{digits}f}"
        return f"{self.mean:.{digits}f} ±{self.within:.{digits}f}"


def summary(values: Sequence[float]) -> Value:
    """Return the mean and its confidence interval (Student's t); infinite if one of them is."""
    if any(isnan(value) for value in values) or not values:
        return Value(nan, nan)
    if any(isinf(value) for value in values):
        return Value(inf, nan)
    if len(values) == 1:
        return Value(values[0], nan)
    deviation = float(np.std(values, ddof=1)) / sqrt(len(values))
    quantile = float(student.ppf((1.0 + _CONFIDENCE) / 2.0, len(values) - 1))
    return Value(float(np.mean(values)), quantile * deviation)


@dataclass(frozen=True)
class Row:
    """One contender in one scenario, with what it is compared with: a list entry for each seed."""

    scenario: str
    contender: str
    figures: tuple[Figures, ...]
    bounds: tuple[Bounds, ...]
    greedy: tuple[Figures, ...]

    def each(self, figure: Callable[[Figures], float]) -> Value:
        """Return the summary of a figure."""
        return summary([figure(one) for one in self.figures])

    def against(self, others: Iterable[float]) -> Value:
        """Return the summary of the goodput as a part of something else."""
        pairs = zip(self.figures, others, strict=True)
        return summary([one.goodput / other if other else nan for one, other in pairs])

    @property
    def of_bound(self) -> Value:
        """Goodput against the bound with the user's timeouts."""
        return self.against(one.users_timeouts for one in self.bounds)

    @property
    def of_best_bound(self) -> Value:
        """Goodput against the bound with the best timeouts."""
        return self.against(one.best_timeouts for one in self.bounds)

    @property
    def of_greedy(self) -> Value:
        """Goodput against the clairvoyant greedy's."""
        return self.against(one.goodput for one in self.greedy)


COLUMNS: tuple[tuple[str, int, Callable[[Row], Value]], ...] = (
    ("pages/s", 1, lambda row: row.each(lambda one: one.goodput)),
    ("of bound", 3, lambda row: row.of_bound),
    ("of best bound", 3, lambda row: row.of_best_bound),
    ("of greedy", 3, lambda row: row.of_greedy),
    ("first succeeds", 3, lambda row: row.each(lambda one: one.first_succeeds)),
    ("attempts", 2, lambda row: row.each(lambda one: one.attempts_per_success)),
    ("lost %", 2, lambda row: row.each(lambda one: 100.0 * one.lost)),
    ("p50 s", 2, lambda row: row.each(lambda one: one.p50)),
    ("p99 s", 1, lambda row: row.each(lambda one: one.p99)),
    ("back after s", 1, lambda row: row.each(lambda one: one.recovery)),
    ("refused %", 2, lambda row: row.each(lambda one: 100.0 * one.refused)),
    ("Jain", 3, lambda row: row.each(lambda one: one.jain)),
    ("top %", 2, lambda row: row.each(lambda one: 100.0 * one.top_share)),
    ("us/pick", 1, lambda row: row.each(lambda one: one.pick_us)),
)


def rows(results: Results, scenario: str, contenders: Sequence[str]) -> list[Row]:
    """Return what is known of a scenario, a row for each contender that has run with every seed."""
    bounds: dict[int, Bounds] = {}
    runs: dict[str, dict[int, Figures]] = {}
    for cell, result in results.items():
        if cell.scenario != scenario:
            continue
        if isinstance(result, Bounds):
            bounds[cell.seed] = result
        elif cell.contender is not None:
            runs.setdefault(cell.contender, {})[cell.seed] = result
    seeds = sorted(bounds)
    return [
        Row(
            scenario,
            name,
            tuple(runs[name][seed] for seed in seeds),
            tuple(bounds[seed] for seed in seeds),
            tuple(runs[GREEDY][seed] for seed in seeds),
        )
        for name in contenders
        if name in runs
    ]


def _cells(row: Row) -> list[str]:
    return [row.contender, *(value(row).text(digits) for _, digits, value in COLUMNS)]


def _bound_text(shown: Sequence[Row]) -> str:
    users = summary([one.users_timeouts for one in shown[0].bounds]).text(1)
    best = summary([one.best_timeouts for one in shown[0].bounds]).text(1)
    return f"bound {users} pages/s with the user's timeouts, {best} with the best"


def terminal(results: Results, scenario: str, contenders: Sequence[str]) -> str:
    """Return a scenario's table for the terminal."""
    shown = rows(results, scenario, contenders)
    table = [["", *(name for name, _, _ in COLUMNS)], *map(_cells, shown)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if not number else text.rjust(width)
            for number, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in table
    ]
    about = f"{scenario}: {SCENARIOS[scenario].about}\n({_bound_text(shown)})"
    return "\n".join([about, *lines])


def markdown(results: Results, scenarios: Sequence[str], contenders: Sequence[str]) -> str:
    """Return all tables for the documentation."""
    parts = []
    for scenario in scenarios:
        shown = rows(results, scenario, contenders)
        table = [["contender", *(name for name, _, _ in COLUMNS)], ["---"] * (1 + len(COLUMNS))]
        table += map(_cells, shown)
        about = SCENARIOS[scenario].about
        parts.append(f"### {scenario}\n\n{about[0].upper()}{about[1:]}; {_bound_text(shown)}.\n")
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in table) + "\n")
    return "\n".join(parts)
