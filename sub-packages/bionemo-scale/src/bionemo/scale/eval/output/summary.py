# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation found, as summary.json holds it: keys are the names of these fields."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_type_hints

from bionemo.scale.eval.cell_eval.challenge import Scale
from bionemo.scale.eval.metrics.intervals import Difference, Interval
from bionemo.scale.types import FileLabels, from_plain


_POLICIES = {
    "same-real": "the real ones on both sides",
    "predicted": "each side's own",
    "both": "the real ones on both sides, then each side's own",
}


@dataclass(frozen=True, kw_only=True)
class MetricSummary:
    """One metric of one model over all (context, perturbation) pairs."""

    mean: float | None
    """Mean of the defined values, every pair weighing the same; ``None`` without any."""
    n: int
    """Pairs with a value."""
    undefined: int
    """Pairs without."""
    why: dict[str, int]
    """Reason to the number of pairs that have no value for it."""
    interval: Interval | None = None
    """Bootstrap over perturbations or contexts; ``None`` where there are too few."""
    batch_interval: Interval | None = None
    """Jackknife over batches (donors, plates); ``None`` where there are too few, or for metrics that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """Rows of the tables."""

    models: list[str]
    baselines: list[str]
    ceiling: bool


@dataclass(frozen=True, kw_only=True)
class BaselineNotes:
    """How baselines were made."""

    fitted_on: str | None
    ridge_penalty: float | None
    """``None`` where the ridge is not among them."""
    cells: int
    """Cells that were predicted."""
    seed: int
    fallback_cells: dict[str, int]
    """Baseline to the cells for which it used its fallback; ``matching`` to those without a control of their batch."""


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """What computed the numbers."""

    versions: dict[str, str]
    de_engine: str
    conventions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class OtherEvaluator:
    """Another cell-eval that scored the same cells."""

    columns: str
    versions: dict[str, str]
    conventions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class SecondEvaluator:
    """cell-eval2, which scored the counts of the same cells."""

    columns: str
    versions: dict[str, str]
    conventions: dict[str, str]
    scales: dict[str, dict[str, Scale]]
    """Context to metric to both ends of its scale, and why it has none."""
    scaled: dict[str, dict[str, MetricSummary]]
    """Model to metric of the challenge, and ``score``, their mean, to its summary over contexts."""


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """A file that was read."""

    path: str
    sha256: str
    labels: FileLabels | None = None
    """How it was read, where it has no data card."""


@dataclass(frozen=True, kw_only=True)
class InputStore:
    """The training store that baselines learn from."""

    path: str
    split_sha256: str | None


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Everything that was read."""

    real: InputFile
    pred: dict[str, InputFile]
    """By the name of the model."""
    store: InputStore | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Everything but the table of pairs."""

    models: dict[str, dict[str, MetricSummary]]
    """Model, baseline or ceiling to column to its summary."""
    against_best_baseline: dict[str, dict[str, Difference]]
    """Model to column."""
    names: Names
    control_policy: str
    pairs: int
    pairs_without_significant_real_gene: int
    baselines: BaselineNotes
    evaluator: Evaluator
    current_evaluator: OtherEvaluator | None
    paper_names: dict[str, str]
    """Name in the paper to the column that tables show under it."""
    paper_metrics: dict[str, dict[str, str | None]]
    notes: list[str]
    """Lines for the user."""
    contexts: dict[str, str]
    """Context to the beginning of the names of its own files."""
    inputs: Inputs
    second_evaluator: SecondEvaluator | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """Other options of the evaluation, where they are not at their defaults."""

    @property
    def means(self) -> dict[str, dict[str, float | None]]:
        """Model, baseline or ceiling to column to mean."""
        return {name: {column: item.mean for column, item in row.items()} for name, row in self.models.items()}

    @property
    def unranked_baselines(self) -> tuple[str, ...]:
        """Baselines that used their fallback for every cell."""
        return only_fallbacks(self.baselines.fallback_cells, num_cells=self.baselines.cells)

    @property
    def ranked_baselines(self) -> list[str]:
        """Baselines that a model is compared with."""
        return [name for name in self.names.baselines if name not in self.unranked_baselines]

    def to_dict(self) -> dict[str, Any]:
        """Return dicts and lists, ready for JSON."""
        fields = asdict(self)
        for file in (fields["inputs"]["real"], *fields["inputs"]["pred"].values()):
            if file["labels"] is None:
                del file["labels"]
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Summary":
        """Build a summary from what :meth:`to_dict` gives; other keys are ignored.

        Raises:
            ValueError: A key is missing, or a value is of another type.
        """
        return from_plain(
            cls, {name: value for name, value in fields.items() if name in get_type_hints(cls)}, "summary"
        )


def only_fallbacks(fallback_cells: Mapping[str, int], *, num_cells: int) -> tuple[str, ...]:
    """Return the baselines that used their fallback for every cell: their definition predicted nothing.

    They are shown, but never ranked: what beats them has beaten their fallback.

    Args:
        fallback_cells: Cells for which each baseline used its fallback; ``matching`` is no baseline.
        num_cells: Cells that were predicted.
    """
    return tuple(name for name, count in fallback_cells.items() if name != "matching" and count == num_cells > 0)


def controls_said(policy: str) -> str:
    """Return a control policy by its name, and in words."""
    return f"{policy} ({_POLICIES[policy]})" if policy in _POLICIES else policy


def why_unranked(names: Collection[str]) -> str:
    """Return the footnote about baselines that only fell back."""
    return f"not ranked, because the training data have nothing that these baselines could use: {', '.join(names)}"
