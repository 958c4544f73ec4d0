"""The command line: ``python -m tests.benchmarks.simulate``."""

from __future__ import annotations

import argparse
from dataclasses import asdict

import numpy as np

from .runs import run
from .scenarios import SCENARIOS


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.simulate")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), choices=SCENARIOS)
    parser.add_argument(
        "--contenders",
        nargs="+",
        default=["ours:weighted", "random", "clairvoyant", "clairvoyant-timeouts"],
    )
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    for name in arguments.scenarios:
        print(f"\n{name}: {SCENARIOS[name].about}")
        for contender in arguments.contenders:
            runs = [
                asdict(run(SCENARIOS[name], contender, seed)) for seed in range(arguments.seeds)
            ]
            means = {key: np.mean([one[key] for one in runs]) for key in runs[0]}
            print(f"  {contender:22}", *(f"{key} {value:.3f}" for key, value in means.items()))


if __name__ == "__main__":
    main()
