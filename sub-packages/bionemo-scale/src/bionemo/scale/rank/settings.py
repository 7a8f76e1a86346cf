# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a user asks of a virtual screen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bionemo.scale.files.url import PathOrUrl
from bionemo.scale.options.fields import option
from bionemo.scale.options.limits import COUNT
from bionemo.scale.options.settings import Settings
from bionemo.scale.types import InputError, ObsKeys


Order = Literal["effect", "reversal", "synergy", "dose", "uncertainty"]

_SIGNATURE = "signature, for --by reversal"
_OWN = "labels of files that this package did not write"


@dataclass(frozen=True, kw_only=True)
class RankSettings(Settings):
    """One question to a screen, and where the answer goes."""

    screen: PathOrUrl = option(form="positional", metavar="SCREEN.h5ad")
    """Predictions: one row per condition (bionemo-scale-infer --output pseudobulk), or cells with their controls."""
    out: Path = option(metavar="RANKS.csv")
    """CSV to write, best first."""
    by: Order | None = None
    """Order by the size of the change (effect), the reversal of a signature (reversal), the change of a combination
    beyond the sum of its agents (synergy), the slope on the logarithm of the dose (dose), or the uncertainty of the
    prediction (uncertainty). The default is effect."""
    next: int | None = option(None, limits=COUNT, metavar="N")
    """Instead, choose N conditions to measure next, which are uncertain and differ from one another."""
    cell_types: tuple[str, ...] = option((), form="labels", metavar="X,Y")
    """Only these cell types (default: all)."""
    top: int = option(10, limits=COUNT, metavar="N")
    """Number of rows to print; the file has all."""
    overwrite: bool = False
    """Replace the file at --out."""
    signature: Path | None = option(None, metavar="FILE", group=_SIGNATURE)
    """CSV or TSV with a header, a column of genes, and a column of log fold changes or of "up" and "down"."""
    up: tuple[str, ...] = option((), form="labels", metavar="GENE,GENE", group=_SIGNATURE)
    """Genes that are up in the signature, instead of --signature."""
    down: tuple[str, ...] = option((), form="labels", metavar="GENE,GENE", group=_SIGNATURE)
    """Genes that are down in the signature."""
    keys: ObsKeys | None = option(None, group=_OWN)
    """The obs columns that label a condition or a cell."""
    control: str | None = option(None, metavar="LABEL", group=_OWN)
    """Perturbation label of control cells (default: control)."""
    combination_separator: str | None = option(None, metavar="TEXT", group=_OWN)
    """Text between the agents of a label, such as + in A+B."""
    dose_separator: str | None = option(None, metavar="TEXT", group=_OWN)
    """Text before the dose of an agent, such as @ in A@0.5."""

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            InputError: Naming the options.
        """
        if self.by is not None and self.next is not None:
            raise InputError("expected one of --by and --next, found both")
        lists = bool(self.up or self.down)
        if self.signature is not None and lists:
            raise InputError("expected one of --signature and --up, --down, found both")
        if self.by == "reversal" and self.signature is None and not lists:
            raise InputError("--by reversal needs the signature to reverse: give --signature FILE, or --up and --down")
        if self.by != "reversal" and (self.signature is not None or lists):
            raise InputError("--signature, --up and --down go with --by reversal")
        if self.out.suffix != ".csv":
            raise InputError(f"--out must end with .csv, found {self.out}")
