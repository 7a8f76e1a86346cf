# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a submission is made of."""

from dataclasses import dataclass
from pathlib import Path

from bionemo.scale.files.url import PathOrUrl
from bionemo.scale.options.fields import option
from bionemo.scale.options.limits import COUNT, SEED
from bionemo.scale.options.settings import Settings
from bionemo.scale.types import FileLabels, InputError, ObsKeys


_PANEL = "what the challenge asks for"
_RULES = "limits of the challenge (defaults: those of vcc-cli 0.3.0)"
_OWN = "labels of files that this package did not write"


@dataclass(frozen=True, kw_only=True)
class SubmitSettings(Settings):
    """Predicted counts, the panel that they answer, and the file to submit."""

    inputs: tuple[PathOrUrl, ...] = option(form="positional", metavar="PREDICTED.h5ad")
    """Predictions of bionemo-scale-infer --output counts, or of another tool: whole counts in X. One file with all
    contexts, or several."""
    out: Path = option(metavar="SUBMISSION.h5ad")
    """File to write: counts of all contexts, without controls."""
    genes: Path = option(metavar="gene_names.csv", group=_PANEL)
    """CSV with one gene a line, in the order asked for; a header such as gene_name may be there."""
    perturbations: Path = option(metavar="pert_counts.csv", group=_PANEL)
    """CSV with a column target_gene, the perturbations of every context. A column context lists them for each, a
    column n_cells says how many cells."""
    contexts: tuple[str, ...] = option((), form="labels", metavar="A,B,C", group=_PANEL)
    """Contexts, which are the cell types of the predictions (default: those of manifest.json beside
    --perturbations)."""
    cells_per_condition: int = option(400, limits=COUNT, metavar="N", group=_RULES)
    """Cells of each (context, perturbation). Where there are more, N of them are drawn."""
    max_counts: int = option(1_000_000, limits=COUNT, metavar="N", group=_RULES)
    """Most counts of a cell."""
    max_cells: int = option(400_000, limits=COUNT, metavar="N", group=_RULES)
    """Most cells of a submission."""
    max_values: int = option(4_750_000_000, limits=COUNT, metavar="N", group=_RULES)
    """Most counts above 0 of a submission, over all cells and genes."""
    seed: int = option(0, limits=SEED)
    """Seed of the draw of cells."""
    overwrite: bool = False
    """Replace the file at --out."""
    keys: ObsKeys | None = option(None, group=_OWN)
    """The obs columns that label a cell."""
    control: str | None = option(None, metavar="LABEL", group=_OWN)
    """Perturbation label of control cells (default: control)."""

    @property
    def labels(self) -> FileLabels | None:
        """How files without a data card label their cells; ``None`` where no option was given."""
        if self.keys is None and self.control is None:
            return None
        return FileLabels(keys=self.keys or ObsKeys(), control=self.control or FileLabels().control)

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            InputError: Naming the options.
        """
        if not self.inputs:
            raise InputError("expected files of predicted counts, found none")
        if len({path.resolve() for path in self.inputs}) < len(self.inputs):
            raise InputError("expected each file of predictions once, found one again")
        if self.out.suffix != ".h5ad":
            raise InputError(f"--out must end with .h5ad, found {self.out}")
