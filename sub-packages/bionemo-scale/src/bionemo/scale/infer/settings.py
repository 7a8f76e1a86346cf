# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a user asks of a prediction; everything else follows from the checkpoint and the cells."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bionemo.scale.options.fields import option
from bionemo.scale.options.limits import COUNT, LIBRARY_SIZE, SEED, SHARE
from bionemo.scale.options.settings import Settings
from bionemo.scale.types import InputError, ValueKind


Generation = Literal["decode", "displace", "contrast"]
SplitName = Literal["train", "val", "test"]
Output = Literal["cells", "counts", "pseudobulk"]
Precision = Literal["fp32", "bf16", "fp8", "mxfp8"]
SpecName = Literal["auto", "local", "te"]


@dataclass(frozen=True, kw_only=True)
class GivenScale(Settings):
    """What the user says of the values of control cells, beyond what they show and the model's data card knows."""

    values: ValueKind | None = None
    """What the values of --adata are, if this cannot be seen from them."""
    target_sum: float | None = option(None, limits=LIBRARY_SIZE, metavar="SUM")
    """Library size that log1p values of --adata were scaled to, where they do not show it; it must be the model's."""
    library_size_key: str | None = option(None, metavar="COLUMN")
    """obs column of --adata with library sizes (default: the one the model was trained with, or the sum of counts)."""
    sum_as_library_size: bool = False
    """Take the sums of counts in --adata for library sizes although the model was trained with a column of them."""

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
    """h5ad to write; for a split a folder may be given."""
    store: Path | None = None
    """Store whose split is predicted, or whose controls are the start of chosen perturbations."""
    adata: Path | None = None
    """h5ad with the control cells from which the perturbations are predicted."""
    matrix: str | None = None
    """Expression of the h5ad: X, layers/NAME, raw/X or obsm/NAME (default: as the training data was prepared)."""
    gene_key: str | None = None
    """var column of the h5ad with gene names, or the name of its index (default: as the training data was
    prepared)."""
    split: SplitName = "test"
    """Split of the store that is predicted."""
    perturbations: tuple[str, ...] = option((), form="labels")
    """Perturbations to predict from the controls."""
    perturbation_features: Path | None = None
    """One vector per perturbation, for those the model was not trained on: .csv, .tsv or .parquet, names first."""
    allow_unknown: bool = False
    """Predict cell types and batches that were not trained, under the unknown label, instead of refusing them."""
    all_perturbations: bool = False
    """Predict every perturbation that the model knows. With --adata this is the default."""
    cell_types: tuple[str, ...] = option((), form="labels", metavar="X,Y")
    """Only the controls of these cell types (default: all)."""
    cells_per_condition: int | None = option(None, limits=COUNT, metavar="N")
    """Most control cells of a (cell type, batch) that are carried to each perturbation (default: 256 of a store, all
    of a file)."""
    output: Output = "cells"
    """Write every predicted cell as log1p expression or as counts, or the mean of each condition."""
    library_size: float | None = option(None, limits=LIBRARY_SIZE, metavar="N")
    """Library size of every cell that --output counts writes (default: that of the control cell it began as)."""
    with_controls: bool = False
    """Append the real controls of the predicted contexts; splits only."""
    generation: Generation | None = None
    """How cells are made of the network's output (default: the setting stored in the checkpoint)."""
    network_weight: float | None = option(None, limits=SHARE)
    """Weight of the network's mean against the run's classical estimate; 0 predicts the estimate's means, 1 the
    network's (default: what training measured)."""
    additive_share: float | None = option(None, limits=SHARE)
    """Weight of the perturbation's mean effect in training: 0 is the network alone, 1 the mean effect alone (default:
    the setting stored in the checkpoint)."""
    num_steps: int | None = option(None, limits=COUNT)
    """Solver steps (default: the setting stored in the checkpoint)."""
    samples: int | None = option(None, limits=COUNT)
    """Draws of a stochastic prior to average each cell over (default: the setting stored in the checkpoint, 1 unless
    it was changed)."""
    set_size: int | None = option(None, limits=COUNT)
    """Cells of a set (default: as in training)."""
    overwrite: bool = False
    """Replace predictions that are there; inputs are never replaced."""
    precision: Precision = "fp32"
    """Precision of matrix products; fp8 and mxfp8 are for the blocks, on GPUs that have it, and bfloat16 elsewhere."""
    spec: SpecName = "auto"
    """Layers of the blocks: local (torch), te (Transformer Engine), auto (te where it runs)."""
    seed: int = option(0, limits=SEED)
    """Seed of the draw of controls and of a stochastic prior."""

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
        if self.cell_types and not self.is_screen:
            raise InputError(
                "--cell-types goes with --perturbations, --all-perturbations or --adata: a split is whole"
            )
        for each in dataclasses.fields(GivenScale):
            if getattr(self, each.name) and self.adata is None:
                raise InputError(f"--{each.name.replace('_', '-')} goes with --adata: a store knows its scale")
        if self.with_controls and (self.is_screen or self.output == "pseudobulk"):
            raise InputError("--with-controls goes with --store, --split and whole cells: other controls are yours")
        if self.library_size is not None and self.output != "counts":
            raise InputError("--library-size goes with --output counts; --library-size-key names a column of --adata")
        if self.out.suffix != ".h5ad" and self.is_screen:
            raise InputError(f"--out must be an .h5ad file where no split is predicted, found {self.out}")

    @property
    def chosen(self) -> dict[str, Any]:
        """Options that are not at their defaults, without paths: what a page needs beside them to say how to rerun."""
        values = {each.name: (getattr(self, each.name), each.default) for each in dataclasses.fields(self)}
        return {
            name: value
            for name, (value, default) in values.items()
            if value not in (default, None, ()) and not isinstance(value, Path) and name != "overwrite"
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
