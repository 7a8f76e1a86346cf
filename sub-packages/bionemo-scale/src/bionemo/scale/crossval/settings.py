# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a user decides about a cross-validation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bionemo.scale.data.folds.folds import Rule
from bionemo.scale.files.url import PathOrUrl
from bionemo.scale.model.size.sizes import SIZES
from bionemo.scale.options.fields import option
from bionemo.scale.options.limits import COUNT, SEED, Limits
from bionemo.scale.options.settings import Settings
from bionemo.scale.types import InputError


_PLACE = "where it runs"


@dataclass(frozen=True, kw_only=True)
class CrossvalSettings(Settings):
    """One cross-validation."""

    inputs: tuple[PathOrUrl, ...] = option((), form="positional", metavar="INPUT")
    """h5ad files of the screen, which are prepared once for all folds (or give --store)."""
    store: Path | None = None
    """Store that bionemo-scale-prepare wrote; its own split is not used."""
    out: Path
    """Folder for the results, with a folder for each fold. The same command continues, and keeps finished folds."""
    leave_out: Rule
    """What is left out in turn: each cell-type, each batch (donor, patient, replicate, plate) in all its cell types,
    each batch of each cell type (cell-type-and-batch), each perturbation of each cell type (condition), or each
    perturbation in all cell types."""
    folds: int | None = option(None, limits=Limits(at_least=2), metavar="K")
    """Divide what is left out into K folds at random, instead of leaving out each alone."""
    only: tuple[str, ...] = option((), form="labels", metavar="A,B")
    """Leave out only these; the others are always training data (default: all)."""
    fold_seed: int = option(0, limits=SEED)
    """Seed of the random division into folds."""
    fold_file: Path | None = option(None, metavar="FOLDS.toml")
    """File that names the folds and what each leaves out, with lines like "first half" = ["IRF1", "JAK2"]; a condition
    is written "cell type / perturbation"."""
    no_network: bool = False
    """Score the classical methods alone, without training a network."""
    network_alone: bool = False
    """Score the network's own means too (--network-weight 1), beside the means that combine it with the classical
    estimate."""
    baselines: tuple[str, ...] | None = option(None, form="labels", metavar="NAME,NAME")
    """Classical methods to score (default: all; docs/evaluation.md defines them)."""
    perturbation_features: Path | None = None
    """File with one vector per perturbation, for the network and the classical methods that use them (.csv, .tsv or
    .parquet; names in the first column)."""
    size: str | None = option(None, choices=SIZES)
    """Size of the network; each size has its own defaults (default: small, or the network of --from-checkpoint)."""
    on: Literal["local", "slurm"] = option("local", group=_PLACE)
    """Run on this machine, or as a job array of a Slurm cluster with one task for each fold."""
    workers: int = option(1, limits=COUNT, group=_PLACE)
    """Folds that run at the same time on this machine."""
    fold: int | None = option(None, limits=COUNT, metavar="I", group=_PLACE)
    """Run only this fold, counted from 1. Without the option, the same command runs the others and pools the
    scores."""
    site: Path | None = option(None, metavar="SITE.yaml", group=_PLACE)
    """Settings of the Slurm cluster, as for recipes/launch.py."""
    dryrun: bool = option(False, group=_PLACE)
    """Print the folds, and on Slurm the batch scripts; train, score and submit nothing."""

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            InputError: Naming the options.
        """
        if bool(self.inputs) == (self.store is not None):
            raise InputError(f"expected h5ad files or --store, found {'none' if self.store is None else 'both'}")
        if self.no_network and self.network_alone:
            raise InputError("expected one of --no-network and --network-alone, found both")
        if self.no_network and self.size is not None:
            raise InputError(f"--size {self.size} goes with a network, found --no-network")
        if (self.on == "slurm") != (self.site is not None):
            raise InputError("--on slurm and --site SITE.yaml go together, found one of them")
        if self.fold_file is not None and (self.folds is not None or self.only):
            raise InputError("--fold-file names the folds: expected no --folds and no --only beside it")
        if self.fold is not None and (self.on == "slurm" or self.workers > 1):
            raise InputError("--fold runs one fold here: expected no --workers and no --on slurm beside it")
