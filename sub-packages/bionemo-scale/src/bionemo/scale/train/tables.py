# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a new network is told of its training data: the tables in RUN/tables.npz.

A checkpoint holds them too (as buffers, and as the decoder's initial bias), so they are read once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bionemo.scale.data.labels.agents import Agents, agents_of, read_features
from bionemo.scale.estimate.features import AgentFeatures
from bionemo.scale.eval.baselines.training_means import mean_changes
from bionemo.scale.files.labels.grammar import Grammar, agent_names
from bionemo.scale.files.writing.atomic import write_arrays
from bionemo.scale.model.scale_model import ScaleModel, held
from bionemo.scale.types import DataCard, GroupMeans, InputError


TABLES_NAME = "tables.npz"


@dataclass(frozen=True, kw_only=True)
class Perturbations:
    """What the perturbation labels of a run are made of."""

    agents: Agents
    features: np.ndarray | None
    """[agents, F] float32 as they stand in the user's file; ``None`` without one."""

    def agent_features(self, training: GroupMeans, grammar: Grammar, *, control: str) -> AgentFeatures | None:
        """Return the vectors as the classical estimate uses them, on the scale of the agents that are trained."""
        if self.features is None:
            return None
        labels = dict.fromkeys(group.perturbation for group in training.groups if group.perturbation != control)
        trained = agents_of(list(labels), grammar).names
        return AgentFeatures.of(self.agents.names, self.features).fitted_to(trained)


def read_perturbations(labels: Sequence[str], grammar: Grammar, features: Path | None) -> Perturbations:
    """Take labels apart and read the features of their agents.

    Raises:
        InputError: If a label or the file cannot be read.
    """
    agents = agents_of(labels, grammar)
    vectors = None if features is None else read_features(features, agents.names)
    if vectors is not None and len(vectors) > 1 and (vectors == vectors[0]).all():
        raise InputError(f"{features}: expected vectors that differ, found those of all perturbations alike")
    return Perturbations(agents=agents, features=vectors)


def card_of_training(
    card: DataCard, training: GroupMeans, grammar: Grammar, *, known: Mapping[str, Collection[str]] | None = None
) -> DataCard:
    """Note the cell types, covariates and agents that no perturbed training cell has, and how labels are read.

    Args:
        card: Of the store.
        training: Pseudobulks of the training split.
        grammar: How labels are read.
        known: From :func:`trained_labels` of the checkpoint which training starts from; they count as trained.
    """
    card = replace(card, combination_separator=grammar.combination, dose_separator=grammar.dose)
    perturbed = [group for group in training.groups if group.perturbation != card.control]
    trained = _by_kind(
        card,
        cell_types={group.cell_type for group in perturbed},
        agents=agent_names({group.perturbation for group in perturbed}, grammar),
        covariates=[{group.covariates[column] for group in perturbed} for column in range(len(card.covariates))],
    )
    left = {
        kind: tuple(name for name in names if name not in trained[kind] and name not in (known or {}).get(kind, ()))
        for kind, names in _labels_of(card, grammar).items()
    }
    cell_types, agents, *covariates = left.values()
    return replace(
        card, untrained_cell_types=cell_types, untrained_agents=agents, untrained_covariates=tuple(covariates)
    )


def trained_labels(card: DataCard, grammar: Grammar) -> dict[str, frozenset[str]]:
    """Return the labels of each kind that a network was trained on; all that it has where it did not note which.

    Args:
        card: Of the network's checkpoint.
        grammar: How its labels are read.
    """
    untrained = _by_kind(
        card,
        cell_types=card.untrained_cell_types,
        agents=card.untrained_agents or (),
        covariates=card.untrained_covariates or [()] * len(card.covariates),
    )
    return {kind: frozenset(names).difference(untrained[kind]) for kind, names in _labels_of(card, grammar).items()}


def _labels_of(card: DataCard, grammar: Grammar) -> dict[str, Collection[str]]:
    agents = agent_names(card.perturbations, grammar)
    return _by_kind(card, cell_types=card.cell_types, agents=agents, covariates=card.covariates)


def _by_kind(
    card: DataCard,
    *,
    cell_types: Collection[str],
    agents: Collection[str],
    covariates: Sequence[Collection[str]],
) -> dict[str, Collection[str]]:
    """Return labels under the names of their kinds, in a fixed order: a covariate has that of its column."""
    columns = (f"covariate {name}" for name in card.keys.covariates)
    return {"cell type": cell_types, "agent": agents, **dict(zip(columns, covariates, strict=True))}


def write_tables(path: Path, card: DataCard, training: GroupMeans, *, perturbations: Perturbations) -> None:
    """Write the tables of a run.

    Args:
        path: File to write.
        card: Labels and genes.
        training: Pseudobulks of the training split.
        perturbations: Their agents and features; each column of features is brought to mean 0 and standard deviation
            1.
    """
    tables = {
        "mean_expression": np.average(training.means, axis=0, weights=training.counts).astype(np.float32),
        "effects": _effects(card, training),
        "members": perturbations.agents.members,
        "doses": perturbations.agents.doses,
    }
    features = perturbations.features
    if features is not None:
        tables["feature_mean"] = features.mean(axis=0)
        tables["feature_scale"] = np.where(features.std(axis=0) > 0, features.std(axis=0), 1.0).astype(np.float32)
        tables["features"] = (features - tables["feature_mean"]) / tables["feature_scale"]
    write_arrays(path, tables)


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
        encoder = held(model.condition_encoder).perturbation
        _fill(encoder.members, tables["members"])
        for name, table in (("doses", "doses"), ("feature_table", "features")):
            if getattr(encoder, name) is not None:
                _fill(getattr(encoder, name), tables[table])
        for name in ("feature_mean", "feature_scale"):
            if getattr(encoder, name) is not None:
                getattr(encoder, name).copy_(tables[name])


def set_decoder_bias(model: ScaleModel, path: str) -> None:
    """Let a new decoder start at the mean expression of the training data; from zero that takes hundreds of steps."""
    if not model.post_process:
        return
    with np.load(path, allow_pickle=False) as file:
        mean = torch.from_numpy(file["mean_expression"]) / model.config.expression_divisor
    held(model.expression_decoder).mlp.linear_fc2.bias.data.copy_(mean)


def _fill(buffer: torch.Tensor, rows: torch.Tensor) -> None:
    """Set the first rows; those of control and of the unknown label stay as they are."""
    buffer[: len(rows)] = rows.to(buffer)


def _effects(card: DataCard, training: GroupMeans) -> np.ndarray:
    """Return the mean effect of each perturbation over its training contexts, zero where it has none."""
    changes = mean_changes(training, control=card.control)
    nothing = np.zeros(len(card.genes))
    return np.stack([changes.get(name, nothing) for name in card.perturbations]).astype(np.float32)
