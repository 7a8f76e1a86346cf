# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a user decides about a split that is made by a rule."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bionemo.scale.data.prepare.settings import LabelSettings
from bionemo.scale.files.url import PathOrUrl
from bionemo.scale.options.fields import option
from bionemo.scale.options.limits import COUNT, SEED, Limits
from bionemo.scale.types import InputError


HoldOut = Literal["random", "similar", "combinations", "cell-types", "distinct-cell-types"]
WHOLE = ("cell-types", "distinct-cell-types")
"""Rules that hold out all perturbations of a cell type."""
_PART = Limits(at_least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class SplitSettings(LabelSettings):
    """What to hold out of which data."""

    inputs: tuple[PathOrUrl, ...] = option(form="positional", metavar="INPUT")
    """h5ad files, folders of zarr stores of AnnData, here or at URLs, or one store of bionemo-scale-prepare (then
    without options for labels)."""
    out: Path = option(metavar="SPLIT.toml")
    """File to write."""
    hold_out: HoldOut = "random"
    """What to hold out: perturbations at random (random), whole clusters of similar ones (similar), pairs of which
    --seen agents are trained (combinations), cell types (cell-types), or the cell types whose controls differ most
    (distinct-cell-types)."""
    share: float = option(0.2, limits=Limits(above=0, below=1))
    """Share of the perturbations, pairs or cell types in the test part."""
    val_share: float = option(0.0, limits=_PART)
    """Share in the validation part."""
    features: Path | None = option(None, metavar="FILE")
    """File of bionemo-scale-features with vectors of perturbations, for --hold-out similar."""
    clusters: int | None = option(None, limits=COUNT)
    """Largest number of clusters of --hold-out similar (default: square root of the number of perturbations)."""
    seen: Literal["0", "1", "2"] = "2"
    """For --hold-out combinations, how many agents of a held-out pair are trained, alone or in other pairs."""
    cell_types: tuple[str, ...] = option((), form="labels", metavar="NAME")
    """Cell types in which perturbations are held out (default: all). With --hold-out cell-types, the cell types of the
    test part (default: drawn at random); those of --val-share are drawn from the others."""
    hold_controls: bool = False
    """Hold out the control cells of held-out cell types too, so that training uses no cell of these types. Predictions
    start from them."""
    exclude: tuple[str, ...] = option((), form="labels", metavar="LABEL")
    """Perturbations that are neither trained on nor scored, such as those without a vector."""
    seed: int = option(0, limits=SEED)
    """Seed of random choices."""
    overwrite: bool = False
    """Replace the file at --out."""

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            InputError: Naming the options.
        """
        super().check()
        if self.out.suffix != ".toml":
            raise InputError(f"--out must end with .toml, found {self.out}")
        if (self.hold_out == "similar") != (self.features is not None):
            raise InputError("--features: goes with --hold-out similar, and that needs it")
        if self.exclude and self.hold_out in WHOLE:
            raise InputError(
                f"--exclude: goes with perturbations that are held out, not with --hold-out {self.hold_out}"
            )
        if self.hold_controls and self.hold_out not in WHOLE:
            raise InputError(f"--hold-controls: goes with --hold-out {' or '.join(WHOLE)}, found {self.hold_out}")
        if self.hold_out == "distinct-cell-types" and self.cell_types:
            raise InputError("--cell-types: --hold-out distinct-cell-types chooses them itself")
        if self.clusters is not None and self.hold_out != "similar":
            raise InputError("--clusters: goes with --hold-out similar")
