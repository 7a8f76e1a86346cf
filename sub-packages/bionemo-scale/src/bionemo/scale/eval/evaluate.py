# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From read files to a result folder."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from bionemo.scale.estimate.features import AgentFeatures
from bionemo.scale.eval.baselines.estimators import (
    BASELINES,
    NEED_FEATURES,
    WITHOUT_TRAINING,
    chosen_baselines,
    default_baselines,
)
from bionemo.scale.eval.baselines.training_means import TrainingMeans, fit
from bionemo.scale.eval.cell_eval.challenge import CELL_EVAL2, CellEval2
from bionemo.scale.eval.cell_eval.newest import CurrentCellEval
from bionemo.scale.eval.cells.alignment import align, note_copies
from bionemo.scale.eval.cells.control_policy import ControlPolicy, check_controls, choose_controls
from bionemo.scale.eval.cells.few_cells import note_small_pairs, without_small_pairs
from bionemo.scale.eval.cells.library_size import HOW_TO
from bionemo.scale.eval.cells.population_file import PopulationFile
from bionemo.scale.eval.cells.populations import Population
from bionemo.scale.eval.cells.scale_check import check_scale
from bionemo.scale.eval.enrichment import open_gene_sets
from bionemo.scale.eval.metrics.intervals import (
    MIN_UNITS,
    BatchDraws,
    batch_weights,
)
from bionemo.scale.eval.metrics.replicates import check_pydeseq2, check_replicates
from bionemo.scale.eval.output.results import ResultFolder, check_out
from bionemo.scale.eval.output.summarise import input_file, make_summary, with_second
from bionemo.scale.eval.output.summary import Inputs, InputStore, Summary
from bionemo.scale.eval.output.table import tables
from bionemo.scale.eval.scores.scoring import Shift, score_contexts
from bionemo.scale.eval.scores.task import CEILING, Model, Task
from bionemo.scale.eval.settings import ScoringSettings
from bionemo.scale.files.labels.grammar import Grammar, agent_names, grammar_of
from bionemo.scale.files.suggest import some
from bionemo.scale.population import note_few_controls
from bionemo.scale.types import DataCard, GroupMeans, InputError


_MAX_BATCHES = 200
"""More labels are no donors or plates but something finer."""
OWN_CONTROLS = " (own controls)"
"""What a model's name ends with where its own controls are used beside the real ones."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The training store from which baselines learn: its labels, and the means of its groups."""

    path: Path
    card: DataCard
    means: GroupMeans
    """Of the training split alone."""
    features: AgentFeatures | None = None
    """Vectors of agents, those of the training split among them."""
    by_batch: bool = False
    """Whether the split has batches of one (cell type, perturbation) in training and in test."""

    def described(self, read: Callable[[Sequence[str]], np.ndarray], real: PopulationFile) -> "TrainingData":
        """Return the same with vectors of the agents of its perturbations and of those that are scored.

        Args:
            read: Returns [agents, F] vectors of names, or refuses those that have none.
            real: What is scored.

        Raises:
            InputError: An agent has no vector.
        """
        grammar = grammar_of(self.card)
        labels = dict.fromkeys(group.perturbation for group in self.means.groups)
        trained = agent_names([label for label in labels if label != self.card.control], grammar)
        scored = dict.fromkeys(real.population.perturbation[~real.is_control].tolist())
        names = tuple(dict.fromkeys([*trained, *agent_names(scored, grammar)]))
        return replace(self, features=AgentFeatures.of(names, read(names)).fitted_to(trained))


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was found; the same is in the result folder."""

    scores: pl.DataFrame
    """One row per model x context x perturbation; null where a metric has no value."""
    table: str
    """Text for a terminal."""
    result: Summary
    """Everything but the rows."""
    out: Path
    """The result folder."""

    @property
    def summary(self) -> dict[str, Any]:
        """Content of summary.json, as dicts and lists."""
        return self.result.to_dict()


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Files that were checked against one another, ready to be scored."""

    task: Task
    notes: tuple[str, ...]
    """Lines for the user: what was repaired, dropped or left out."""

    @property
    def steps(self) -> int:
        """Scorings to come, for a progress bar."""
        return len(self.task.contexts()) * (len(self.task.models) + len(self.task.baselines) + self.task.ceiling)


def prepare(
    *,
    real: PopulationFile,
    predictions: Mapping[str, PopulationFile],
    training: TrainingData | None = None,
    options: ScoringSettings | None = None,
    other: CurrentCellEval | CellEval2 | None = None,
) -> Prepared:
    """Check the files against one another and put them side by side.

    Args:
        real: Real perturbed cells and the controls of their cell types.
        predictions: Name to prediction; the first is the one whose own cell-eval files are kept.
        training: For the baselines that learn.
        options: How to evaluate; ``None`` takes the defaults.
        other: Another evaluator that is to score everything too.

    Raises:
        InputError: Something cannot be compared, or is no counts where counts are to be scored.
    """
    options = options or ScoringSettings()
    named = _named_baselines(options, training)
    grammar = _grammar(real, predictions, training)
    real, predictions, training = _spell(real, predictions, training, grammar=grammar)
    _check_covariates(real, predictions, training)
    real, predictions = without_small_pairs(real, predictions, options.min_cells)
    real = real.with_shared_controls()
    predictions = {name: file.with_shared_controls() for name, file in predictions.items()}
    check_controls(real)
    check_scale(real)
    target_names = _target_names(real, grammar)
    if options.leave_out_targets:
        # Alignment compares genes, so the predictions leave out the same ones.
        real, predictions = _without_targets(real, predictions, target_names)
    models, notes = _models(real, predictions, options.control_policy)
    cells, controls = (real.population.select(chosen) for chosen in (~real.is_control, real.is_control))
    few = note_few_controls(_num_controls(cells, controls))
    notes += [*note_small_pairs(real), *([] if few is None else [f"warning: {few}"])]
    learnt = None
    if training is not None and named:
        learnt, training_notes = _learn(training, real, cells)
        notes += training_notes
    sets = None if options.gene_sets is None else open_gene_sets(options.gene_sets, real.population.genes)
    notes += [] if sets is None else [sets.note]
    baselines = tuple(name for name in named if learnt is not None or name in WITHOUT_TRAINING)
    left_out = [name for name in named if name not in baselines]
    if left_out:
        notes.append(f"no training data: baselines left out: {', '.join(left_out)}; --store gives them")
    task = Task(
        cells=cells,
        controls=controls,
        control=real.labels.control,
        models=models,
        baselines=baselines,
        training=learnt,
        ceiling=options.ceiling,
        engine=options.engine,
        seed=options.seed,
        current=other if isinstance(other, CurrentCellEval) else None,
        second=other if isinstance(other, CellEval2) else None,
        target_names=target_names,
        gene_sets=sets,
        batch_weights=_batch_weights(real),
        covariates=real.covariates,
    )
    if task.second is not None:
        check_counts(real, predictions)
    if task.by_replicate:
        notes += _check_replicates(real, predictions, task)
    return Prepared(task=task, notes=tuple(notes))


def _models(
    real: PopulationFile, predictions: Mapping[str, PopulationFile], control_policy: str
) -> tuple[tuple[Model, ...], list[str]]:
    """Return predictions put beside the real cells, and lines for the user."""
    notes, models = list(real.notes), []
    for name, file in predictions.items():
        if name in (*BASELINES, CEILING):
            raise InputError(f"{file.path}: {name!r} is the name of a baseline; give the model another with --name")
        pred = align(file, real)
        notes += pred.notes
        if file.sha256 == real.sha256:
            notes.append(f"warning: {file.path} is the real file: it is scored against itself")
        else:
            notes += note_copies(pred, real)
        for policy, suffix in _policies(control_policy):
            chosen, line = choose_controls(pred, real, policy)
            notes.append(f"control policy {policy}, {name}: {line}")
            predicted = pred.population.select(~pred.is_control)
            models.append(Model(name=name + suffix, cells=predicted, controls=chosen, sd=pred.predicted_sd.of_pair))
    return tuple(models), notes


def _check_covariates(
    real: PopulationFile, predictions: Mapping[str, PopulationFile], training: TrainingData | None
) -> None:
    """Refuse files whose contexts are not called by the same labels."""
    wanted = real.labels.keys.covariates
    others = [(str(file.path), file.labels.keys.covariates) for file in predictions.values()]
    others += [] if training is None else [(str(training.path), training.card.keys.covariates)]
    for path, keys in others:
        if len(keys) != len(wanted):
            raise InputError(
                f"{path}: expected as many covariates as {real.path} has ({', '.join(wanted) or 'none'}), found "
                f"{', '.join(keys) or 'none'}; --covariate-key names those of files without a data card"
            )


def _target_names(real: PopulationFile, grammar: Grammar) -> frozenset[str]:
    """Return the agents of the perturbations that are scored, the genes that they are named after among them."""
    labels = dict.fromkeys(real.population.perturbation[~real.is_control].astype(str).tolist())
    return frozenset(agent_names(labels, replace(grammar, controls=(real.labels.control,))))


def _without_targets(
    real: PopulationFile, predictions: Mapping[str, PopulationFile], names: frozenset[str]
) -> tuple[PopulationFile, dict[str, PopulationFile]]:
    """Leave out the genes that perturbations are named after, of every file."""
    out = [gene for gene in real.population.genes if gene in names]
    if len(out) == len(real.population.genes):
        raise InputError(f"{real.path}: --leave-out-targets leaves no gene; all are named like perturbations")
    line = f"--leave-out-targets: {len(out)} genes are left out of every metric{': ' + some(out) if out else ''}"
    note = line if out else f"warning: {line}; no perturbation is named like a gene"
    cut = {name: _of_genes(file, names) for name, file in predictions.items()}
    return replace(_of_genes(real, names), notes=(*real.notes, note)), cut


def _of_genes(file: PopulationFile, names: frozenset[str]) -> PopulationFile:
    kept = tuple(gene for gene in file.population.genes if gene not in names)
    return replace(file, population=file.population.with_genes(kept), predicted_sd=file.predicted_sd.with_genes(kept))


def _check_replicates(real: PopulationFile, predictions: Mapping[str, PopulationFile], task: Task) -> list[str]:
    """Return warnings of contexts with few replicates."""
    check_pydeseq2()
    check_counts(real, predictions, option="--de pydeseq2")
    warnings = []
    for name, cells, controls in (
        ("the real cells", task.cells, task.controls),
        *((model.name, model.cells, model.controls) for model in task.models),
    ):
        for context in task.contexts():
            parts = [side.select(side.cell_type == context) for side in (cells, controls)]
            labels = [
                np.concatenate([getattr(part, column) for part in parts]) for column in ("perturbation", "replicate")
            ]
            warning = check_replicates(labels[0], labels[1], where=f"{name}, {context}")
            warnings += [] if warning is None else [f"warning: {warning}"]
    return warnings


def check_counts(
    real: PopulationFile,
    predictions: Mapping[str, PopulationFile],
    *,
    option: str = f"--evaluator {CELL_EVAL2.option}",
) -> None:
    """Refuse files that were not read as counts.

    Raises:
        InputError: Naming the file.
    """
    for file in (*predictions.values(), real):
        if file.population.unit is None:
            raise InputError(f"{file.path}: {option} scores counts, found log1p values; {HOW_TO}")


def _named_baselines(options: ScoringSettings, training: TrainingData | None) -> tuple[str, ...]:
    """Return the baselines that are asked for; by default those that use vectors only where there are any."""
    has_features = training is not None and training.features is not None
    if options.baselines is None:
        return default_baselines(with_features=has_features)
    named = chosen_baselines(options.baselines)
    for name in named:
        if name in NEED_FEATURES and training is not None and not has_features:
            raise InputError(f"--baselines: {name} needs vectors of perturbations; --perturbation-features gives them")
    return named


def _num_controls(cells: Population, controls: Population) -> dict[tuple[str, str], int]:
    """Return of how many control cells the mean is that changes of each (cell type, batch) are counted from."""
    in_batch = Counter(zip(controls.cell_type.tolist(), controls.batch.tolist(), strict=True))
    in_cell_type = Counter(controls.cell_type.tolist())
    groups = sorted(set(zip(cells.cell_type.tolist(), cells.batch.tolist(), strict=True)))
    return {group: in_batch.get(group) or in_cell_type[group[0]] for group in groups}


def _grammar(
    real: PopulationFile, predictions: Mapping[str, PopulationFile], training: TrainingData | None
) -> Grammar:
    """How labels are read, as the first data card says that says it."""
    cards = [None if training is None else training.card, *(file.card for file in (real, *predictions.values()))]
    grammars = (grammar_of(card) for card in cards if card is not None)
    return next((grammar for grammar in grammars if grammar.combination or grammar.dose), Grammar())


def _spell(
    real: PopulationFile, predictions: Mapping[str, PopulationFile], training: TrainingData | None, *, grammar: Grammar
) -> tuple[PopulationFile, dict[str, PopulationFile], TrainingData | None]:
    """Spell each combination in one way, whichever order its agents have in a file."""
    if not grammar.combination and not grammar.dose:
        return real, dict(predictions), training
    if training is not None:
        own = replace(grammar, controls=(training.card.control,))
        groups = tuple(
            group._replace(perturbation=own.canonical(group.perturbation)) for group in training.means.groups
        )
        training = replace(training, means=replace(training.means, groups=groups))
    spelled = {name: file.spelled(grammar) for name, file in predictions.items()}
    return real.spelled(grammar), spelled, training


def _policies(policy: str) -> tuple[tuple[ControlPolicy, str], ...]:
    if policy == "both":
        return ("same-real", ""), ("predicted", OWN_CONTROLS)
    return ((cast(ControlPolicy, policy), ""),)


def _batch_weights(real: PopulationFile) -> dict[str, np.ndarray] | None:
    names = sorted(set(real.population.batch.astype(str).tolist()))
    return batch_weights(names) if MIN_UNITS <= len(names) <= _MAX_BATCHES else None


def evaluate(
    *,
    real: PopulationFile,
    predictions: Mapping[str, PopulationFile],
    out: Path,
    training: TrainingData | None = None,
    options: ScoringSettings | None = None,
    other: CurrentCellEval | CellEval2 | None = None,
    announce: Callable[[Prepared], None] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Evaluation:
    """Score predictions beside baselines and write the result folder.

    Args:
        real: Real perturbed cells and the controls of their cell types.
        predictions: Name to prediction.
        out: Result folder; replaced file by file, on success only.
        training: For the baselines that learn.
        options: How to evaluate; ``None`` takes the defaults.
        other: Another evaluator that is to score everything too.
        announce: Called once, when everything has been checked and nothing scored.
        progress: Called with ``context / model`` after each is done.

    Raises:
        InputError: Something cannot be compared; nothing is written.
        MetricError: A metric failed; nothing is written.
    """
    options = options or ScoringSettings()
    check_out(out)
    prepared = prepare(real=real, predictions=predictions, training=training, options=options, other=other)
    if announce is not None:
        announce(prepared)
    fallbacks = dict.fromkeys(("matching", *prepared.task.baselines), 0)
    shifts: list[Shift] = []
    draws: list[BatchDraws] = []
    with ResultFolder(out) as folder:
        for scored in score_contexts(prepared.task, progress, keep_tests=folder.add_tests):
            folder.add(scored)
            fallbacks = {name: count + scored.fallbacks.get(name, 0) for name, count in fallbacks.items()}
            shifts = _keep_strongest([*shifts, *scored.shifts], prepared.task, options.plot)
            draws += scored.batch_draws
        summary = make_summary(
            prepared.task,
            folder.scores(),
            control_policy=options.control_policy,
            notes=prepared.notes,
            fallbacks=fallbacks,
            draws=draws,
            contexts=folder.prefixes,
            inputs=_inputs(real, predictions, training),
        )
        summary = with_second(replace(summary, options=options.recorded), prepared.task, folder.second())
        if options.plot:
            from bionemo.scale.eval.output.plot import plot_changes

            plot_changes(shifts, model=prepared.task.models[0].name, path=folder.staging / "delta.png")
        folder.finish(summary.to_dict())
    return Evaluation(scores=folder.scores(), table=tables(summary), result=summary, out=out)


def _inputs(real: PopulationFile, predictions: Mapping[str, PopulationFile], training: TrainingData | None) -> Inputs:
    store = None
    if training is not None:
        store = InputStore(path=str(training.path), split_sha256=training.card.split_sha256)
    predicted = {name: input_file(file) for name, file in predictions.items()}
    return Inputs(real=input_file(real), pred=predicted, store=store)


def split_mismatch(training: TrainingData, predictions: Mapping[str, PopulationFile]) -> str | None:
    """Say why the store's training split is not that of a prediction's model, if so.

    Baselines fitted on another split may have seen what the model was not shown.
    """
    for file in predictions.values():
        theirs = None if file.card is None else file.card.split_sha256
        if theirs is not None and theirs != training.card.split_sha256:
            ours = training.card.split_sha256
            found = "has no split" if ours is None else f"has split {ours[:12]}"
            return f"{training.path}: {found}, the model of {file.path} was trained with split {theirs[:12]}"
    return None


def _keep_strongest(shifts: list[Shift], task: Task, plot: bool) -> list[Shift]:
    if not plot:
        return []
    from bionemo.scale.eval.output.plot import strongest

    return [shift.apart() for shift in strongest([one for one in shifts if one.model == task.models[0].name])]


def _learn(
    training: TrainingData, real: PopulationFile, evaluated: Population
) -> tuple[TrainingMeans | None, list[str]]:
    """Fit the baselines' pseudobulks on the genes of the real file."""
    card, genes = training.card, real.population.genes
    known = set(card.genes)
    missing = [gene for gene in genes if gene not in known]
    if missing:
        raise InputError(
            f"{training.path}: {len(missing)} of {len(genes)} genes of {real.path} are not in the store, "
            f"first {missing[0]!r}; expected the store the prediction's model was trained on"
        )
    theirs = None if real.card is None else real.card.scale
    if theirs is not None and (card.scale.target_sum, card.scale.source) != (theirs.target_sum, theirs.source):
        raise InputError(
            f"{training.path}: expression scale (target_sum {card.scale.target_sum:g}, from {card.scale.source}) is "
            f"not that of {real.path} (target_sum {theirs.target_sum:g}, from {theirs.source})"
        )
    column = {gene: index for index, gene in enumerate(card.genes)}
    groups = training.means
    if genes != tuple(card.genes):
        # A copy, which of thousands of perturbations is large.
        groups = groups.of_genes(np.array([column[gene] for gene in genes]))
    learnt = fit(groups, control=card.control, parse=grammar_of(card).parse, features=training.features)
    if learnt is None:
        return None, [f"{training.path}: its training split has no perturbed cells"]
    pairs, seen = evaluated.pairs(), _seen(evaluated, learnt, by_batch=training.by_batch)
    if not seen:
        return learnt, []
    return learnt, [
        f"warning: {len(seen)} of {len(pairs)} evaluated (cell type, perturbation) pairs are in the training split of "
        f"{training.path}: baselines have seen their mean, and so have models that were trained on it"
    ]


def _seen(evaluated: Population, learnt: TrainingMeans, *, by_batch: bool) -> set[tuple[str, str]]:
    """Return the evaluated pairs that the training split has; of a split by batch, in the same batch."""
    if not by_batch:
        return evaluated.pairs() & learnt.pairs
    trained = {(group.context, group.perturbation, group.batch) for group in learnt.groups.groups}
    labels = zip(evaluated.cell_type.tolist(), evaluated.perturbation.tolist(), evaluated.batch.tolist(), strict=True)
    return {label[:2] for label in set(labels) & trained}
