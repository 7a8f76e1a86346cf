# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Rank-sum tests of ours, of pdex 0.3 and of illico on the same cells, one thread each, in turns.

    export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 RAYON_NUM_THREADS=1 POLARS_MAX_THREADS=1
    python benchmarks/quality/wilcoxon_peers.py --peers ENVIRONMENT/bin/python --perturbations 200 --genes 500

ENVIRONMENT has ``pip install pdex==0.3.0 illico==0.6.0 statsmodels``: pdex 0.3 cannot be installed beside cell-eval
0.6.6. Each tool is called twice in a process of its own, and the second call has nothing to compile. Prints processor
seconds of both calls, and how far p-values and statistics of each peer lie from ours.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd


CONTROLS = 1000


def write_cells(path: Path, *, perturbations: int, cells: int, genes: int) -> None:
    """Write log1p values with the zeros and depth of a screen, of which a twentieth responds."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([np.zeros(CONTROLS, dtype=int), np.repeat(np.arange(1, perturbations + 1), cells)])
    base = rng.lognormal(-1.5, 1.5, genes)
    effect = np.where(
        rng.random((perturbations + 1, genes)) < 0.05, rng.lognormal(0, 0.8, (perturbations + 1, genes)), 1
    )
    effect[0] = 1
    counts = rng.poisson(base * effect[rows] * rng.lognormal(0, 0.4, len(rows))[:, None])
    values = np.log1p(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * 1e4).astype(np.float32)
    names = np.array(["control", *(f"p{number:05}" for number in range(perturbations))])
    obs = pd.DataFrame({"perturbation": pd.Categorical(names[rows])}, index=[str(row) for row in range(len(rows))])
    ad.AnnData(values, obs=obs, var=pd.DataFrame(index=[f"g{gene:05}" for gene in range(genes)])).write_h5ad(path)


def by_ours(adata: ad.AnnData) -> pd.DataFrame:
    """Call this package."""
    from bionemo.scale.eval.metrics.differential import differential_expression

    found = differential_expression(adata, control="control")
    return found.select("target", "feature", "p_value", "statistic").to_pandas()


def by_pdex(adata: ad.AnnData) -> pd.DataFrame:
    """Call pdex 0.3."""
    from pdex import pdex

    found = pdex(adata, groupby="perturbation", mode="ref", reference="control", is_log1p=True, threads=1)
    return found.select("target", "feature", "p_value", "statistic").to_pandas()


def by_illico(adata: ad.AnnData) -> pd.DataFrame:
    """Call illico."""
    from illico import asymptotic_wilcoxon

    found = asymptotic_wilcoxon(adata, is_log1p=True, group_keys="perturbation", reference="control", n_threads=1)
    found = found.reset_index().rename(columns={"pert": "target"})
    return found[["target", "feature", "p_value", "statistic"]]


TOOLS = {"ours": by_ours, "pdex": by_pdex, "illico": by_illico}


def call(tool: str, cells: Path, out: Path) -> None:
    """Call a tool twice, write its table, and print the processor seconds of both calls."""
    adata, seconds = ad.read_h5ad(cells), []
    for _ in range(2):
        begin = time.process_time()
        found = TOOLS[tool](adata)
        seconds.append(round(time.process_time() - begin, 2))
    found["target"] = found["target"].astype(str)
    found["feature"] = found["feature"].astype(str)
    found[found["target"] != "control"].sort_values(["target", "feature"]).to_csv(
        out, index=False, float_format="%.17g"
    )
    print(json.dumps(seconds))


def main() -> None:
    """Run the turns and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("perturbations", 200), ("cells", 20), ("genes", 500), ("rounds", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--peers", help="interpreter of the environment that has pdex 0.3 and illico")
    parser.add_argument("--call", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.call:
        call(args.call[0], Path(args.call[1]), Path(args.call[2]))
        return
    with tempfile.TemporaryDirectory() as name:
        cells, tables = Path(name) / "cells.h5ad", {}
        write_cells(cells, perturbations=args.perturbations, cells=args.cells, genes=args.genes)
        for _ in range(args.rounds):
            for tool in TOOLS:
                python, out = sys.executable if tool == "ours" else args.peers, Path(name) / tool
                words = [python, __file__, "--call", tool, str(cells), str(out)]
                seconds = json.loads(
                    subprocess.run(
                        words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                    ).stdout.splitlines()[-1]
                )
                print(f"{tool}: first {seconds[0]} s, second {seconds[1]} s of a processor", flush=True)
                tables[tool] = pd.read_csv(out)
        for tool in ("pdex", "illico"):
            assert (
                tables[tool][["target", "feature"]].to_numpy() == tables["ours"][["target", "feature"]].to_numpy()
            ).all()
            apart = {
                column: np.abs(tables[tool][column].to_numpy() - tables["ours"][column].to_numpy()).max()
                for column in ("p_value", "statistic")
            }
            print(
                f"{tool} and ours differ by at most " + ", ".join(f"{key} {value:.2g}" for key, value in apart.items())
            )


if __name__ == "__main__":
    main()
