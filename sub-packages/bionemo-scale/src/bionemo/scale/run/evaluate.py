# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""bionemo-scale-evaluate: predicted and real h5ad -> tables, next to baselines."""

from bionemo.scale.process import interrupt  # isort: skip  # noqa: F401 - before all others, so that an interrupt finds it

import os
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bionemo.scale.eval.settings import EvaluateSettings, ScoringSettings, model_names
from bionemo.scale.options.outputs import check_not_inputs
from bionemo.scale.options.parser import OptionParser, make_settings
from bionemo.scale.process.command import run_command
from bionemo.scale.process.imports import imports
from bionemo.scale.types import FileLabels, InputError


if TYPE_CHECKING:
    from bionemo.scale.eval.cells.population_file import PopulationFile
    from bionemo.scale.eval.evaluate import Prepared, TrainingData
    from bionemo.scale.eval.output.summary import Summary
    from bionemo.scale.eval.progress import ScoringProgress


def parser() -> OptionParser:
    """Return the command's options."""
    return OptionParser(
        EvaluateSettings,
        prog="bionemo-scale-evaluate",
        description="Score predicted perturbed cells against real ones with cell-eval, beside simple methods "
        "(baselines) and a ceiling. docs/evaluation.md defines every metric.",
        ways=(
            "--pred PRED.h5ad --real REAL.h5ad --out FOLDER [OPTIONS]",
            "--write-baselines FOLDER --real REAL.h5ad [OPTIONS]",
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(_evaluate, argv)


def _evaluate(argv: Sequence[str] | None) -> None:
    settings = make_settings(EvaluateSettings, parser().parse_args(argv))
    # cell-eval's tables are small; more threads only fight the other processes of a node.
    os.environ.setdefault("POLARS_MAX_THREADS", "2")
    from bionemo.scale.eval.progress import ScoringProgress

    with ScoringProgress() as progress:
        _read_and_score(settings, progress)


def _read_and_score(args: EvaluateSettings, progress: "ScoringProgress") -> None:
    with imports():
        from bionemo.scale.eval.cells.read_population import read_population
        from bionemo.scale.eval.output.results import check_out

    baselines = _baselines(args)
    if args.out is not None:
        check_out(args.out)
    if args.write_baselines is not None:
        check_not_inputs([args.write_baselines / f"{name}.h5ad" for name in baselines], [args.real, *args.pred])
    names = model_names(args.pred, args.name)

    def read(path: Path, labels: FileLabels | None) -> "PopulationFile":
        progress.stage(f"reading {path}")
        return read_population(path, labels=labels, replicate_key=args.replicate_key)

    real = read(args.real, args.labels)
    predictions = {
        name: read(path, labels) for name, path, labels in zip(names, args.pred, args.pred_labels, strict=True)
    }
    progress.stage("reading the means of the training store")
    training = _training(args.store, predictions or {"real": real}) if baselines else None
    if args.perturbation_features is not None and baselines:
        training = _described(training, args.perturbation_features, real)
    progress.stage("comparing the files")
    options = args.scoring(baselines=baselines)
    if args.write_baselines is not None:
        progress.stage("writing baselines")
        _write_baselines(args.write_baselines, real, training, options=options)
    if predictions:
        _score(args, real, predictions, training=training, options=options, progress=progress)


def _score(
    args: EvaluateSettings,
    real: "PopulationFile",
    predictions: "dict[str, PopulationFile]",
    *,
    training: "TrainingData | None",
    options: ScoringSettings,
    progress: "ScoringProgress",
) -> None:
    with imports():
        from bionemo.scale.eval.cell_eval.adapter import metric_columns
        from bionemo.scale.eval.cell_eval.running import running_evaluator
        from bionemo.scale.eval.evaluate import check_counts, evaluate

        # Imports cell-eval.
        metric_columns()
    assert args.out is not None, "checked by the settings"
    if args.evaluator == "cell-eval2":
        # Before an environment is made for nothing.
        check_counts(real, predictions)
    with running_evaluator(options, partial(print, flush=True)) as evaluator:
        evaluation = evaluate(
            real=real,
            predictions=predictions,
            out=args.out,
            training=training,
            options=options,
            other=evaluator,
            announce=partial(_announce, progress),
            progress=progress.step,
        )
    _show(evaluation.result, evaluation.table, args.out)


def _baselines(args: EvaluateSettings) -> tuple[str, ...]:
    from bionemo.scale.eval.baselines.estimators import chosen_baselines, default_baselines

    if args.no_baselines:
        return ()
    if args.baselines is None:
        return default_baselines(with_features=args.perturbation_features is not None)
    return chosen_baselines(args.baselines)


def _write_baselines(
    folder: Path, real: "PopulationFile", training: "TrainingData | None", *, options: ScoringSettings
) -> None:
    from bionemo.scale.eval.evaluate import prepare
    from bionemo.scale.eval.output.baseline_files import write_baselines

    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder for the baselines, found a file")
    prepared = prepare(real=real, predictions={}, training=training, options=options)
    _print_notes(prepared)
    uns = {"store": "" if training is None else str(training.path), "seed": options.seed}
    if real.card is not None:
        uns["card"] = real.card.to_json()
    for path in write_baselines(prepared.task, folder, keys=real.labels.keys, uns=uns):
        print(f"wrote {path}")


def _training(given: Path | None, predictions: "dict[str, PopulationFile]") -> "TrainingData | None":
    """Open the store the user names, or the one a prediction names where it is still there and fits."""
    from bionemo.scale.eval.evaluate import split_mismatch
    from bionemo.scale.infer.training_data import training_data

    if given is not None:
        training = training_data(given)
        problem = split_mismatch(training, predictions)
        if problem is not None:
            raise InputError(problem)
        return training
    named = [Path(file.store) for file in predictions.values() if file.store]
    existing = [path for path in named if path.exists()]
    if not existing:
        return None
    training = training_data(existing[0])
    problem = split_mismatch(training, predictions)
    if problem is not None:
        print(f"note: {problem}: not used for baselines")
        return None
    return training


def _described(training: "TrainingData | None", features: Path, real: "PopulationFile") -> "TrainingData":
    """Return training data with the vectors of a file."""
    from bionemo.scale.infer.training_data import with_vectors

    if training is None:
        raise InputError("--perturbation-features: baselines that use vectors learn from a store; --store gives it")
    return with_vectors(training, features, real)


def _print_notes(prepared: "Prepared") -> None:
    for note in prepared.notes:
        print(note if note.startswith("warning: ") else f"note: {note}", flush=True)


def _announce(progress: "ScoringProgress", prepared: "Prepared") -> None:
    _print_notes(prepared)
    progress.start(prepared.steps)


def _show(summary: "Summary", table: str, out: Path) -> None:
    from bionemo.scale.eval.output.summary import controls_said
    from bionemo.scale.eval.output.table import comparisons

    controls, pairs = controls_said(summary.control_policy), f"{summary.pairs} (cell type, perturbation) pairs"
    baselines = summary.baselines
    for name, count in baselines.fallback_cells.items():
        if count:
            cells = f"{count} of {baselines.cells} cells"
            what = (
                f"{cells} have no control of their batch"
                if name == "matching"
                else f"{name} uses its fallback for {cells}"
            )
            print(f"note: {what}")
    print(f"\ncontrols: {controls}; means over {pairs}")
    print(table)
    for line in comparisons(summary.against_best_baseline, interval="95 % bootstrap intervals"):
        print(line)
    print(f"\nresults in {out}\nnext      bionemo-scale-report {shlex.quote(str(out))}")


if __name__ == "__main__":
    sys.exit(main())
