# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a user asks of a prediction; everything else follows from the checkpoint and the cells."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from bionemo.scale.types import InputError


Generation = Literal["decode", "displace", "contrast"]
SplitName = Literal["train", "val", "test"]
Output = Literal["cells", "pseudobulk"]
Precision = Literal["fp32", "bf16", "fp8", "mxfp8"]
SpecName = Literal["auto", "local", "te"]
_CHOICES = {"split": SplitName, "output": Output, "precision": Precision, "spec": SpecName}


@dataclass(frozen=True, kw_only=True)
class InferSettings:
    """One prediction: the held-out groups of a store, or control cells under chosen perturbations."""

    checkpoint: Path
    """Run folder, or one of its checkpoints."""
    out: Path
    """h5ad to write; a folder for a split."""
    store: Path | None = None
    """Store whose split is predicted, or whose controls are screened."""
    adata: Path | None = None
    """h5ad whose control cells are carried to the perturbations."""
    split: SplitName = "test"
    """Split of the store; a screen has none."""
    perturbations: tuple[str, ...] = ()
    """Labels to predict."""
    perturbation_features: Path | None = None
    """One vector per perturbation, for those the model was not trained on (.csv, .tsv, .parquet)."""
    allow_unknown: bool = False
    """Whether cell types and batches that were not trained are predicted under the unknown label, or refused."""
    all_perturbations: bool = False
    """Every perturbation the model knows; what a file of controls gets where none is named."""
    cell_types: tuple[str, ...] = ()
    """Only the controls of these cell types; all where none is named."""
    cells_per_condition: int | None = None
    """Most control cells of a (cell type, batch) that are carried to each perturbation; ``None`` takes all of a file
    and 256 of a store."""
    output: Output = "cells"
    """Every predicted cell, or the mean of each condition."""
    with_controls: bool = False
    """Append the real controls of the predicted contexts (splits only)."""
    generation: Generation | None = None
    """How cells are made of the network's output; ``None`` as trained."""
    num_steps: int | None = None
    """Solver steps; ``None`` as trained."""
    samples: int | None = None
    """Draws of a stochastic prior to average each cell over; ``None`` as trained."""
    set_size: int | None = None
    """Cells of a set; ``None`` as trained."""
    precision: Precision = "fp32"
    """Of matrix products; "fp8" and "mxfp8" are those of the blocks, the others then are bfloat16."""
    spec: SpecName = "auto"
    """Layers of the blocks: torch's, Transformer Engine's, or those where they run."""
    seed: int = 0
    """Draw of the controls."""

    def __post_init__(self):
        if (self.store is None) == (self.adata is None):
            raise InputError(
                "expected one of --store and --adata, found " + ("none" if self.store is None else "both")
            )
        if self.perturbations and self.all_perturbations:
            raise InputError("expected one of --perturbations and --all-perturbations, found both")
        if self.cell_types and not self.is_screen:
            raise InputError(
                "--cell-types goes with --perturbations, --all-perturbations or --adata: a split is whole"
            )
        if self.with_controls and (self.is_screen or self.output == "pseudobulk"):
            raise InputError("--with-controls goes with --store, --split and whole cells: other controls are yours")
        if self.out.suffix != ".h5ad" and self.is_screen:
            raise InputError(f"--out must be an .h5ad file where no split is predicted, found {self.out}")
        for name in ("num_steps", "samples", "set_size", "cells_per_condition"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} must be at least 1, found {value}")
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise InputError(f"--{name} must be one of {known}, found {getattr(self, name)!r}")

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
        return None if self.is_screen else self.pred_path.with_name("adata_real.h5ad")
