# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""``bionemo-scale-prepare``: h5ad files to a store, and what there is to do with a store's files."""

from bionemo.scale.process import interrupt  # isort: skip  # noqa: F401 - before all others, so that an interrupt finds it

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.options.fields import option, options_of
from bionemo.scale.options.parser import OptionParser, given_fields, make_settings
from bionemo.scale.options.settings import Settings
from bionemo.scale.process.command import next_step, run_command
from bionemo.scale.process.imports import imports
from bionemo.scale.progress import Progress
from bionemo.scale.types import InputError, ObsKeys


if TYPE_CHECKING:
    from bionemo.scale.data.prepare.inspection import StoreInfo
    from bionemo.scale.data.prepare.preprocess import PrepareSummary

_STATE_KEYS = ObsKeys(perturbation="gene", cell_type="cell_type", batch="gem_group")
_STATE_CONTROL = "non-targeting"
_INSTEAD = "instead of a conversion"
_OF_MERGE = ("inputs", "out", "split", "overwrite")
_MODES = ("info", "verify", "merge", "scan_only")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 refused, 130 interrupted."""
    return run_command(_run, argv)


@dataclass(frozen=True, kw_only=True)
class PrepareModes(Settings):
    """What the command does instead of a conversion, or before it."""

    info: Path | None = option(None, metavar="STORE", group=_INSTEAD)
    """Print what is in a store."""
    verify: Path | None = option(None, metavar="STORE", group=_INSTEAD)
    """Check every byte of a store."""
    merge: bool = option(False, group=_INSTEAD)
    """Join stores that were made on several machines."""
    scan_only: bool = option(False, group=_INSTEAD)
    """Only scan the files, and write what --scanned needs to --out."""
    from_state: Path | None = option(None, metavar="CONFIG.toml", group="labels")
    """Take files, data sets and split from an experiment file of STATE; labels default to gene, cell_type, gem_group
    and non-targeting."""

    def check(self) -> None:
        """Refuse two things to do at once.

        Raises:
            InputError: Naming them.
        """
        chosen = [f"--{name.replace('_', '-')}" for name in _MODES if getattr(self, name)]
        if len(chosen) > 1:
            raise InputError(f"expected one of {', '.join(chosen)}, found {len(chosen)}")


def parser() -> OptionParser:
    """Return the command's options."""
    return OptionParser(
        PrepareSettings,
        PrepareModes,
        prog="bionemo-scale-prepare",
        description="Convert h5ad files of perturbation screens to a store, which training and prediction read.",
        epilog="Values must be raw counts, or log1p of counts scaled to one library size; the command recognises "
        "which of the two. To continue a stopped conversion, give the same command again.",
        ways=(
            "INPUT ... --out STORE [OPTIONS]",
            "--from-state CONFIG.toml --out STORE [OPTIONS]",
            "--merge STORE ... --out STORE",
            "--info STORE",
            "--verify STORE",
        ),
    )


def _run(argv: Sequence[str] | None) -> None:
    given = parser().parse_args(argv)
    modes, options = make_settings(PrepareModes, given), given_fields(PrepareSettings, given)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    if modes.info or modes.verify:
        _inspect(modes, options)
        return
    if "out" not in options:
        raise InputError("expected --out, the folder to make, found none")
    start = time.perf_counter()
    with _Passes() as passes:
        if modes.merge:
            lines = _merge(options, passes)
        else:
            settings, warnings = _settings(options, modes.from_state)
            _warn(warnings)
            lines = _scan(settings, passes) if modes.scan_only else _prepare(settings, passes)
    print("\n".join(lines))
    print(f"time      {time.perf_counter() - start:.1f} s")
    if not modes.scan_only:
        print(next_step("train", store=options["out"], out="RUN"))


def _inspect(modes: PrepareModes, options: dict[str, Any]) -> None:
    # Late, so that --help answers at once.
    from bionemo.scale.data.prepare.inspection import describe_store, verify_store

    if options.get("inputs"):
        raise InputError(f"expected one store, found {options['inputs'][0]} besides it")
    if modes.info:
        print("\n".join(_info_lines(describe_store(modes.info))))
        return
    assert modes.verify is not None, "the other way to inspect a store"
    with _Passes() as passes:
        num_cells = verify_store(modes.verify, passes)
    print(f"{modes.verify}: whole, {num_cells} cells as they were written")


def _merge(options: dict[str, Any], passes: "_Passes") -> list[str]:
    from bionemo.scale.data.prepare.merge import merge_stores

    unused = [each.flag for each in options_of(PrepareSettings) if each.name in options and each.name not in _OF_MERGE]
    if unused:
        raise InputError(f"--merge: the stores say the rest; give no {unused[0]}")
    stores, overwrite = options.get("inputs", ()), options.get("overwrite", False)
    done = merge_stores(stores, options["out"], split=options.get("split"), overwrite=overwrite, progress=passes)
    _warn(done.warnings)
    return [
        f"store     {done.out}, of {done.num_inputs} inputs in {len(stores)} stores",
        f"cells     {done.num_cells}",
        f"groups    {done.num_groups} of (dataset, cell type, perturbation, batch)",
        f"genes     {done.num_genes}",
        f"controls  {done.num_fallback_groups} groups matched by cell type, the others by batch"
        + _other_covariates(done.num_other_covariates),
        f"split     {done.split_sha256 or 'none, all cells are for training'}",
    ]


def _other_covariates(number: int) -> str:
    return f"; {number} groups have no controls of their covariates" if number else ""


def _scan(settings: PrepareSettings, passes: "_Passes") -> list[str]:
    from bionemo.scale.data.prepare.preprocess import scan_only

    scans = scan_only(settings, passes)
    return [f"scanned   {scan.name}: {scan.num_cells} cells, {len(scan.genes)} genes, {scan.kind}" for scan in scans]


def _prepare(settings: PrepareSettings, passes: "_Passes") -> list[str]:
    with imports():
        from bionemo.scale.data.prepare.preprocess import prepare

    summary = prepare(settings, passes)
    _warn(summary.warnings)
    return _summary_lines(summary)


def _settings(options: dict[str, Any], experiment: Path | None) -> tuple[PrepareSettings, tuple[str, ...]]:
    from bionemo.scale.data.labels.state_experiment import read_state

    if experiment is None:
        return PrepareSettings.make(**{"inputs": (), **options}), ()
    if {"inputs", "datasets", "split"} & options.keys():
        raise InputError(f"{experiment}: says files, data sets and split; give neither of them besides it")
    state = read_state(experiment)
    settings = PrepareSettings.make(
        inputs=state.inputs,
        datasets=state.datasets,
        split=state.spec,
        allow_unknown_names=True,
        **{"controls": (_STATE_CONTROL,), **options, "keys": {**asdict(_STATE_KEYS), **options.get("keys", {})}},
    )
    return settings, state.warnings


class _Passes(Progress):
    """Progress of the passes over the inputs."""

    def __call__(self, stage: str, count: int, total: int) -> None:
        """Count cells (or bytes) of a stage; the first call of one may be for work of an earlier run."""
        if stage != self._what:
            self.begin(stage, total, unit="bytes" if stage == "checksums" else "cells", done=count)
        else:
            self.add(count)


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
        f"controls  {summary.num_fallback_groups} groups matched by cell type, the others by batch"
        + _other_covariates(summary.num_other_covariates),
        f"split     {summary.split_sha256 or 'none, all cells are for training'}",
        f"size      {summary.num_bytes / 2**20:.1f} MiB",
    ]
    if summary.agents:
        lines.insert(3, f"agents    {summary.agents}")
    if len(set(summary.genes_by_input.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in summary.genes_by_input.items())
        lines.insert(
            4 + bool(summary.agents), f"          {summary.num_genes_found} found by name; the files have {found}"
        )
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
        f"perturbations and {info.control!r}, {info.num_batches} batches"
        + "".join(f", {number} values of {key}" for key, number in info.covariates.items()),
        f"datasets  {', '.join(info.datasets)}",
        f"genes     {info.num_genes}",
        f"scale     log1p, target sum {scale.target_sum:g}, from {values}",
        f"controls  {info.num_fallback_groups} groups without controls of their batch"
        + _other_covariates(info.num_other_covariates),
        f"split     {info.split_sha256 or 'none, all cells are for training'}",
        f"size      {info.num_bytes / 2**20:.1f} MiB, codec {info.codec}, values {info.value_dtype}",
        f"made      of {info.num_inputs} inputs with "
        + ", ".join(f"{name} {version}" for name, version in info.versions.items()),
    ]


if __name__ == "__main__":
    sys.exit(main())
