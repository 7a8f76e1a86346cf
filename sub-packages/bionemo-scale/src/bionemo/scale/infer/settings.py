# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a user asks of a prediction; everything else follows from the checkpoint and the cells."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bionemo.scale.files.url import PathOrUrl
from bionemo.scale.options.fields import option
from bionemo.scale.options.limits import COUNT, LIBRARY_SIZE, SEED, SHARE
from bionemo.scale.options.settings import Settings
from bionemo.scale.types import InputError, ValueKind


Generation = Literal["decode", "displace", "contrast"]
SplitName = Literal["train", "val", "test"]
Output = Literal["cells", "counts", "pseudobulk"]
Precision = Literal["fp32", "bf16", "fp8", "mxfp8"]
SpecName = Literal["auto", "local", "te"]

_ADATA = "the file of --adata"
_HOW = "how it predicts"


@dataclass(frozen=True, kw_only=True)
class GivenScale(Settings):
    """The scale of control cells, where neither their values nor the model's data card show it."""

    values: ValueKind | None = option(None, group=_ADATA)
    """Kind of values in --adata, if it is not recognised."""
    target_sum: float | None = option(None, limits=LIBRARY_SIZE, metavar="SUM", group=_ADATA)
    """Library size that log1p values of --adata were scaled to, if it is not recognised; it must be the model's."""
    library_size_key: str | None = option(None, metavar="COLUMN", group=_ADATA)
    """obs column of --adata with library sizes (default: the one the model was trained with, or the sum of counts)."""
    sum_as_library_size: bool = option(False, group=_ADATA)
    """Use the sums of counts in --adata as library sizes, although the model was trained with a column of them."""

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            InputError: Naming the options.
        """
        if self.library_size_key is not None and self.sum_as_library_size:
            raise InputError("expected one of --library-size-key and --sum-as-library-size, found both")


@dataclass(frozen=True, kw_only=True)
class InferSettings(GivenScale):
    """One prediction: the held-out groups of a store, or control cells under chosen perturbations."""

    checkpoint: Path
    """Run folder, one of its checkpoints, or a folder of bionemo-scale-export."""
    out: Path
    """h5ad file to write, or a folder if a split is predicted."""
    store: Path | None = None
    """Store whose split is predicted, or whose controls are used for --perturbations."""
    adata: PathOrUrl | None = None
    """h5ad with control cells to predict from."""
    matrix: str | None = option(None, group=_ADATA)
    """Expression of the h5ad: X, layers/NAME, raw/X or obsm/NAME (default: as the training data was prepared)."""
    gene_key: str | None = option(None, group=_ADATA)
    """var column of the h5ad with gene names, or the name of its index (default: as the training data was
    prepared)."""
    measured: Path | None = None
    """h5ad to write with the measured cells of what is predicted, and their controls, if --adata has them.
    bionemo-scale-evaluate compares it with the predictions."""
    split: SplitName = "test"
    """Part of the store's split to predict."""
    perturbations: tuple[str, ...] = option((), form="labels")
    """Perturbations to predict from the controls."""
    perturbation_features: Path | None = None
    """File with one vector per perturbation, for perturbations that the model was not trained on (.csv, .tsv or
    .parquet; names in the first column)."""
    allow_unknown: bool = False
    """Predict under the unknown label where cell types, batches or covariates were not trained, instead of refusing
    them."""
    all_perturbations: bool = False
    """Predict every perturbation that the model knows. With --adata this is the default."""
    cell_types: tuple[str, ...] = option((), form="labels", metavar="X,Y")
    """Only the controls of these cell types (default: all)."""
    covariate: dict[str, str] = option({}, metavar="COLUMN=VALUE")
    """Predict under this value of a covariate, such as time=24h, rather than under that of each control cell."""
    cells_per_condition: int | None = option(None, limits=COUNT, metavar="N")
    """Cells to predict of each perturbation in each (cell type, covariates, batch). Each begins as a control cell; if
    there are fewer controls, some are drawn again with other counts (not for a pseudobulk). By default all controls of
    a file are used, and at most 256 of a store."""
    output: Output = "cells"
    """Write predicted cells as log1p expression (cells) or counts, or the mean of each condition (pseudobulk)."""
    library_size: float | None = option(None, limits=LIBRARY_SIZE, metavar="N")
    """Library size of every cell of --output counts (default: that of the control cell it was predicted from)."""
    with_controls: bool = False
    """Add the real controls of the predicted cell types to the output; only for a split."""
    generation: Generation | None = option(None, group=_HOW)
    """How cells are generated (default: the setting stored in the checkpoint)."""
    network_weight: float | None = option(None, limits=SHARE, group=_HOW)
    """Weight of the network's means against those of the classical estimate; 0 predicts the estimate's means, 1 the
    network's (default: the weight that training measured)."""
    additive_share: float | None = option(None, limits=SHARE, group=_HOW)
    """Combine the network's means with the perturbation's mean effect in training, instead of the classical estimate;
    0 is the network alone, 1 the mean effect alone (default: only for runs without a measured weight, the setting
    stored in the checkpoint)."""
    num_steps: int | None = option(None, limits=COUNT, group=_HOW)
    """Solver steps (default: the setting stored in the checkpoint)."""
    samples: int | None = option(None, limits=COUNT, group=_HOW)
    """Draws of a stochastic prior that are averaged for each cell (default: the setting stored in the checkpoint,
    normally 1)."""
    set_size: int | None = option(None, limits=COUNT, group=_HOW)
    """Cells that the network processes together (default: as in training)."""
    overwrite: bool = False
    """Replace existing predictions; inputs are never replaced."""
    precision: Precision = option("fp32", group=_HOW)
    """Precision of matrix products; fp8 and mxfp8 need a GPU that has it, and use bfloat16 outside of the blocks."""
    spec: SpecName = option("auto", group=_HOW)
    """Layers of the blocks: local (torch), te (Transformer Engine), or auto (te if it can run)."""
    seed: int = option(0, limits=SEED, group=_HOW)
    """Seed of random choices: controls, a stochastic prior, counts."""

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            InputError: Naming the options.
        """
        super().check()
        if (self.store is None) == (self.adata is None):
            raise InputError(
                "expected one of --store and --adata, found " + ("none" if self.store is None else "both")
            )
        if self.adata is None and (self.matrix or self.gene_key):
            raise InputError("--matrix and --gene-key go with --adata: a store holds one matrix")
        if self.perturbations and self.all_perturbations:
            raise InputError("expected one of --perturbations and --all-perturbations, found both")
        self._check_screen()
        for each in dataclasses.fields(GivenScale):
            if getattr(self, each.name) and self.adata is None:
                raise InputError(f"--{each.name.replace('_', '-')} goes with --adata: a store knows its scale")
        if self.with_controls and (self.is_screen or self.output == "pseudobulk"):
            raise InputError("--with-controls goes with --store, --split and whole cells: other controls are yours")
        self._check_measured()
        if self.library_size is not None and self.output != "counts":
            raise InputError("--library-size goes with --output counts; --library-size-key names a column of --adata")
        if self.out.suffix != ".h5ad" and self.is_screen:
            raise InputError(f"--out must be an .h5ad file where no split is predicted, found {self.out}")

    def _check_measured(self) -> None:
        path = self.measured
        if path is None:
            return
        if self.adata is None or self.output != "cells":
            raise InputError("--measured goes with --adata and whole cells: a split's cells are written beside it")
        if path.suffix != ".h5ad" or path == self.out:
            raise InputError(f"--measured must be an .h5ad file other than --out, found {path}")

    def _check_screen(self) -> None:
        for name, reason in (("cell_types", "a split is whole"), ("covariate", "a split has its own")):
            if getattr(self, name) and not self.is_screen:
                raise InputError(
                    f"--{name.replace('_', '-')} goes with --perturbations, --all-perturbations or --adata: {reason}"
                )

    @property
    def chosen(self) -> dict[str, Any]:
        """Options that are not at their defaults, without paths: what a page needs beside them to say how to rerun."""
        values = {each.name: (getattr(self, each.name), each.default) for each in dataclasses.fields(self)}
        return {
            name: value
            for name, (value, default) in values.items()
            if value not in (default, None, (), {}) and not isinstance(value, Path) and name != "overwrite"
        }

    @property
    def is_screen(self) -> bool:
        """Whether controls are carried to chosen perturbations, rather than a split predicted."""
        return self.adata is not None or bool(self.perturbations) or self.all_perturbations

    @property
    def pred_path(self) -> Path:
        """File of predictions."""
        return self.out if self.out.suffix == ".h5ad" else self.out / "adata_pred.h5ad"

    @property
    def real_path(self) -> Path | None:
        """File of the measured cells of a split, beside the predictions."""
        name = "adata_real_counts.h5ad" if self.output == "counts" else "adata_real.h5ad"
        return None if self.is_screen else self.pred_path.with_name(name)
