# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""``bionemo-scale-prepare``: h5ad files to a store, and what there is to do with a store's files."""

from bionemo.scale.run import interrupt  # isort: skip  # noqa: F401 - before all others, so that an interrupt finds it

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bionemo.scale.files.label_list import given_labels
from bionemo.scale.run.command import run_command
from bionemo.scale.types import InputError, ObsKeys


if TYPE_CHECKING:
    from bionemo.scale.data.prepare.inspection import StoreInfo
    from bionemo.scale.data.prepare.preprocess import PrepareConfig, PrepareSummary

_SECONDS_BETWEEN_LINES = 10.0
_STATE_KEYS = ObsKeys(perturbation="gene", cell_type="cell_type", batch="gem_group")
_STATE_CONTROL = "non-targeting"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 refused, 130 interrupted."""
    return run_command(_run, argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bionemo-scale-prepare",
        description="Turn h5ad files of perturbation screens into a store that training and prediction read.",
        epilog="Values must be raw counts or log1p of library-size normalised counts; which of the two is recognised. "
        "A conversion that was stopped goes on when the same command is given again.",
    )
    add = parser.add_argument
    add("inputs", nargs="*", type=Path, metavar="INPUT", help="h5ad file or zarr folder; with --merge, stores")
    add("--out", type=Path, metavar="STORE", help="folder to make")
    modes = parser.add_argument_group("instead of a conversion").add_mutually_exclusive_group()
    modes.add_argument("--info", type=Path, metavar="STORE", help="print what is in a store")
    modes.add_argument("--verify", type=Path, metavar="STORE", help="check every byte of a store")
    modes.add_argument("--merge", action="store_true", help="join stores that were made on several machines")
    modes.add_argument("--scan-only", action="store_true", help="do the first pass alone; --out is for --scanned")
    _add_labels(parser.add_argument_group("labels"))
    _add_values(parser.add_argument_group("values and genes"))
    _add_work(parser.add_argument_group("work"))
    return parser


def _add_labels(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    for name, column in (("perturbation", "perturbation"), ("cell-type", "cell_type"), ("batch", "batch")):
        add(f"--{name}-key", metavar="COLUMN", help=f"obs column (default: {column})")
    add(
        "--control",
        type=given_labels,
        action="extend",
        metavar="LABEL",
        help="perturbation label of control cells (default: control); repeat it, or give @FILE with one a line: all get "
        "the name of the first",
    )
    add("--split", type=Path, metavar="SPLIT.toml", help="held-out conditions; without it all cells are for training")
    add(
        "--dataset",
        type=given_labels,
        action="extend",
        metavar="NAME",
        help="name of all files, or of each in order (default: file name)",
    )
    add(
        "--from-state",
        type=Path,
        metavar="CONFIG.toml",
        help="take files, data sets and split from an experiment file of STATE; labels default to gene, cell_type, "
        "gem_group and non-targeting",
    )


def _add_values(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--matrix", default="X", metavar="WHERE", help="X, layers/NAME, raw/X or obsm/NAME (default: %(default)s)")
    add("--gene-key", metavar="COLUMN", help="var column with gene names (default: the var index)")
    add("--hvg", type=int, default=2000, metavar="N", help="highly variable genes to keep, 0 for all (%(default)s)")
    add("--join", choices=["inner", "outer"], default="inner", help="genes of all files, or of any (%(default)s)")
    add("--library-size-key", metavar="COLUMN", help="obs column with library sizes (default: sum of a cell's counts)")
    add(
        "--target-sum",
        type=float,
        metavar="SUM",
        help="library size cells are scaled to (default: 10000); for log1p values that do not show it, what they were "
        "scaled to",
    )
    add("--values", choices=["counts", "log1p"], help="what the values are where they do not show it")
    add(
        "--knockdown",
        nargs="+",
        type=float,
        metavar="SHARE",
        help="keep perturbations, and cells of them, with less than this share of the target's expression in controls; "
        "a second number is for the cells",
    )


def _add_work(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--workers", type=int, default=1, metavar="N", help="processes, at most one a file (default: %(default)s)")
    add("--codec", choices=["zstd", "none"], default="zstd", help="how cells are packed (default: %(default)s)")
    add(
        "--scanned", nargs="+", type=Path, default=(), metavar="SCAN", help="choose genes by these --scan-only folders"
    )
    add("--overwrite", action="store_true", help="replace the store at --out")


def _run(argv: Sequence[str] | None) -> None:
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    if options.info or options.verify:
        _look_at(options)
        return
    if options.out is None:
        raise InputError("expected --out, the folder to make, found none")
    start = time.perf_counter()
    with _Bar() as bar:
        if options.merge:
            lines = _merge(options, bar)
        elif options.scan_only:
            lines = _scan(options, bar)
        else:
            lines = _prepare(options, bar)
    print("\n".join(lines))
    print(f"time      {time.perf_counter() - start:.1f} s")


def _look_at(options: argparse.Namespace) -> None:
    # Late, so that --help answers at once.
    from bionemo.scale.data.prepare.inspection import describe_store, verify_store

    if options.inputs:
        raise InputError(f"expected one store, found {options.inputs[0]} besides it")
    if options.info:
        print("\n".join(_info_lines(describe_store(options.info))))
        return
    with _Bar() as bar:
        num_cells = verify_store(options.verify, bar)
    print(f"{options.verify}: whole, {num_cells} cells as they were written")


def _merge(options: argparse.Namespace, bar: "_Bar") -> list[str]:
    from bionemo.scale.data.prepare.merge import merge_stores

    done = merge_stores(options.inputs, options.out, split=options.split, overwrite=options.overwrite, progress=bar)
    return [
        f"store     {done.out}, of {done.num_inputs} inputs in {len(options.inputs)} stores",
        f"cells     {done.num_cells}",
        f"groups    {done.num_groups} of (dataset, cell type, perturbation, batch)",
        f"genes     {done.num_genes}",
        f"controls  {done.num_fallback_groups} groups matched by cell type, the others by batch",
        f"split     {done.split_sha256 or 'none, all cells are for training'}",
    ]


def _scan(options: argparse.Namespace, bar: "_Bar") -> list[str]:
    from bionemo.scale.data.prepare.preprocess import scan_only

    config, warnings = _config(options)
    scans = scan_only(config, bar)
    _warn(warnings)
    return [f"scanned   {scan.name}: {scan.num_cells} cells, {len(scan.genes)} genes, {scan.kind}" for scan in scans]


def _prepare(options: argparse.Namespace, bar: "_Bar") -> list[str]:
    from bionemo.scale.data.prepare.preprocess import prepare

    config, warnings = _config(options)
    summary = prepare(config, bar)
    _warn((*warnings, *summary.warnings))
    return _summary_lines(summary)


def _config(options: argparse.Namespace) -> "tuple[PrepareConfig, tuple[str, ...]]":
    from bionemo.scale.data.labels.state_experiment import read_state
    from bionemo.scale.data.prepare.knockdown import Knockdown
    from bionemo.scale.data.prepare.preprocess import PrepareConfig

    inputs, datasets, split, warnings = tuple(options.inputs), tuple(options.dataset or ()), options.split, ()
    keys, control = ObsKeys(), "control"
    if options.from_state:
        if inputs or datasets or split:
            raise InputError(f"{options.from_state}: says files, data sets and split; give neither of them besides it")
        found = read_state(options.from_state)
        inputs, datasets, split, warnings = found.inputs, found.datasets, found.spec, found.warnings
        keys, control = _STATE_KEYS, _STATE_CONTROL
    if not inputs:
        raise InputError("expected files to convert, found none")
    if options.knockdown and len(options.knockdown) > 2:
        raise InputError(f"--knockdown: expected one share or two, found {len(options.knockdown)}")
    config = PrepareConfig(
        inputs=inputs,
        out=options.out,
        keys=ObsKeys(
            perturbation=options.perturbation_key or keys.perturbation,
            cell_type=options.cell_type_key or keys.cell_type,
            batch=options.batch_key or keys.batch,
        ),
        controls=tuple(options.control or [control]),
        datasets=datasets,
        split=split,
        allow_unknown_names=bool(options.from_state),
        num_hvg=options.hvg,
        target_sum=options.target_sum,
        values=options.values,
        library_size_key=options.library_size_key,
        matrix=options.matrix,
        gene_key=options.gene_key,
        join=options.join,
        knockdown=Knockdown(group=options.knockdown[0], cell=options.knockdown[-1]) if options.knockdown else None,
        codec=options.codec,
        scanned=tuple(options.scanned),
        workers=options.workers,
        overwrite=options.overwrite,
    )
    return config, warnings


class _Bar:
    """Progress of each pass: a bar on a terminal, a line with rate and time left every few seconds elsewhere."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._tqdm = tqdm
        self._stage = ""
        self._bar: tqdm | None = None
        self._is_terminal = sys.stderr.isatty()
        self._done = self._skipped = 0
        self._reported = self._started = time.monotonic()

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, stage: str, count: int, total: int) -> None:
        """Count cells (or bytes) of a stage; the first call of one may be for work of an earlier run."""
        if stage != self._stage:
            self.__exit__()
            self._stage, self._done, self._skipped = stage, 0, count
            self._started = time.monotonic()
            unit = "B" if stage == "checksums" else "cell"
            options = dict(total=total or None, desc=stage, unit=unit, unit_scale=True)
            self._bar = self._tqdm(**options) if self._is_terminal else None
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._reported > _SECONDS_BETWEEN_LINES:
            self._reported = time.monotonic()
            self._print_line(total)

    def _print_line(self, total: int) -> None:
        rate = (self._done - self._skipped) / max(time.monotonic() - self._started, 1e-3)
        left = f", {(total - self._done) / rate:.0f} s left" if rate and total else ""
        of_total = f" of {total}" if total else ""
        print(f"{self._stage}: {self._done}{of_total}, {rate:.0f}/s{left}", file=sys.stderr, flush=True)


def _warn(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)


def _summary_lines(summary: "PrepareSummary") -> list[str]:
    cells = ", ".join(f"{name} {count}" for name, count in summary.cells_by_split.items())
    filtered = f" ({summary.num_filtered} without knockdown)" if summary.num_filtered else ""
    lines = [
        f"store     {summary.out}",
        f"cells     {summary.num_cells}: {cells}{filtered}",
        f"groups    {summary.num_groups} of (dataset, cell type, perturbation, batch)",
        f"genes     {summary.num_genes} of {summary.num_genes_found}, values from {summary.kind}",
        f"controls  {summary.num_fallback_groups} groups matched by cell type, the others by batch",
        f"split     {summary.split_sha256 or 'none, all cells are for training'}",
        f"size      {summary.num_bytes / 2**20:.1f} MiB",
    ]
    if len(set(summary.genes_by_input.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in summary.genes_by_input.items())
        lines.insert(4, f"          {summary.num_genes_found} found by name; the files have {found}")
    return lines


def _info_lines(info: "StoreInfo") -> list[str]:
    splits = ", ".join(
        f"{name} {count} in {info.num_conditions[name]} conditions" for name, count in info.cells_by_split.items()
    )
    scale = info.scale
    library = f"obs {scale.library_size_key!r}" if scale.library_size_key else "the sum of a cell's counts"
    values = f"counts of library size {library}" if scale.source == "counts" else "log1p values"
    return [
        f"store     {info.path}",
        f"cells     {info.num_cells}: control {info.num_control_cells}, {splits}",
        f"groups    {info.num_groups} of (dataset, cell type, perturbation, batch)",
        f"labels    {len(info.datasets)} data sets, {info.num_cell_types} cell types, {info.num_perturbations} "
        f"perturbations and {info.control!r}, {info.num_batches} batches",
        f"datasets  {', '.join(info.datasets)}",
        f"genes     {info.num_genes}",
        f"scale     log1p, target sum {scale.target_sum:g}, from {values}",
        f"controls  {info.num_fallback_groups} groups without controls of their batch",
        f"split     {info.split_sha256 or 'none, all cells are for training'}",
        f"size      {info.num_bytes / 2**20:.1f} MiB, codec {info.codec}, values {info.value_dtype}",
        f"made      of {info.num_inputs} inputs with "
        + ", ".join(f"{name} {version}" for name, version in info.versions.items()),
    ]


if __name__ == "__main__":
    sys.exit(main())
