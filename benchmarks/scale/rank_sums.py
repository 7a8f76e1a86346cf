# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Processor time of rank-sum tests of perturbations one by one and together, in turns.

    OMP_NUM_THREADS=1 python benchmarks/scale/rank_sums.py --perturbations 200 --cells 10 --controls 1000 10000

Made-up counts, log1p, most of them zero and all tied. Each number of controls is one line of JSON with the seconds of
every round. Compilation is not in them.
"""

import argparse
import json
import time
from unittest import mock

import numpy as np

from bionemo.scale.eval.metrics import wilcoxon


def made_cells(num: int, rates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return [num, G] float32 log1p counts, whose means are ``rates`` [G]."""
    return np.log1p(rng.poisson(rates, size=(num, len(rates)))).astype(np.float32)


def seconds(cells: np.ndarray, controls: np.ndarray, *, each: int, together: bool) -> float:
    """Return the processor time of all tests.

    Args:
        cells: [cells, G] of all perturbations, one after the other.
        controls: [controls, G].
        each: Cells of a perturbation.
        together: Whether perturbations are compared together.
    """
    num = len(cells) // each
    rows = {f"p{number:06}": np.arange(number * each, (number + 1) * each) for number in range(num)}
    genes = tuple(f"gene{gene}" for gene in range(cells.shape[1]))
    with mock.patch.object(wilcoxon, "_together", return_value=np.full(num, together)):
        start = time.process_time()
        wilcoxon.rank_sum_tests(cells=cells, rows=rows, controls=controls, genes=genes, control="control")
        return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--perturbations", type=int, default=200)
    parser.add_argument("--cells", type=int, default=10, help="of each perturbation")
    parser.add_argument("--controls", type=int, nargs="+", default=[1000])
    parser.add_argument("--genes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    rates = rng.gamma(0.25, 1.0, size=args.genes)
    cells = made_cells(args.perturbations * args.cells, rates, rng)
    for num in args.controls:
        controls = made_cells(num, rates, rng)
        seconds(cells, controls, each=args.cells, together=True)  # Compiles.
        found: dict[str, list[float]] = {"one_by_one": [], "together": []}
        for _ in range(args.rounds):
            for way, times in found.items():
                times.append(round(seconds(cells, controls, each=args.cells, together=way == "together"), 3))
        print(json.dumps({"controls": num, **found}), flush=True)


if __name__ == "__main__":
    main()
