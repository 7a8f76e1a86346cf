# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""STATE as a row of the suite: its own commands, on the training cells of every fold of a cross-validation.

STATE trains on every cell of its file, so each fold's file has the fold's training cells and all controls. It predicts
the cells that the fold leaves out from their controls, and the evaluator of the other rows scores it.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from bionemo.scale import api
from bionemo.scale.crossval.crossval import PREDICTED, SCORES, STORE
from bionemo.scale.crossval.pooled import ScoredFold, read_fold
from bionemo.scale.data.store.reader import Store
from bionemo.scale.eval.output.summarise import metric_names
from bionemo.scale.eval.output.summary import MetricSummary
from bionemo.scale.types import InputError, Split


HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from compare import STATE_SETTINGS, state_data_settings  # noqa: E402
from state_data import collect, write, write_test  # noqa: E402


STATE = "STATE"
_FOLDER, _RUN = "state", "state-run"
"""In the folder of a fold: what STATE reads and writes; and therein its run."""


@dataclass(frozen=True, kw_only=True)
class StateRun:
    """How STATE is trained."""

    env: Path
    """Environment that has arc-state."""
    steps: int
    seed: int


def with_state(fold: ScoredFold, folder: Path, run: StateRun) -> ScoredFold:
    """Return a fold with STATE among its baselines; what is finished is read.

    Args:
        fold: The scores of the other rows.
        folder: Of the fold.
        run: How STATE is trained.
    """
    work = folder / f"{_FOLDER}-{run.steps}-seed{run.seed}"
    if not (work / SCORES / "summary.json").is_file():
        _predict(folder, work, run)
        api.evaluate({STATE: work / "pred.h5ad"}, folder / PREDICTED / "adata_real.h5ad", work / SCORES, baselines=())
    scored = read_fold(fold.name, work)
    names, found = fold.summary.names, scored.summary.models[STATE]
    # Some metrics need the training data, which these scores were made without.
    without = MetricSummary(mean=None, n=0, undefined=fold.summary.pairs, why={})
    row = {column: found.get(column, without) for column in metric_names(fold.scores)}
    summary = replace(
        fold.summary,
        models=fold.summary.models | {STATE: row},
        names=replace(names, baselines=[*names.baselines, STATE]),
    )
    rows = scored.scores.filter(pl.col("model") == STATE)
    # A column without a value is read as text.
    types = {column: kind for column, kind in fold.scores.schema.items() if column in rows.columns}
    scores = pl.concat([fold.scores, rows.select(*types).cast(types)], how="diagonal_relaxed")
    return replace(fold, scores=scores, summary=summary)


def _predict(folder: Path, work: Path, run: StateRun) -> None:
    real = folder / PREDICTED / "adata_real.h5ad"
    (work / "data").mkdir(parents=True, exist_ok=True)
    with Store.open(folder / STORE) as store:
        chosen = np.concatenate([store.groups.perturbed_in(Split.TRAIN), np.flatnonzero(store.groups.is_control)])
        rows = np.concatenate([store.groups.rows(index) for index in np.sort(chosen)])
        screen = work / "data" / "screen.h5ad"
        write(screen, store.read(rows), store.obs(rows), store.card.genes)
        (work / "split.toml").write_text(
            f'[datasets]\nscreen = "{screen.resolve()}"\n\n[training]\nscreen = "train"\n'
        )
        write_test(store, real, work / "test.h5ad")
    settings = [*state_data_settings(work), *STATE_SETTINGS, f"name={_RUN}", f"training.train_seed={run.seed}"]
    settings += [f"training.max_steps={run.steps}", f"training.val_freq={run.steps}"]
    _call(work, [run.env / "bin" / "state", "tx", "train", *settings])
    labels = ["--pert-col", "perturbation", "--celltype-col", "cell_type", "--batch-col", "batch"]
    files = ["--model-dir", work / _RUN, "--adata", work / "test.h5ad", "--output", work / "simulated.h5ad"]
    options = ["--embed-key", "X_hvg", "--control-pert", "control", "--seed", run.seed]
    _call(work, [run.env / "bin" / "state", "tx", "infer", *files, *labels, *options])
    collect(work / "simulated.h5ad", real, work / "pred.h5ad")


def _call(work: Path, command: Sequence[object]) -> None:
    log = work / "log.txt"
    with log.open("a") as file:
        if subprocess.run([str(part) for part in command], stdout=file, stderr=file).returncode:
            raise InputError(f"{log}: STATE failed; its last lines say why")
