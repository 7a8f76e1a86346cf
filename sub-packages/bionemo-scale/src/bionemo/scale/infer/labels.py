# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Labels that a model was not trained on, and the rows of its tables that stand for them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bionemo.scale.data.labels.agents import agents_of, feature_names, read_features
from bionemo.scale.files.label_list import settle_labels
from bionemo.scale.files.labels.grammar import Grammar, grammar_of
from bionemo.scale.files.suggest import suggest
from bionemo.scale.infer.trained_model import LoadedModel
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.scale_model import held
from bionemo.scale.types import DataCard, InputError


@dataclass(frozen=True, kw_only=True)
class ModelRows:
    """Which row of the network's tables stands for a label of a data card, new labels included."""

    cell_type: np.ndarray
    """[cell types of the card] int64; untrained ones have the unknown row where training hid labels."""
    perturbation: np.ndarray
    """[perturbations of the card] int64; control and the unknown label stand between the trained and the new ones."""
    batch: np.ndarray
    """[batches of the card] int64."""
    covariates: tuple[np.ndarray, ...] = ()
    """[values of the card] int64 of each covariate, as cell types."""

    def of_covariates(self, codes: Sequence[Sequence[int]]) -> np.ndarray:
        """Return [sets, K] int64 rows of the sets' values, which are rows of the card."""
        table = np.array(codes, dtype=np.int64).reshape(len(codes), len(self.covariates))
        return np.column_stack([rows[table[:, number]] for number, rows in enumerate(self.covariates)] or [table])


def model_rows(card: DataCard, config: ScaleModelConfig) -> ModelRows:
    """Return the rows of a card's labels."""
    cell_type = np.minimum(np.arange(len(card.cell_types)), config.num_cell_types)
    # Without dropout in training no gradient has touched the unknown row either.
    if config.cell_type_dropout > 0:
        cell_type[[card.cell_types.index(name) for name in card.untrained_cell_types]] = config.num_cell_types
    perturbation = np.arange(len(card.perturbations))
    return ModelRows(
        cell_type=cell_type,
        perturbation=np.where(perturbation < config.num_perturbations, perturbation, perturbation + 2),
        batch=np.minimum(np.arange(len(card.batches)), config.num_batches),
        covariates=tuple(_covariate_rows(number, card, config) for number in range(len(card.covariates))),
    )


def _covariate_rows(number: int, card: DataCard, config: ScaleModelConfig) -> np.ndarray:
    names, unknown = card.covariates[number], config.covariate_sizes[number]
    rows = np.minimum(np.arange(len(names)), unknown)
    if config.covariate_dropout > 0 and card.untrained_covariates:
        rows[[names.index(name) for name in card.untrained_covariates[number]]] = unknown
    return rows


def asked_perturbations(loaded: LoadedModel, given: Sequence[str], features: Path | None) -> tuple[str, ...]:
    """Return the labels of ``--perturbations``, or of a Python list, as the model spells those that it knows.

    Texts are split where a comma is no part of a label; "B+A" is the "A+B" of the training data.

    Args:
        loaded: The model.
        given: From :func:`bionemo.scale.files.label_list.given_labels`.
        features: File that describes others.

    Raises:
        InputError: If a label cannot be read, or is the control.
    """
    known = (*loaded.card.perturbations, *loaded.card.all_controls)
    if features is not None and any("," in text and text not in known for text in given):
        known = (*known, *feature_names(features))
    grammar = _grammar(loaded)
    spelled = {grammar.canonical(name): name for name in loaded.card.perturbations}
    asked = settle_labels(given, known)
    for name in asked:
        if grammar.canonical(name) == loaded.card.control:
            raise InputError(
                f"--perturbations: {name!r} is the control, from whose cells predictions start; expected "
                "perturbations, leave it out"
            )
    return tuple(dict.fromkeys(spelled.setdefault(grammar.canonical(name), name) for name in asked))


def with_new_perturbations(loaded: LoadedModel, names: Sequence[str], features: Path | None) -> LoadedModel:
    """Return a model that also knows labels made of agents it knew, or that features describe.

    Args:
        loaded: The model, which stays as it is.
        names: Perturbations; those it knows change nothing.
        features: File of :func:`~bionemo.scale.data.labels.agents.read_features` for agents that it was not trained
            on.

    Returns:
        A model with the same weights and a data card that has the new labels at its end.

    Raises:
        InputError: A label names an agent that the model does not know and that cannot be described to it.
    """
    card, config = loaded.card, loaded.model.config
    new = list(dict.fromkeys(name for name in names if name not in card.perturbations))
    if features is not None and config.perturbation_source == "learned":
        raise InputError(f"{features}: the model was trained without perturbation features and cannot use them")
    if not new:
        return loaded
    grammar = _grammar(loaded)
    known = agents_of(card.perturbations[: config.num_perturbations], grammar).names
    agents = agents_of(new, grammar, known=known)
    described = agents.names[len(known) :]
    if described and features is None:
        raise InputError(_unknown(described[0], known, config, card=card))
    table = None if features is None or not described else torch.from_numpy(read_features(features, described))
    encoder = held(loaded.model.condition_encoder).perturbation
    # Described agents follow the trained ones, control, the unknown one and those described before.
    first = encoder.feature_table.shape[0] if described else 0
    members = np.where(agents.members < len(known), agents.members, agents.members - len(known) + first)
    model = loaded.model.with_perturbations(
        torch.from_numpy(members), doses=torch.from_numpy(agents.doses), features=table
    )
    estimate = loaded.estimate
    if estimate is not None and table is not None:
        estimate = estimate.described(described, table.numpy())
    new_card = replace(card, perturbations=(*card.perturbations, *new))
    return replace(loaded, model=model, card=new_card, estimate=estimate)


def _grammar(loaded: LoadedModel) -> Grammar:
    config = loaded.model.config
    return grammar_of(loaded.card, combination=config.combination_separator, dose=config.dose_separator)


def with_unknown_contexts(
    loaded: LoadedModel,
    *,
    cell_types: Iterable[str],
    batches: Iterable[str],
    covariates: Sequence[Iterable[str]] = (),
) -> LoadedModel:
    """Let a model predict cell types, batches and covariates that it was not trained on, under its unknown label.

    Raises:
        InputError: Labels are new and training never hid labels of that kind.
    """
    card, config = loaded.card, loaded.model.config
    asked = {"cell_types": (cell_types, config.cell_type_dropout), "batches": (batches, config.batch_dropout)}
    fields: dict[str, Any] = {}
    for field, (labels, dropout) in asked.items():
        known = getattr(card, field)
        new = tuple(name for name in dict.fromkeys(labels) if name not in known)
        if new and not dropout:
            raise InputError(
                f"{loaded.path}: trained without an unknown label for {field.replace('_', ' ')}, cannot predict "
                f"{new[0]!r}"
            )
        fields[field] = (*known, *new)
    if covariates:
        values = zip(card.keys.covariates, card.covariates, covariates, strict=True)
        fields["covariates"] = tuple(
            (*known, *_new_values(loaded, key, known, asked=labels)) for key, known, labels in values
        )
    return replace(loaded, card=replace(card, **fields))


def _new_values(loaded: LoadedModel, key: str, known: Sequence[str], *, asked: Iterable[str]) -> tuple[str, ...]:
    new = tuple(name for name in dict.fromkeys(asked) if name not in known)
    if new and not loaded.model.config.covariate_dropout:
        raise InputError(f"{loaded.path}: trained without an unknown label for {key}, cannot predict {new[0]!r}")
    return new


def _unknown(agent: str, known: Sequence[str], config: ScaleModelConfig, *, card: DataCard) -> str:
    hint = suggest(agent, list(dict.fromkeys([*card.perturbations, *known])))
    together = [name for name in re.split(r"[+@_|&]", agent) if name in known]
    if len(together) > 1:
        hint = (
            f"{' and '.join(together)} are known alone; --combination-separator of bionemo-scale-prepare reads pairs"
        )
    if config.perturbation_source != "learned":
        hint += "; --perturbation-features can describe it"
    return f"--perturbations: unknown perturbation {agent!r}; {hint}"
