# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Baselines as files: what a baseline predicts, in the same h5ad that a model's prediction is in."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from bionemo.scale.eval.baselines.estimators import BASELINES
from bionemo.scale.eval.cells.populations import Population
from bionemo.scale.eval.scores.scoring import baseline_targets, context_matches
from bionemo.scale.eval.scores.task import Task
from bionemo.scale.files.writing.h5ad_writer import H5adWriter
from bionemo.scale.types import ObsKeys, cell_type_of


class Writer(Protocol):
    """Takes the rows of X block by block; a context manager."""

    def append(self, block: np.ndarray) -> None:
        """Write the next rows."""


def write_baselines(
    task: Task,
    folder: Path,
    *,
    keys: ObsKeys,
    uns: dict[str, Any],
) -> list[Path]:
    """Write ``<baseline>.h5ad`` for each baseline of a task: its predicted cells, then the real controls.

    Args:
        task: Real cells, controls and training means; its models are not used.
        folder: Where the files go.
        keys: obs columns to write labels under.
        uns: Provenance of every file; ``baseline`` is added.

    Returns:
        The files, in the order of the task's baselines.
    """
    contexts = task.contexts()
    perturbed, controls = (
        pd.concat([_obs(_of(side, context), keys, task.covariates) for context in contexts])
        for side in (task.cells, task.controls)
    )
    obs = pd.concat([perturbed, controls])
    obs.index = [f"predicted_{row}" for row in range(len(perturbed))] + [
        f"control_{row}" for row in range(len(controls))
    ]
    paths = []
    for name in task.baselines:
        path = folder / f"{name}.h5ad"
        notes = {"bionemo_scale": {**uns, "baseline": name}}
        with H5adWriter(path, obs=obs.astype("category"), genes=task.cells.genes, uns=notes, dense=True) as writer:
            for block in _predicted(task, name, contexts):
                writer.append(block)
            for context in contexts:
                writer.append(_of(task.controls, context).dense())
        paths.append(path)
    return paths


def _predicted(task: Task, name: str, contexts: list[str]) -> Iterator[np.ndarray]:
    for context in contexts:
        cells, controls = _of(task.cells, context), _of(task.controls, context)
        matches = context_matches(task, context, cells, controls=controls)
        yield BASELINES[name](
            baseline_targets(task, context, cells, controls=controls.dense(), matches=matches)
        ).expression


def _of(population: Population, context: str) -> Population:
    return population.select(population.cell_type == context)


def _obs(population: Population, keys: ObsKeys, covariates: Mapping[str, tuple[str, ...]]) -> pd.DataFrame:
    contexts = population.cell_type.tolist()
    cell_types = [cell_type_of(name, covariates.get(name, ())) for name in contexts]
    of_cells = {key: [covariates[name][column] for name in contexts] for column, key in enumerate(keys.covariates)}
    # The context may be the batch, as in a screen of replicates: one column then says both.
    columns = {**of_cells, keys.batch: population.batch, keys.cell_type: cell_types}
    return pd.DataFrame({**columns, keys.perturbation: population.perturbation}).astype(str)
