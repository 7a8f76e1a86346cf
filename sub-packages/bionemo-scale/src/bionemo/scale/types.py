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
import math
from dataclasses import MISSING, asdict, dataclass, is_dataclass, replace
from dataclasses import fields as dataclass_fields
from enum import StrEnum
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NamedTuple,
    NotRequired,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)


if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


EXIT_REFUSED = 2
"""Exit code of a command that cannot use its input."""


class InputError(Exception):
    """What a user gave cannot be used; the message is one line that says what, where, expected and found.

    Commands print it and exit with code 2.
    """


Codec = Literal["none", "zstd"]
"""How the cells of a store are packed: ``none`` is read where it lies in the memory map, ``zstd`` takes about a
quarter."""


ValueKind = Literal["counts", "log1p"]
"""What expression values are."""


SetKind = Literal["batch", "mixed"]
"""Which cells share a set: ``batch``, those that share every label; ``mixed``, those of all batches of a (data set,
cell type, perturbation)."""


INTERVAL_LEVEL = 0.9
"""Share of true values that the interval of a predicted mean is to hold."""
Z_OF_INTERVAL = 1.645
"""Standard deviations on either side that hold this share of a normal distribution."""


class Split(StrEnum):
    """The part of the data a group of cells belongs to."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


JOINED = ":"
"""Between the labels of several obs columns that are one label."""


class Group(NamedTuple):
    """The cells that share every label."""

    dataset: str
    cell_type: str
    perturbation: str
    batch: str
    covariates: tuple[str, ...] = ()
    """A value of each column of :attr:`ObsKeys.covariates`."""

    @property
    def context(self) -> str:
        """What the cells are, whatever was done to them: "NK:6h", or the cell type where there are no covariates."""
        return JOINED.join((self.cell_type, *self.covariates))


def cell_type_of(context: str, covariates: tuple[str, ...]) -> str:
    """Return the cell type of a :attr:`Group.context`."""
    return context.removesuffix(JOINED.join(("", *covariates))) if covariates else context


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
    """obs column with the cell type, or several columns that form one label, such as patient,cell_type; none if all
    cells are of one type."""
    batch: str = "batch"
    """obs column with the batch, or several columns; none if there is one batch."""
    covariate: str = ""
    """obs columns of further conditions, such as time,modality. Each column is a covariate with an embedding."""

    @property
    def covariates(self) -> tuple[str, ...]:
        """Columns of ``covariate``, in order."""
        return tuple(name.strip() for name in self.covariate.split(",") if name.strip())


NO_COLUMN = "none"
"""Given for a column: all cells have the same label."""


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


_VOCABULARIES = ("genes", "cell_types", "perturbations", "batches")


def from_plain(kind: Any, value: Any, name: str = "it") -> Any:
    """Build a value of a type from JSON: a dataclass from a mapping, a tuple from a list, numbers and text unchanged.

    Args:
        kind: A dataclass, ``dict``, ``list``, ``tuple``, ``Literal`` or union of types, or a plain type.
        value: Of JSON.
        name: What a refusal calls the value.

    Raises:
        ValueError: A value is of another type or no finite number, or a field is missing or unknown.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any or (origin is Literal and value in parts):
        return value
    if is_dataclass(kind) and isinstance(value, dict):
        return _dataclass_of(kind, value, name)
    if origin is dict and isinstance(value, dict):
        return {key: from_plain(parts[1], item, f"{name}/{key}") for key, item in value.items()}
    if origin in (list, tuple) and isinstance(value, list | tuple):
        return origin(from_plain(parts[0], item, f"an entry of {name}") for item in value)
    if origin in (Union, UnionType):
        chosen = type(None) if value is None else next(part for part in parts if part is not type(None))
        return from_plain(chosen, value, name)
    if origin is None and not is_dataclass(kind) and _is_of(value, kind):
        return value
    raise ValueError(f"{name} must be {getattr(kind, '__name__', kind)}, found {str(value)[:40]!r}")


def _dataclass_of(kind: Any, fields: dict[str, Any], name: str) -> Any:
    hints = get_type_hints(kind)
    unknown = fields.keys() - hints.keys()
    missing = [
        each.name
        for each in dataclass_fields(kind)
        if each.name not in fields and each.default is MISSING and each.default_factory is MISSING
    ]
    if unknown or missing:
        raise ValueError(f"{name} must have {', '.join(missing) or 'known fields'}, found {sorted(unknown) or 'none'}")
    return kind(**{key: from_plain(hints[key], value, key) for key, value in fields.items()})


def _is_of(value: Any, kind: type) -> bool:
    if kind in (int, float):
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole or (kind is float and isinstance(value, float) and math.isfinite(value))
    return isinstance(value, kind)


@dataclass(frozen=True, kw_only=True)
class DataCard:
    """Genes, labels and scale of the data of a model. It is saved with every store, checkpoint and prediction.

    Rows of an embedding have the order of the labels, columns of expression that of the genes.
    """

    genes: tuple[str, ...]
    """Names of the genes."""
    cell_types: tuple[str, ...]
    """Labels of cell types."""
    perturbations: tuple[str, ...]
    """Labels of perturbations, without the control label."""
    batches: tuple[str, ...]
    """Labels of batches."""
    control: str
    """Label of unperturbed cells."""
    scale: ExpressionScale
    """How counts became expression values."""
    keys: ObsKeys
    """The obs columns that label a cell."""
    split_sha256: str | None = None
    """Hash of the resolved split; ``None`` when every cell is training data."""
    combination_separator: str = ""
    """Between the agents of a perturbation's label, "+" in "A+B"; empty where a label is one agent."""
    dose_separator: str = ""
    """Before an agent's dose, "@" in "A@0.5"; empty where labels have none."""
    whole_agents: tuple[str, ...] = ()
    """Agents whose names hold a separator."""
    untrained_cell_types: tuple[str, ...] = ()
    """Cell types without a perturbed training cell, also in the run that a fine-tuning starts from; the model predicts
    them under the unknown label."""
    untrained_agents: tuple[str, ...] | None = None
    """Agents of perturbations that no training cell has, nor one of the run that a fine-tuning starts from; ``None``
    for stores, and for models that did not note it."""
    matrix: str = "X"
    """Where the inputs had their expression: X, layers/NAME, raw/X or obsm/NAME."""
    gene_key: str | None = None
    """var column of the inputs with the gene names; ``None`` is the index."""
    control_labels: tuple[str, ...] = ()
    """What unperturbed cells are called in the inputs, where they have more names than ``control``."""
    covariates: tuple[tuple[str, ...], ...] = ()
    """Values of each covariate, in the order of ``keys.covariates``."""
    untrained_covariates: tuple[tuple[str, ...], ...] = ()
    """Values of each covariate without a perturbed training cell; predicted as ``untrained_cell_types`` are."""
    counted_genes: int | None = None
    """Genes that library sizes were summed over, of the input with fewest; ``None`` for stores, for models that did
    not note it, and where a column or log1p values made sums needless."""

    @property
    def all_controls(self) -> tuple[str, ...]:
        """Every label of unperturbed cells."""
        return tuple(dict.fromkeys((self.control, *self.control_labels)))

    def to_dict(self) -> dict[str, Any]:
        """Return the card as plain dicts and tuples; without later fields it is as before there were any."""
        fields = asdict(self)
        if self.untrained_agents is None:
            del fields["untrained_agents"]
        if self.counted_genes is None:
            del fields["counted_genes"]
        if not self.covariates:
            del fields["covariates"], fields["untrained_covariates"], fields["keys"]["covariate"]
        return fields

    def to_json(self) -> str:
        """Return the card as one line of JSON."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> DataCard:
        """Read a card written by :meth:`to_json`.

        Raises:
            ValueError: It is no such text.
        """
        try:
            fields = json.loads(text)
        except RecursionError as error:
            raise ValueError("found values too deep within one another") from error
        if not isinstance(fields, dict):
            raise ValueError(f"expected fields with names, found {type(fields).__name__}")
        return cls.from_dict(fields)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> DataCard:
        """Build a card from plain dicts and lists, as JSON gives them.

        Raises:
            ValueError: A field is missing or of another type, or a vocabulary has a label twice.
        """
        card = from_plain(cls, {name: value for name, value in fields.items() if name in get_type_hints(cls)}, "card")
        if not card.scale.target_sum > 0:
            raise ValueError(f"target_sum must be above 0, found {card.scale.target_sum}")
        columns = card.keys.covariates
        if len(card.covariates) != len(columns) or len(card.untrained_covariates) not in (0, len(columns)):
            raise ValueError(f"covariates must be values of {len(columns)} columns, found {len(card.covariates)}")
        vocabularies = [(name, getattr(card, name)) for name in _VOCABULARIES]
        for name, labels in (*vocabularies, *zip(columns, card.covariates, strict=True)):
            if len(set(labels)) < len(labels):
                raise ValueError(f"{name} must be distinct, found a label twice")
        return card


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
    """[B, N, G] float32, matched control cells; [C, N, G] where ``controls_of`` says which each set starts from."""
    perturbed: Tensor
    """[B, N, G] float32, cells of one cell type and perturbation; other control cells under the control label."""
    cell_type: Tensor
    """[B] int64, row in ``DataCard.cell_types``."""
    perturbation: Tensor
    """[B] int64, row in ``DataCard.perturbations``; their number stands for control."""
    batch: Tensor
    """[B] int64, row in ``DataCard.batches``; [B, N], one a cell, where a set has cells of several batches."""
    seed: Tensor
    """[B] int64, seed of everything random in each set."""
    covariates: NotRequired[Tensor]
    """[B, K] int64, row in each of the K ``DataCard.covariates``; absent where there are none."""
    num_places: NotRequired[int]
    """Places of the micro-batch that the sets are of; without it there are as many as sets."""
    weight: NotRequired[Tensor]
    """[B] float32, share of each set in the loss of its micro-batch; without it all sets count alike."""
    share: NotRequired[Tensor]
    """[B, N] float32, share of each cell in the loss of its set, 0 of a filler; without it all cells count alike."""
    controls_of: NotRequired[Tensor]
    """[B] int64, the row of ``control`` of each set; without it every set has its own, in the same order."""
