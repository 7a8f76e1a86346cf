# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The cells that a notebook scores: their names, labels and values, and their scores."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bionemo.scale.files.suggest import suggest
from bionemo.scale.notebook.bars import notebook_stream
from bionemo.scale.notebook.cells import CellsLike, GivenFiles, PathLike, given_files, is_anndata
from bionemo.scale.types import FileLabels, InputError


if TYPE_CHECKING:
    from bionemo.scale.eval.cells.population_file import PopulationFile
    from bionemo.scale.eval.evaluate import Evaluation, TrainingData


def named_predictions(pred: CellsLike | Mapping[str, CellsLike]) -> Mapping[str, CellsLike]:
    """Return predictions by the name they have in tables: that of their file, or of the argument."""
    if isinstance(pred, Mapping):
        return pred
    return {"prediction" if is_anndata(pred) else Path(cast(PathLike, pred)).stem: pred}


def labels_by_name(
    given: FileLabels | Mapping[str, FileLabels] | None, names: Sequence[str], default: FileLabels | None
) -> dict[str, FileLabels | None]:
    """Return how each prediction is labelled.

    Args:
        given: Of all predictions, or by name.
        names: Of the predictions.
        default: Of those that are not named.

    Raises:
        InputError: A name is none of the predictions.
    """
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, given or default)
    for name in given:
        if name not in names:
            raise InputError(f"pred_labels: no prediction {name!r}; {suggest(name, names)}")
    return {name: given.get(name, default) for name in names}


def read_cells(
    files: GivenFiles, cells: CellsLike, name: str, *, labels: FileLabels | None, replicate_key: str | None = None
) -> "PopulationFile":
    """Return cells as they are scored; those of a notebook are called by the argument, for their file goes away.

    Raises:
        InputError: They cannot be scored.
    """
    from bionemo.scale.eval.cells.read_population import read_population

    found = read_population(files.path(cells, name, matrix="X"), labels=labels, replicate_key=replicate_key)
    return replace(found, path=Path(name)) if is_anndata(cells) else found


def read_predictions(
    files: GivenFiles,
    named: Mapping[str, CellsLike],
    labels: Mapping[str, FileLabels | None],
    *,
    replicate_key: str | None = None,
) -> "dict[str, PopulationFile]":
    """Return predictions by name, as :func:`read_cells` reads them."""
    found = {}
    for row, (name, cells) in enumerate(named.items()):
        argument, own = f"pred-{row}" if row else "pred", labels[name]
        found[name] = read_cells(files, cells, argument, labels=own, replicate_key=replicate_key)
    return found


def score_cells(
    pred: CellsLike | Mapping[str, CellsLike],
    real: CellsLike,
    out: Path,
    *,
    store: PathLike | None,
    labels: FileLabels,
    pred_labels: FileLabels | Mapping[str, FileLabels] | None,
    options: dict[str, Any],
) -> "Evaluation":
    """Score cells as ``bionemo-scale-evaluate`` does; :func:`bionemo.scale.api.evaluate` says of what.

    Args:
        pred: Predicted cells.
        real: Measured cells and controls.
        out: Result folder.
        store: Training store.
        labels: Of files that do not name their own.
        pred_labels: Of predictions that differ.
        options: How to score, and ``perturbation_features``.

    Raises:
        InputError: The files cannot be compared.
    """
    # cell-eval's tables are small; more threads only fight the other processes of a node.
    os.environ.setdefault("POLARS_MAX_THREADS", "2")
    from bionemo.scale.eval.cell_eval.running import running_evaluator
    from bionemo.scale.eval.evaluate import check_counts, evaluate
    from bionemo.scale.eval.output.results import check_out
    from bionemo.scale.eval.progress import ScoringProgress
    from bionemo.scale.eval.settings import EvaluateSettings, ScoringSettings

    check_out(out)
    features = options.pop("perturbation_features", None)
    scoring = ScoringSettings.make(**options)
    EvaluateSettings.checked(keys=labels.keys, control=labels.control, target_sum=labels.target_sum)
    named, own = named_predictions(pred), None if labels == FileLabels() else labels
    labels_of, key = labels_by_name(pred_labels, list(named), own), scoring.replicate_key
    with given_files() as files, notebook_stream() as stream, ScoringProgress(stream) as progress:
        predictions = read_predictions(files, named, labels_of, replicate_key=key)
        training = None if store is None else _training(store, predictions)
        measured = read_cells(files, real, "real", labels=own, replicate_key=key)
        if features is not None and training is not None:
            from bionemo.scale.infer.training_data import with_vectors

            training = with_vectors(training, Path(features), measured)
        if scoring.evaluator == "cell-eval2":
            # Before an environment is made for nothing.
            check_counts(measured, predictions)
        with running_evaluator(scoring, progress.say) as other:
            return evaluate(
                real=measured,
                predictions=predictions,
                out=out,
                training=training,
                options=scoring,
                other=other,
                announce=lambda prepared: progress.start(prepared.steps),
                progress=progress.step,
            )


def _training(store: PathLike, predictions: "Mapping[str, PopulationFile]") -> "TrainingData":
    from bionemo.scale.eval.evaluate import split_mismatch
    from bionemo.scale.infer.training_data import training_data

    training = training_data(store)
    problem = split_mismatch(training, predictions)
    if problem is not None:
        raise InputError(problem)
    return training
