"""Drawings of the figures: goodput against the bound, and how it comes back after trouble."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot

from .report import rows
from .runs import OURS
from .scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .report import Results, Row

_CURVE_SECONDS = 5.0
# From so many seconds before trouble to so many after it.
_BEFORE, _AFTER = 60.0, 120.0
# No rule of a crawler's, and drawn in grey.
_CLAIRVOYANT = "clairvoyant"


def draw(
    results: Results, scenarios: Sequence[str], contenders: Sequence[str], directory: Path
) -> None:
    """Write ``goodput.svg``, and ``recovery.svg`` if there was trouble to recover from."""
    directory.mkdir(parents=True, exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = "simulate"  # the same figures give the same file
    tables = [rows(results, scenario, contenders) for scenario in scenarios]
    _goodput(tables, contenders, directory / "goodput.svg")
    troubled = [table for table in tables if SCENARIOS[table[0].scenario].event is not None]
    if troubled:
        _recovery(troubled, contenders, directory / "recovery.svg")


def _style(contender: str, contenders: Sequence[str]) -> tuple[str, str]:
    """Return a colour and a marker."""
    if contender.startswith(_CLAIRVOYANT):
        return ("0.35" if contender == _CLAIRVOYANT else "0.65"), "|"
    rules = [name for name in contenders if not name.startswith(_CLAIRVOYANT)]
    return f"C{rules.index(contender) % 10}", "D" if contender.startswith(OURS) else "o"


def _goodput(tables: Sequence[list[Row]], contenders: Sequence[str], path: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(9.0, 1.5 + 0.55 * len(tables)), layout="constrained")
    for number, contender in enumerate(contenders):
        offset = 0.7 * (number / max(1, len(contenders) - 1) - 0.5)
        values, places = [], []
        for place, table in enumerate(tables):
            for row in table:
                if row.contender == contender:
                    values.append(row.of_bound)
                    places.append(place + offset)
        colour, marker = _style(contender, contenders)
        axes.errorbar(
            [value.mean for value in values],
            places,
            xerr=[value.within if isfinite(value.within) else 0.0 for value in values],
            fmt=marker,
            color=colour,
            markersize=7.0 if marker == "D" else 4.5,
            linewidth=1.0,
            label=contender,
        )
    for place in range(len(tables) - 1):
        axes.axhline(place + 0.5, color="0.9", linewidth=0.8, zorder=0)
    axes.axvline(1.0, color="0.5", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(tables)), [table[0].scenario for table in tables])
    axes.set_ylim(len(tables) - 0.5, -0.5)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("pages fetched, as a part of the bound with the user's timeouts")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _recovery(tables: Sequence[list[Row]], contenders: Sequence[str], path: Path) -> None:
    figure, grid = pyplot.subplots(
        len(tables), 1, figsize=(9.0, 1.0 + 2.0 * len(tables)), squeeze=False, layout="constrained"
    )
    for axes, table in zip(grid[:, 0], tables, strict=True):
        scenario = SCENARIOS[table[0].scenario]
        begins, ends = scenario.event or (0.0, 0.0)
        for row in table:
            curve = np.mean([one.curve for one in row.figures], axis=0)
            moments = _CURVE_SECONDS * (np.arange(len(curve)) + 0.5)
            shown = (moments > begins - _BEFORE) & (moments < ends + _AFTER)
            colour, marker = _style(row.contender, contenders)
            axes.plot(
                moments[shown],
                curve[shown],
                color=colour,
                linewidth=2.0 if marker == "D" else 1.0,
                label=row.contender,
            )
        axes.axvspan(begins, ends, color="0.93", zorder=0)
        axes.set_ylim(bottom=0.0)
        axes.set_title(scenario.name, fontsize="medium")
        axes.set_ylabel("pages/s")
    grid[-1, 0].set_xlabel("seconds; grey while there is trouble")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
