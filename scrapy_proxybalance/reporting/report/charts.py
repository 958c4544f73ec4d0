"""The report's charts, as SVG whose colours are those of the page that they stand in.

Needs matplotlib, and is imported only for that. What is shown is worked out elsewhere.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .timeline import Lanes

# Drawn in these, and then replaced by the page's own, which knows whether it is day or night.
_INK, _FAINT = "#010203", "#040506"
_SERIES = ("#112131", "#122232", "#132333", "#142434", "#152535", "#162636")
_VARIABLES = {_INK: "ink", _FAINT: "faint", **{c: f"c{n}" for n, c in enumerate(_SERIES)}}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "proxybalance",
    "font.size": 10.0,
    "font.family": ["sans-serif"],
    "text.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _FAINT,
    "axes.axisbelow": True,
}
_WIDTH = 9.8
# Matplotlib gives every group an id, the same ones in every chart.
_GROUP_ID = re.compile(r' id="[A-Za-z0-9.]+_\d+"')


def bars(
    names: Sequence[str], values: Sequence[float], unit: str, due: Sequence[float] = ()
) -> str:
    """Draw a horizontal bar for each name.

    :param due: where to draw a mark on each, as what its value could be expected to be.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(0.9 + 0.22 * len(names))
        places = range(len(names))
        axes.barh(places, values, color=_SERIES[0], height=0.7)
        if due:
            lower, upper = [place - 0.45 for place in places], [place + 0.45 for place in places]
            axes.vlines(due, lower, upper, color=_INK, linewidth=2.0)
        axes.set_xlim(left=0.0)
        _name_rows(axes, names)
        axes.set_xlabel(unit)
        axes.grid(axis="x", linewidth=0.5)
        return _svg(figure)


def ranges(names: Sequence[str], low: Sequence[float], high: Sequence[float], unit: str) -> str:
    """Draw, for each name, a line from a low to a high value, with a dot at the low one."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(0.9 + 0.22 * len(names))
        places = range(len(names))
        axes.hlines(places, low, high, color=_SERIES[0], linewidth=2.0)
        axes.plot(low, places, "o", color=_SERIES[0], markersize=5.0)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(min(low) / 1.3, max(high) * 1.3)
        _name_rows(axes, names)
        axes.set_xlabel(unit)
        axes.grid(axis="x", linewidth=0.5)
        return _svg(figure)


def areas(
    edges: Sequence[float], series: Mapping[str, Sequence[float]], unit: str, unit_of_time: str
) -> str:
    """Draw the values of stretches of time, on top of each other.

    :param edges: of the stretches: one more than there are values.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(2.6)
        colours = [_SERIES[number % len(_SERIES)] for number in range(len(series))]
        rows = [[*values, values[-1]] for values in series.values()]
        axes.stackplot(edges, *rows, labels=list(series), colors=colours, step="post")
        axes.set_xlabel(f"{unit_of_time} since the beginning")
        axes.set_ylabel(unit)
        axes.set_ylim(bottom=0.0)
        axes.margins(x=0.0)
        if len(series) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        return _svg(figure)


def curve(across: Sequence[float], up: Sequence[float], units: tuple[str, str]) -> str:
    """Draw a curve of percentages over percentages, and beside it what would be even."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(3.0)
        axes.plot(across, up, color=_SERIES[0], linewidth=2.0)
        axes.plot([0.0, 100.0], [0.0, 100.0], color=_INK, linewidth=1.0, linestyle=":")
        axes.set_xlim(0.0, 100.0)
        axes.set_ylim(0.0, 102.0)
        axes.set_xlabel(units[0])
        axes.set_ylabel(units[1])
        axes.grid(linewidth=0.5)
        return _svg(figure)


def spans(groups: Mapping[str, Lanes], end: float, unit_of_time: str) -> str:
    """Draw stretches of time in a lane for each name; each group of lanes has a colour."""
    with mpl.rc_context(_STYLE):
        names = [name for lanes in groups.values() for name, _ in lanes]
        figure, axes = _figure(1.0 + 0.24 * len(names))
        place = 0
        for colour, (group, lanes) in zip(_SERIES[1:], groups.items(), strict=False):
            axes.broken_barh([], (0.0, 0.0), color=colour, label=group)
            for _, stretches in lanes:
                # Nobody sees what is narrower.
                widths = [(start, max(stop - start, end / 500.0)) for start, stop in stretches]
                axes.broken_barh(widths, (place - 0.35, 0.7), color=colour, linewidth=0.0)
                place += 1
        _name_rows(axes, names)
        axes.set_xlim(0.0, end)
        axes.set_xlabel(f"{unit_of_time} since the beginning")
        axes.grid(axis="x", linewidth=0.5)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False)
        return _svg(figure)


def _figure(height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = figure.subplots()
    axes.patch.set_alpha(0.0)
    return figure, axes


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    # A name may hold what matplotlib takes for mathematics.
    axes.set_yticks(range(len(names)), [name.replace("$", r"\$") for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for colour, name in _VARIABLES.items():
        text = text.replace(colour, f"var(--{name})")
    # It is described in the page, beside it.
    text = _GROUP_ID.sub("", text)
    return text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
