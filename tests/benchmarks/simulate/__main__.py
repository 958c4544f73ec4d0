"""The command line: ``python -m tests.benchmarks.simulate``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from . import report
from .runs import CONTENDERS, GREEDY, OURS, Bounds, Cell, work_out_all
from .scenarios import SCENARIOS

if TYPE_CHECKING:
    from .measures import Figures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.simulate")
    parser.add_argument(
        "--scenarios",
        nargs="+",
        default=list(SCENARIOS),
        choices=SCENARIOS,
        metavar="NAME",
        help=f"of {', '.join(SCENARIOS)}; all by default",
    )
    parser.add_argument(
        "--contenders",
        nargs="+",
        default=[f"{OURS}weighted", *CONTENDERS],
        metavar="NAME",
        help=f"of {OURS}STRATEGY, {', '.join(CONTENDERS)}; all by default",
    )
    parser.add_argument("--seeds", type=int, default=5, help="worlds for each scenario")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, help="write every run's figures to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    parser.add_argument("--plots", type=Path, help="draw into this directory")
    return parser.parse_args()


def main() -> None:
    """Run what is asked for, and print a table as soon as it is complete."""
    arguments = _arguments()
    runs = list(dict.fromkeys([GREEDY, *arguments.contenders]))
    seeds = range(1, arguments.seeds + 1)
    cells = [
        Cell(scenario, seed, contender)
        for scenario in arguments.scenarios
        for contender in (None, *runs)
        for seed in seeds
    ]
    results: dict[Cell, Figures | Bounds] = {}
    for cell, result in work_out_all(cells, arguments.jobs):
        results[cell] = result
        if cell.contender == runs[-1] and cell.seed == seeds[-1]:
            print(
                report.terminal(results, cell.scenario, arguments.contenders),
                end="\n\n",
                flush=True,
            )
    if arguments.json:
        listed = [{**asdict(cell), **asdict(result)} for cell, result in results.items()]
        arguments.json.write_text(json.dumps(listed, indent=1) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text(
            report.markdown(results, arguments.scenarios, arguments.contenders)
        )
    if arguments.plots:
        from .plots import draw

        draw(results, arguments.scenarios, arguments.contenders, arguments.plots)


if __name__ == "__main__":
    main()
