# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""``bionemo-scale-prepare``: h5ad files to a store."""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bionemo.scale.run.command import run_command
from bionemo.scale.types import ObsKeys


if TYPE_CHECKING:
    from bionemo.scale.data.preprocess import PrepareSummary


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 refused, 130 interrupted."""
    return run_command(_run, argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bionemo-scale-prepare",
        description="Turn h5ad files of perturbation screens into a store that training and prediction read.",
        epilog="Values must be raw counts or log1p of library-size normalised counts; which of the two is recognised.",
    )
    add = parser.add_argument
    add("inputs", nargs="+", type=Path, metavar="IN.h5ad", help="file with cells x genes in X")
    add("--out", required=True, type=Path, metavar="STORE", help="folder to make")
    add("--perturbation-key", default="perturbation", metavar="COLUMN", help="obs column (default: %(default)s)")
    add("--cell-type-key", default="cell_type", metavar="COLUMN", help="obs column (default: %(default)s)")
    add("--batch-key", default="batch", metavar="COLUMN", help="obs column (default: %(default)s)")
    add(
        "--control",
        action="append",
        metavar="LABEL",
        help="perturbation label of control cells (default: control); repeat it to give all the name of the first",
    )
    add("--split", type=Path, metavar="SPLIT.toml", help="held-out conditions; without it all cells are for training")
    add("--hvg", type=int, default=2000, metavar="N", help="highly variable genes to keep, 0 for all (%(default)s)")
    add("--library-size-key", metavar="COLUMN", help="obs column with library sizes (default: sum of a cell's counts)")
    add("--target-sum", type=float, default=1e4, help="library size cells are scaled to (default: %(default)g)")
    add("--layer", metavar="NAME", help="layer to read instead of X")
    add("--gene-key", metavar="COLUMN", help="var column with gene names (default: the var index)")
    add("--dataset", action="append", metavar="NAME", help="name for each file, in order (default: file name)")
    add("--overwrite", action="store_true", help="replace the store at --out")
    return parser


def _run(argv: Sequence[str] | None) -> None:
    options = _parser().parse_args(argv)
    # Late, so that --help answers at once.
    from bionemo.scale.data.preprocess import PrepareConfig, prepare

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    config = PrepareConfig(
        inputs=tuple(options.inputs),
        out=options.out,
        keys=ObsKeys(perturbation=options.perturbation_key, cell_type=options.cell_type_key, batch=options.batch_key),
        controls=tuple(options.control or ["control"]),
        datasets=tuple(options.dataset or ()),
        split=options.split,
        num_hvg=options.hvg,
        target_sum=options.target_sum,
        library_size_key=options.library_size_key,
        layer=options.layer,
        gene_key=options.gene_key,
        overwrite=options.overwrite,
    )
    start = time.perf_counter()
    with _Bar() as bar:
        summary = prepare(config, bar)
    _report(summary, time.perf_counter() - start)


class _Bar:
    """Progress of both passes: a bar on a terminal, a line every few seconds elsewhere."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._tqdm = tqdm
        self._stage = ""
        self._bar: tqdm | None = None
        self._is_terminal = sys.stderr.isatty()
        self._done = 0
        self._reported = time.monotonic()

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, stage: str, cells: int, total: int) -> None:
        """Count cells of a stage."""
        if stage != self._stage:
            self.__exit__()
            self._stage, self._done = stage, 0
            self._bar = self._tqdm(total=total, desc=stage, unit="cell") if self._is_terminal else None
        self._done += cells
        if self._bar is not None:
            self._bar.update(cells)
        elif time.monotonic() - self._reported > 10:
            self._reported = time.monotonic()
            print(f"{stage}: {self._done} of {total} cells", file=sys.stderr, flush=True)


def _report(summary: "PrepareSummary", seconds: float) -> None:
    for warning in summary.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    cells = ", ".join(f"{name} {count}" for name, count in summary.cells_by_split.items())
    print(f"store     {summary.out}")
    print(f"cells     {summary.num_cells}: {cells}")
    print(f"groups    {summary.num_groups} of (dataset, cell type, perturbation, batch)")
    print(f"genes     {summary.num_genes} of {summary.num_genes_found}, values from {summary.kind}")
    print(f"controls  {summary.num_fallback_groups} groups matched by cell type, the others by batch")
    print(f"split     {summary.split_sha256 or 'none, all cells are for training'}")
    print(f"size      {summary.num_bytes / 2**20:.1f} MiB, written in {seconds:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
