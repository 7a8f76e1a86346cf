# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What baselines learn from: the training split of a store."""

import os
from functools import partial
from pathlib import Path

from bionemo.scale.data.labels.agents import read_features
from bionemo.scale.data.store.reader import Store
from bionemo.scale.eval.cells.population_file import PopulationFile
from bionemo.scale.eval.evaluate import TrainingData
from bionemo.scale.types import Split


def training_data(path: str | os.PathLike[str]) -> TrainingData:
    """Read the pseudobulks of a store's training split.

    Raises:
        InputError: The store cannot be used.
    """
    with Store.open(path) as store:
        return TrainingData(
            path=Path(path),
            card=store.card,
            means=store.group_means(Split.TRAIN),
            by_batch=store.is_split_by_batch,
        )


def with_vectors(training: TrainingData, path: Path, real: PopulationFile) -> TrainingData:
    """Return training data with the vectors of a file, of all agents that it has and of those that are scored.

    Raises:
        InputError: The file cannot be read, or an agent has no vector.
    """
    return training.described(partial(read_features, path), real)
