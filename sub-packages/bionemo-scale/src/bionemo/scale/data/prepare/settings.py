# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a user decides about a conversion."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bionemo.scale.data.labels.split import SplitSpec
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.files.url import PathOrUrl
from bionemo.scale.options.fields import option
from bionemo.scale.options.limits import COUNT, LIBRARY_SIZE, NOT_NEGATIVE, Limits
from bionemo.scale.options.settings import Settings
from bionemo.scale.types import Codec, ExpressionScale, InputError, ObsKeys, ValueKind


_LABELS, _VALUES, _WORK = "labels", "values and genes", "work"
_SHARE = Limits(above=0)
BUCKET_ENTRIES = 1 << 24
"""Default of ``bucket_entries``."""


@dataclass(frozen=True, kw_only=True)
class Knockdown:
    """Limits on the residual expression of the targeted gene, relative to the controls of the cell type."""

    group: float
    """Cells of a (cell type, perturbation) are kept if their mean is below it."""
    cell: float | None = None
    """And of those the cells that are below it; ``None`` is the same as ``group``."""

    def __post_init__(self) -> None:
        cell = self.group if self.cell is None else self.cell
        object.__setattr__(self, "cell", cell)
        for share in (self.group, cell):
            if share not in _SHARE:
                raise InputError(f"--knockdown must be {_SHARE}, found {share}")


@dataclass(frozen=True, kw_only=True)
class LabelSettings(Settings):
    """Files, how their cells are labelled, and what is made of them."""

    inputs: tuple[PathOrUrl, ...] = option(form="positional", metavar="INPUT")
    """h5ad files, or folders of zarr stores of AnnData, here or at URLs; with --merge, stores."""
    out: Path = option(metavar="STORE")
    """Folder to write."""
    keys: ObsKeys = option(ObsKeys(), group=_LABELS)
    """The obs columns that label a cell."""
    controls: tuple[str, ...] = option(("control",), flag="--control", metavar="LABEL", group=_LABELS)
    """Perturbation label of control cells. For several, repeat it or give @FILE with one per line; all get the name of
    the first."""
    datasets: tuple[str, ...] = option((), flag="--dataset", metavar="NAME", group=_LABELS)
    """Name of the data set, once for all files or once for each in order (default: file names without ending)."""
    combination_separator: str = option("", metavar="TEXT", group=_LABELS)
    """Text between the agents of a perturbation, such as "+" in "A+B". Their order makes no difference, and a control
    among them is dropped."""
    dose_separator: str = option("", metavar="TEXT", group=_LABELS)
    """Text before the dose of an agent, such as "@" in "A@0.5" or "A@500nM"."""
    whole_agents: tuple[str, ...] = option((), metavar="NAME", group=_LABELS)
    """Agents whose names contain a separator, such as "Na+/K+ inhibitor"; repeat it, or give @FILE with one per
    line."""

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            InputError: Naming the options.
        """
        if not self.inputs:
            raise InputError("expected files to convert, found none")
        if len(self.datasets) not in (0, 1, len(self.inputs)):
            raise InputError(
                f"expected one dataset name for each of {len(self.inputs)} files, or one for all, found "
                f"{', '.join(self.datasets)}"
            )
        for path in self.inputs:
            if self.inputs.count(path) > 1:
                raise InputError(f"{path}: the file is given twice")
        if not self.controls:
            raise InputError("--control: expected the label of control cells, found none")

    @property
    def grammar(self) -> Grammar:
        """How perturbations are read."""
        return Grammar(
            combination=self.combination_separator,
            dose=self.dose_separator,
            whole=self.whole_agents,
            controls=self.controls,
        )

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """Name of the data set of each input."""
        if len(self.datasets) == 1:
            return self.datasets * len(self.inputs)
        return self.datasets or tuple(path.stem for path in self.inputs)


@dataclass(frozen=True, kw_only=True)
class PrepareSettings(LabelSettings):
    """What to make a store of, and how."""

    split: Path | SplitSpec | None = option(None, metavar="SPLIT.toml", group=_LABELS)
    """Split file that names the held-out conditions; without it all cells are training data."""
    allow_unknown_names: bool = option(False, form="hidden")
    """Report names of the split that the files do not have instead of refusing them."""
    num_hvg: int = option(2000, flag="--hvg", limits=NOT_NEGATIVE, group=_VALUES)
    """Highly variable genes to keep; 0 keeps all."""
    hvg_factor: float = option(1.0, limits=Limits(above=0, at_most=20), metavar="FACTOR", group=_VALUES)
    """Choose highly variable genes from log1p values times this factor; stored values stay as they are."""
    target_sum: float | None = option(None, limits=LIBRARY_SIZE, metavar="SUM", group=_VALUES)
    """Library size that counts are scaled to (default: 10000). For log1p values from which it cannot be recognised,
    the library size that they were scaled to."""
    values: ValueKind | None = option(None, group=_VALUES)
    """Say what the values are if the command does not recognise them: counts (also fractional ones) or log1p."""
    library_size_key: str | None = option(None, metavar="COLUMN", group=_VALUES)
    """obs column with library sizes (default: the sum of a cell's counts)."""
    matrix: str = option("X", metavar="WHERE", group=_VALUES)
    """Expression to read: X, layers/NAME, raw/X or obsm/NAME."""
    gene_key: str | None = option(None, metavar="COLUMN", group=_VALUES)
    """var column with gene names (default: the var index)."""
    join: Literal["inner", "outer"] = option("inner", group=_VALUES)
    """Keep genes that all files have (inner) or that any has (outer). A gene that a file lacks is 0 in its cells."""
    least_shared_genes: float = option(0.1, limits=Limits(at_least=0, at_most=1), metavar="SHARE", group=_VALUES)
    """Share of the smaller file's genes that files must have in common by name; 0 accepts any."""
    knockdown: Knockdown | None = option(None, form="words", metavar="SHARE", group=_VALUES)
    """For CRISPRi, keep only perturbations in which the target's expression is below this share of its mean in
    controls, and only such cells of them. A second number is the share for single cells."""
    codec: Codec = option("zstd", group=_WORK)
    """Compression of the cells in the store."""
    scanned: tuple[Path, ...] = option((), form="words", metavar="SCAN", group=_WORK)
    """Folders that --scan-only wrote, of all files; genes are chosen from all of them."""
    workers: int = option(1, limits=COUNT, group=_WORK)
    """Processes, at most one per file."""
    overwrite: bool = option(False, group=_WORK)
    """Replace the store at --out."""
    bucket_entries: int = option(BUCKET_ENTRIES, form="hidden", limits=COUNT)
    """Stored values that are sorted in memory at once: below 1 GB at the peak of the default."""

    @property
    def library_target(self) -> float:
        """Library size cells are scaled to."""
        return ExpressionScale().target_sum if self.target_sum is None else self.target_sum
