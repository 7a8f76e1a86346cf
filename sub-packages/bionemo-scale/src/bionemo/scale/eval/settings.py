# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a user decides about an evaluation and about the page of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bionemo.scale.files.url import PathOrUrl, is_url
from bionemo.scale.options.fields import option, options_of
from bionemo.scale.options.limits import COUNT, LIBRARY_SIZE, SEED
from bionemo.scale.options.settings import Settings
from bionemo.scale.options.values import check_covariates
from bionemo.scale.types import FileLabels, InputError, ObsKeys


_OWN = "labels of files that this package did not write (a missing default column means one cell type or batch)"
_OTHERS = "labels of --pred files if they differ from those of --real (once for all files, or once for each in order)"
_MORE = "how it scores"
_COLUMNS = {name: f"{name}_key" for name in ("perturbation", "cell_type", "batch", "covariate")}


@dataclass(frozen=True, kw_only=True)
class ScoringSettings(Settings):
    """How to score files that have been read."""

    control_policy: Literal["same-real", "predicted", "both"] = option("same-real", group=_MORE)
    """Controls that are subtracted from predictions: the real ones, those in --pred, or both, in a row of each."""
    baselines: tuple[str, ...] | None = option(None, form="labels", metavar="NAME,NAME", group=_MORE)
    """Baselines to use (default: all; docs/evaluation.md defines them)."""
    ceiling: bool = option(True, form="hidden")
    """Score one half of the real cells as a prediction of the other half."""
    engine: Literal["fast", "pdex"] = option("fast", flag="--de-engine", group=_MORE)
    """Program for tests of differential expression: this package's (fast) or pdex; the numbers are the same."""
    leave_out_targets: bool = option(False, group=_MORE)
    """Leave the target genes of all perturbations (genes with the name of a perturbation) out of every metric."""
    min_cells: int = option(1, limits=COUNT, metavar="N", group=_MORE)
    """Score only (cell type, perturbation) pairs with at least N measured cells."""
    seed: int = option(0, limits=SEED, group=_MORE)
    """Seed of random choices."""
    plot: bool = False
    """Write delta.png: predicted against observed change."""
    evaluator: Literal["reference", "current", "cell-eval2"] = option("reference", group=_MORE)
    """Only cell-eval 0.6.6 (reference), or with it the newest cell-eval (current) or cell-eval2, which scores
    counts."""
    evaluator_environment: Path | None = option(None, metavar="FOLDER", group=_MORE)
    """Folder for the environment of the other evaluator, which is made once (default: in the user's cache; none if
    cell-eval2 is installed)."""
    de: Literal["wilcoxon", "pydeseq2"] = option("wilcoxon", group=_MORE)
    """Tests of differential expression: between cells (wilcoxon), or also between replicates by DESeq2 (pydeseq2, for
    counts)."""
    replicate_key: str | None = option(None, metavar="COLUMN", group=_MORE)
    """obs column with the replicate (donor, plate, culture) in every file, for --de pydeseq2."""
    gene_sets: Path | None = option(None, metavar="FILE.gmt", group=_MORE)
    """Gene sets to score in predicted and in measured cells (a line: name, description, genes, with tabs between
    them)."""

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            InputError: Naming the options.
        """
        if (self.de == "pydeseq2") != (self.replicate_key is not None):
            raise InputError("--de pydeseq2 and --replicate-key go together: the second names their column")
        if self.evaluator_environment is not None and self.evaluator == "reference":
            raise InputError("--evaluator-environment goes with --evaluator current or cell-eval2, found reference")

    @property
    def recorded(self) -> dict[str, Any]:
        """Options that are not at their defaults, ready for JSON; a summary has the others under names of its own."""
        elsewhere = ("control_policy", "seed", "evaluator", "evaluator_environment", "baselines", "ceiling")
        values = {each.name: getattr(self, each.name) for each in options_of(ScoringSettings)}
        defaults = {each.name: each.default for each in options_of(ScoringSettings)}
        return {
            name: str(value.absolute()) if isinstance(value, Path) else value
            for name, value in values.items()
            if value != defaults[name] and name not in elsewhere
        }


@dataclass(frozen=True, kw_only=True)
class EvaluatedFiles(Settings):
    """What is compared, and where the results go."""

    pred: tuple[PathOrUrl, ...] = ()
    """h5ad of predicted cells; may be repeated."""
    name: tuple[str, ...] = ()
    """Name of a --pred in the tables, in the same order (default: its file name)."""
    real: PathOrUrl
    """h5ad of the real perturbed cells and the controls of their cell types."""
    out: Path | None = None
    """Folder for the results; required with --pred."""
    store: Path | None = None
    """Training store, for the baselines (default: the one that the prediction was made with)."""
    perturbation_features: Path | None = option(None, metavar="FILE")
    """Vectors of perturbations, for the baselines that use them."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(ScoringSettings, EvaluatedFiles):
    """One evaluation."""

    no_baselines: bool = option(False, group=_MORE)
    """Score the predictions alone, without baselines and ceiling."""
    write_baselines: Path | None = option(None, metavar="FOLDER", group=_MORE)
    """Write the cells of each baseline as NAME.h5ad, like a model's prediction; works without --pred."""
    keys: ObsKeys | None = option(None, group=_OWN)
    """The obs columns that label a cell."""
    control: str | None = option(None, metavar="LABEL", group=_OWN)
    """Perturbation label of control cells (default: control)."""
    target_sum: float | None = option(None, limits=LIBRARY_SIZE, group=_OWN)
    """Library size that counts were scaled to before log1p, such as 10000."""
    values: Literal["log1p"] | None = option(None, group=_OWN)
    """Kind of values in --real, if it is not recognised."""
    pred_perturbation_key: tuple[str, ...] = option((), metavar="COLUMN", group=_OTHERS)
    """obs column with the perturbation."""
    pred_cell_type_key: tuple[str, ...] = option((), metavar="COLUMN", group=_OTHERS)
    """obs column with the cell type."""
    pred_batch_key: tuple[str, ...] = option((), metavar="COLUMN", group=_OTHERS)
    """obs column with the batch."""
    pred_covariate_key: tuple[str, ...] = option((), metavar="COLUMN", group=_OTHERS)
    """obs columns with covariates."""
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
        super().check()
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
        for labels in self.pred_labels:
            if labels is not None and self.pred_covariate_key:
                check_covariates(labels.keys, mark="pred_")

    def scoring(self, *, baselines: tuple[str, ...]) -> ScoringSettings:
        """Return how to score, with the baselines that the user's choice comes to."""
        fields = {each.name: getattr(self, each.name) for each in options_of(ScoringSettings)}
        chosen = {"baselines": baselines, "ceiling": self.ceiling and not self.no_baselines}
        return ScoringSettings(**{**fields, **chosen})

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

    run: PathOrUrl = option(form="positional", metavar="RUN")
    """Run folder with or without scores, a folder that contains it as run/, a result folder of
    bionemo-scale-evaluate, or an h5ad of predictions."""
    scores: Path | None = None
    """Result folder of bionemo-scale-evaluate (default: RUN/scores, or scores beside RUN)."""
    pred: PathOrUrl | None = None
    """Predicted h5ad, for the plots of cells (default: the file that was scored)."""
    real: PathOrUrl | None = None
    """Real h5ad, for the plots of cells (default: the file that was scored)."""
    out: Path | None = None
    """HTML file (default: RUN/report.html, or beside the h5ad)."""
    umap: bool = False
    """Plot cells by UMAP too, which takes about a minute."""
    seed: int = option(0, limits=SEED)
    """Seed of the random choice of cells."""
    target_sum: float | None = option(None, limits=LIBRARY_SIZE)
    """Library size behind log1p values, for h5ad files that do not record it."""
    gene_sets: Path | None = option(None, metavar="FILE.gmt")
    """Gene sets whose predicted changes are scored, for an h5ad of predictions alone."""

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            InputError: Naming the options.
        """
        if is_url(self.run) and self.out is None:
            raise InputError(f"--out must say where the page goes, for it cannot be written beside {self.run}")
        if self.gene_sets is not None and self.run.exists() and not self.is_prediction:
            raise InputError(
                f"--gene-sets is for an h5ad of predictions, found {self.run}; bionemo-scale-evaluate --gene-sets "
                "scores sets beside measured cells, and the page shows them"
            )

    @property
    def page_path(self) -> Path:
        """The page."""
        return self.out or (self.run.with_suffix(".html") if self.is_prediction else self.run / "report.html")

    @property
    def is_prediction(self) -> bool:
        """Whether the page is of predictions alone."""
        return is_url(self.run) or self.run.is_file()
