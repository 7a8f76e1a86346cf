# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a user decides about an evaluation and about the page of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bionemo.scale.options.fields import option
from bionemo.scale.options.limits import LIBRARY_SIZE, SEED
from bionemo.scale.options.settings import Settings
from bionemo.scale.types import FileLabels, InputError, ObsKeys


_OWN = "labels, for files that do not name their own; a missing default column means one cell type or one batch"
_OTHERS = "labels of --pred files that differ from those of --real, once for all or once for each, in order"
_COLUMNS = {name: f"{name}_key" for name in ("perturbation", "cell_type", "batch")}


@dataclass(frozen=True, kw_only=True)
class ScoringSettings(Settings):
    """How to score files that have been read."""

    control_policy: Literal["same-real", "predicted", "both"] = "same-real"
    """Controls of the predicted side: the real ones, those in --pred, or a row of each."""
    baselines: tuple[str, ...] | None = option(None, form="labels", metavar="NAME,NAME")
    """Baselines to use (default: all; docs/evaluation.md defines them)."""
    ceiling: bool = option(True, form="hidden")
    """Score one half of the real cells as a prediction of the other half."""
    engine: Literal["fast", "pdex"] = option("fast", flag="--de-engine")
    """Differential expression: ours, or pdex itself; same numbers."""
    leave_out_targets: bool = False
    """Leave genes that perturbations are named after out of every metric, those of all perturbations."""
    seed: int = option(0, limits=SEED)
    """Seed of what is sampled."""
    plot: bool = False
    """Write delta.png: predicted against observed change."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedFiles(Settings):
    """What is compared, and where the results go."""

    pred: tuple[Path, ...] = ()
    """h5ad of predicted cells; may be repeated."""
    name: tuple[str, ...] = ()
    """Name of a --pred in the tables, in the same order (default: its file name)."""
    real: Path
    """h5ad of the real perturbed cells and the controls of their cell types."""
    out: Path | None = None
    """Folder for the results; needed with --pred."""
    store: Path | None = None
    """Training store, for the baselines (default: the one the prediction names)."""
    perturbation_features: Path | None = option(None, metavar="FILE")
    """Vectors of perturbations, for the baselines that predict never-trained ones by them."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(ScoringSettings, EvaluatedFiles):
    """One evaluation."""

    no_baselines: bool = False
    """Score the predictions alone, without baselines and ceiling."""
    write_baselines: Path | None = option(None, metavar="FOLDER")
    """Write each baseline as NAME.h5ad, as a model's prediction; works without --pred."""
    evaluator: Literal["reference", "current", "cell-eval2"] = "reference"
    """cell-eval 0.6.6 alone, or beside it the newest cell-eval, or cell-eval2 (2026) on files of counts."""
    evaluator_environment: Path | None = option(None, metavar="FOLDER")
    """Environment of the other evaluator, made there once (default: the user's cache; cell-eval2 may be here)."""
    de: Literal["wilcoxon", "pydeseq2"] = "wilcoxon"
    """Tests of differential expression: between cells alone, or of replicates by DESeq2 beside them (on counts)."""
    replicate_key: str | None = option(None, metavar="COLUMN")
    """obs column with the replicate (donor, plate, culture) of a cell, in every file; for --de pydeseq2."""
    keys: ObsKeys | None = option(None, group=_OWN)
    """The obs columns that label a cell."""
    control: str | None = option(None, metavar="LABEL", group=_OWN)
    """Perturbation label of control cells (default: control)."""
    target_sum: float | None = option(None, limits=LIBRARY_SIZE, group=_OWN)
    """Library size that counts were scaled to before log1p, such as 10000."""
    values: Literal["log1p"] | None = option(None, group=_OWN)
    """What the values of --real are, if this cannot be seen from them."""
    pred_perturbation_key: tuple[str, ...] = option((), metavar="COLUMN", group=_OTHERS)
    """obs column with the perturbation."""
    pred_cell_type_key: tuple[str, ...] = option((), metavar="COLUMN", group=_OTHERS)
    """obs column with the cell type."""
    pred_batch_key: tuple[str, ...] = option((), metavar="COLUMN", group=_OTHERS)
    """obs column with the batch."""
    pred_control: tuple[str, ...] = option((), metavar="LABEL", group=_OTHERS)
    """Perturbation label of control cells."""
    pred_target_sum: tuple[float, ...] = option((), limits=LIBRARY_SIZE, group=_OTHERS)
    """Library size that counts were scaled to."""

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            InputError: Naming the options.
        """
        if not self.pred and self.write_baselines is None:
            raise InputError("the following arguments are required: --pred (or --write-baselines)")
        if self.pred and self.out is None:
            raise InputError("the following arguments are required: --out")
        if (self.de == "pydeseq2") != (self.replicate_key is not None):
            raise InputError("--de pydeseq2 and --replicate-key go together: the second names their column")
        if self.evaluator_environment is not None and self.evaluator == "reference":
            raise InputError("--evaluator-environment goes with --evaluator current or cell-eval2, found reference")
        if self.no_baselines and (self.baselines or self.write_baselines):
            raise InputError("--no-baselines: cannot be combined with --baselines or --write-baselines")
        model_names(self.pred, self.name)
        for name in (*_COLUMNS.values(), "control", "target_sum"):
            given = len(getattr(self, f"pred_{name}"))
            if given not in (0, 1, len(self.pred)):
                raise InputError(
                    f"--pred-{name.replace('_', '-')}: expected one for all --pred or one for each "
                    f"({len(self.pred)}), found {given}"
                )

    @property
    def labels(self) -> FileLabels | None:
        """Labels of the real file; ``None`` where no option was given."""
        return _labels(self._given())

    @property
    def pred_labels(self) -> tuple[FileLabels | None, ...]:
        """Labels of each ``--pred``, in order."""
        return tuple(_labels(self._given() | self._given_of(index)) for index in range(len(self.pred)))

    def _given(self) -> dict[str, Any]:
        keys = {} if self.keys is None else {part: getattr(self.keys, part) for part in _COLUMNS}
        given = {**keys, "control": self.control, "target_sum": self.target_sum, "values": self.values}
        return {name: value for name, value in given.items() if value is not None}

    def _given_of(self, index: int) -> dict[str, Any]:
        fields = {part: getattr(self, f"pred_{name}") for part, name in _COLUMNS.items()}
        fields |= {name: getattr(self, f"pred_{name}") for name in ("control", "target_sum")}
        return {name: values[0 if len(values) == 1 else index] for name, values in fields.items() if values}


def _labels(given: dict[str, Any]) -> FileLabels | None:
    if not given:
        return None
    keys = ObsKeys(**{part: given[part] for part in _COLUMNS if part in given})
    rest = {name: given[name] for name in ("control", "target_sum", "values") if name in given}
    return FileLabels(keys=keys, **rest)


def model_names(paths: Sequence[Path], names: Sequence[str]) -> list[str]:
    """Return a distinct name for each prediction.

    Raises:
        InputError: Fewer or more names than predictions, or two alike.
    """
    if names and len(names) != len(paths):
        raise InputError(f"--name: expected one for each --pred ({len(paths)}), found {len(names)}")
    chosen = list(names) or [path.stem for path in paths]
    twice = sorted({name for name in chosen if chosen.count(name) > 1})
    if twice:
        raise InputError(f"--name: expected distinct names, found {twice[0]!r} {chosen.count(twice[0])} times")
    return chosen


@dataclass(frozen=True, kw_only=True)
class ReportSettings(Settings):
    """One page."""

    run: Path = option(form="positional", metavar="RUN")
    """Run folder, the folder that holds it as run/, a result folder, or an h5ad of predictions alone."""
    scores: Path | None = None
    """Result folder of bionemo-scale-evaluate (default: RUN/scores, or scores beside RUN)."""
    pred: Path | None = None
    """Predicted h5ad, for the populations (default: as the scores say)."""
    real: Path | None = None
    """Real h5ad, for the populations (default: as the scores say)."""
    out: Path | None = None
    """HTML file (default: RUN/report.html, or beside the h5ad)."""
    umap: bool = False
    """Embed populations by UMAP too, which takes a minute."""
    seed: int = option(0, limits=SEED)
    """Seed of the cells that are drawn."""
    target_sum: float | None = option(None, limits=LIBRARY_SIZE)
    """Library size behind log1p values, for h5ad files that do not record it."""

    @property
    def page_path(self) -> Path:
        """The page."""
        return self.out or (self.run.with_suffix(".html") if self.is_prediction else self.run / "report.html")

    @property
    def is_prediction(self) -> bool:
        """Whether the page is of predictions alone."""
        return self.run.is_file()
