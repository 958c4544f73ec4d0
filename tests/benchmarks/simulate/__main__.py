"""The command line: ``python -m tests.benchmarks.simulate``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, fields
from pathlib import Path

from . import report
from .measures import Figures
from .runs import CONTENDERS, GREEDY, OURS, Bounds, Cell, work_out_all
from .scenarios import SCENARIOS


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
    parser.add_argument(
        "--json",
        type=Path,
        help="keep every run's figures in this file; what is there already is not run again",
    )
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    parser.add_argument("--plots", type=Path, help="draw into this directory")
    return parser.parse_args()


def _read(path: Path) -> dict[Cell, Figures | Bounds]:
    """Return the results that are in a file, none if there is no such file."""
    results: dict[Cell, Figures | Bounds] = {}
    for known in json.loads(path.read_text()) if path.exists() else ():
        cell = Cell(**{field.name: known.pop(field.name) for field in fields(Cell)})
        results[cell] = Bounds(**known) if cell.contender is None else Figures(**known)
    return results


def _write(path: Path, results: dict[Cell, Figures | Bounds]) -> None:
    listed = [{**asdict(cell), **asdict(result)} for cell, result in results.items()]
    path.write_text(json.dumps(listed, indent=1) + "\n")


def main() -> None:
    """Run what is asked for, and print a table as soon as it is complete."""
    arguments = _arguments()
    runs = list(dict.fromkeys([GREEDY, *arguments.contenders]))
    seeds = range(1, arguments.seeds + 1)
    results = _read(arguments.json) if arguments.json else {}
    for scenario in arguments.scenarios:
        cells = [Cell(scenario, seed, contender) for contender in (None, *runs) for seed in seeds]
        missing = [cell for cell in cells if cell not in results]
        results.update(work_out_all(missing, arguments.jobs))
        if arguments.json and missing:
            _write(arguments.json, results)
        print(report.terminal(results, scenario, arguments.contenders), end="\n\n", flush=True)
    if arguments.markdown:
        arguments.markdown.write_text(
            report.markdown(results, arguments.scenarios, arguments.contenders)
        )
    if arguments.plots:
        from .plots import draw

        draw(results, arguments.scenarios, arguments.contenders, arguments.plots)


if __name__ == "__main__":
    main()
