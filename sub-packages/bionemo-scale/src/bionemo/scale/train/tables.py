# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a new network is told of its training data: the tables in RUN/tables.npz.

A checkpoint holds them too (as buffers, and as the decoder's initial bias), so they are read once.
"""

from pathlib import Path

import numpy as np
import torch

from bionemo.scale.data.agents import Agents
from bionemo.scale.eval.training_means import fit
from bionemo.scale.model.scale_model import ScaleModel
from bionemo.scale.types import DataCard, GroupMeans, InputError


TABLES_NAME = "tables.npz"


def write_tables(
    path: Path, card: DataCard, training: GroupMeans, *, agents: Agents, features: np.ndarray | None
) -> None:
    """Write the tables of a run.

    Args:
        path: File to write.
        card: Labels and genes.
        training: Pseudobulks of the training split.
        agents: What the perturbation labels are made of.
        features: [agents, F] or ``None``; each column is brought to mean 0 and standard deviation 1.
    """
    tables = {
        "mean_expression": np.average(training.means, axis=0, weights=training.counts).astype(np.float32),
        "effects": _effects(card, training),
        "members": agents.members,
        "doses": agents.doses,
    }
    if features is not None:
        tables["feature_mean"] = features.mean(axis=0)
        tables["feature_scale"] = np.where(features.std(axis=0) > 0, features.std(axis=0), 1.0).astype(np.float32)
        tables["features"] = (features - tables["feature_mean"]) / tables["feature_scale"]
    with path.open("wb") as file:
        np.savez(file, **tables)


def load_tables(model: ScaleModel, path: str) -> None:
    """Set what a network knows of labels and genes.

    Raises:
        InputError: If the file does not exist.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: expected the run's tables, found no such file")
    with np.load(path, allow_pickle=False) as file:
        tables = {name: torch.from_numpy(file[name]) for name in file.files}
    _fill(model.effects, tables["effects"])
    if model.pre_process:
        encoder = model.condition_encoder.perturbation
        _fill(encoder.members, tables["members"])
        for name, table in (("doses", "doses"), ("feature_table", "features")):
            if hasattr(encoder, name):
                _fill(getattr(encoder, name), tables[table])
        for name in ("feature_mean", "feature_scale"):
            if hasattr(encoder, name):
                getattr(encoder, name).copy_(tables[name])


def set_decoder_bias(model: ScaleModel, path: str) -> None:
    """Let a new decoder start at the mean expression of the training data; from zero that takes hundreds of steps."""
    if not model.post_process:
        return
    with np.load(path, allow_pickle=False) as file:
        mean = torch.from_numpy(file["mean_expression"]) / model.config.expression_divisor
    model.expression_decoder.mlp.linear_fc2.bias.data.copy_(mean)


def _fill(buffer: torch.Tensor, rows: torch.Tensor) -> None:
    """Set the first rows; those of control and of the unknown label stay as they are."""
    buffer[: len(rows)] = rows.to(buffer)


def _effects(card: DataCard, training: GroupMeans) -> np.ndarray:
    """Return the mean effect of each perturbation over its training contexts, zero where it has none."""
    means = fit(training, control=card.control)
    changes = {} if means is None else means.changes
    nothing = np.zeros(len(card.genes))
    return np.stack([changes.get(name, nothing) for name in card.perturbations]).astype(np.float32)
