# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Types that cross folders, and the names of dimensions.

This module is a leaf: it imports nothing of ours, and neither torch nor NeMo at run time. Dimension names used in
shape annotations all over the package:

    B  sets in a micro-batch
    N  cells in a set
    G  genes
    T  gene tokens of one cell
    D  latent width (``hidden_size``)
    C  condition tokens of a set

Expression is log1p of library-size normalised counts everywhere outside the model.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict


if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class InputError(Exception):
    """What a user gave cannot be used; the message is one line that says what, where, expected and found.

    Commands print it and exit with code 2.
    """


Codec = Literal["none", "zstd"]
"""How the cells of a store are packed: ``none`` is read where it lies in the memory map, ``zstd`` takes about a
quarter."""


ValueKind = Literal["counts", "log1p"]
"""What expression values are."""


class Split(StrEnum):
    """The part of the data a group of cells belongs to."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class Group(NamedTuple):
    """The cells that share every label; sets are drawn within one group."""

    dataset: str
    cell_type: str
    perturbation: str
    batch: str


@dataclass(frozen=True, kw_only=True)
class ExpressionScale:
    """How counts became the values a model sees; two files may only be compared when these agree.

    Values are ``log1p(count * target_sum / library_size)``, natural logarithm.
    """

    target_sum: float = 1e4
    """Library size every cell is scaled to."""
    source: ValueKind = "counts"
    """What the input held: raw counts, or values already on this scale."""
    library_size_key: str | None = None
    """obs column that holds the library size; ``None`` sums the counts of the file's genes."""


@dataclass(frozen=True, kw_only=True)
class ObsKeys:
    """The obs columns that label a cell."""

    perturbation: str = "perturbation"
    """obs column with the perturbation."""
    cell_type: str = "cell_type"
    """obs column with the cell type, or several that together are one: patient,cell_type."""
    batch: str = "batch"
    """obs column with the batch, or several."""


@dataclass(frozen=True, kw_only=True)
class FileLabels:
    """How a file without a data card labels its cells, and what its values are."""

    keys: ObsKeys = ObsKeys()
    control: str = "control"
    """Perturbation label of unperturbed cells."""
    target_sum: float | None = None
    """Library size that counts were scaled to before log1p; ``None`` where nobody says."""
    values: Literal["log1p"] | None = None
    """What the values are, where they do not show it."""


@dataclass(frozen=True, kw_only=True)
class DataCard:
    """What a model must remember of its data: saved with every store, checkpoint and prediction.

    Label order is the order of the embedding rows; gene order is the order of the expression columns.
    """

    genes: tuple[str, ...]
    cell_types: tuple[str, ...]
    perturbations: tuple[str, ...]
    """Without the control label."""
    batches: tuple[str, ...]
    control: str
    """Label of unperturbed cells."""
    scale: ExpressionScale
    keys: ObsKeys
    split_sha256: str | None = None
    """Hash of the resolved split; ``None`` when every cell is training data."""
    combination_separator: str = ""
    """Between the agents of a perturbation's label, "+" in "A+B"; empty where a label is one agent."""
    dose_separator: str = ""
    """Before an agent's dose, "@" in "A@0.5"; empty where labels have none."""
    whole_agents: tuple[str, ...] = ()
    """Agents whose names hold a separator."""
    untrained_cell_types: tuple[str, ...] = ()
    """Cell types that a model saw no perturbed training cell of; it predicts them under the unknown label."""
    matrix: str = "X"
    """Where the inputs had their expression: X, layers/NAME, raw/X or obsm/NAME."""
    gene_key: str | None = None
    """var column of the inputs with the gene names; ``None`` is the index."""
    control_labels: tuple[str, ...] = ()
    """What unperturbed cells are called in the inputs, where they have more names than ``control``."""

    @property
    def all_controls(self) -> tuple[str, ...]:
        """Every label of unperturbed cells."""
        return tuple(dict.fromkeys((self.control, *self.control_labels)))

    def to_json(self) -> str:
        """Return the card as one line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> DataCard:
        """Read a card written by :meth:`to_json`."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> DataCard:
        """Build a card from plain dicts and lists, as JSON gives them."""
        names = (
            "genes",
            "cell_types",
            "perturbations",
            "batches",
            "untrained_cell_types",
            "whole_agents",
            "control_labels",
        )
        lists = {name: tuple(fields.get(name, ())) for name in names}
        return cls(
            **lists,
            control=fields["control"],
            scale=ExpressionScale(**fields["scale"]),
            keys=ObsKeys(**fields["keys"]),
            split_sha256=fields["split_sha256"],
            combination_separator=fields.get("combination_separator", ""),
            dose_separator=fields.get("dose_separator", ""),
            matrix=fields.get("matrix", "X"),
            gene_key=fields.get("gene_key"),
        )


@dataclass(frozen=True, kw_only=True)
class GroupMeans:
    """Pseudobulk of each group of a split, the only thing that baselines learn from."""

    groups: tuple[Group, ...]
    """Controls included, with the control label as their perturbation."""
    means: np.ndarray
    """[len(groups), G] float64, mean log1p expression of a group's cells."""
    counts: np.ndarray
    """[len(groups)] int64, cells of a group."""
    cell_sd: np.ndarray | None = None
    """[G] float64, standard deviation of a cell around the mean of its group, pooled over groups."""

    def of_genes(self, columns: np.ndarray) -> GroupMeans:
        """Return the pseudobulks of some genes, in the order given."""
        cell_sd = None if self.cell_sd is None else self.cell_sd[columns]
        return replace(self, means=self.means[:, columns], cell_sd=cell_sd)


class CellBatch(TypedDict):
    """B sets of N cells as the model reads them.

    ``seed`` makes everything random in a set (time, prior noise) a function of the set alone, so that any layout of
    processes draws the same numbers.
    """

    control: Tensor
    """[B, N, G] float32, matched control cells."""
    perturbed: Tensor
    """[B, N, G] float32, cells of one group; other control cells where the group is a control group."""
    cell_type: Tensor
    """[B] int64, row in ``DataCard.cell_types``."""
    perturbation: Tensor
    """[B] int64, row in ``DataCard.perturbations``; their number stands for control."""
    batch: Tensor
    """[B] int64, row in ``DataCard.batches``."""
    seed: Tensor
    """[B] int64."""
