# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
import torch

from bionemo.scale.data.labels.agents import agents_of
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.train.tables import (
    Perturbations,
    card_of_training,
    load_tables,
    read_perturbations,
    set_decoder_bias,
    trained_labels,
    write_tables,
)
from bionemo.scale.types import DataCard, ExpressionScale, Group, GroupMeans, InputError, ObsKeys


LABELS = ("A@1", "B@10", "A@1+B@100", "C")


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Tables of four labels and three agents; only A@1 has training cells, in one of two contexts."""
    card = DataCard(
        genes=tuple(f"g{i}" for i in range(24)),
        cell_types=("T", "B", "NK"),
        perturbations=LABELS,
        batches=("1", "2"),
        control="control",
        scale=ExpressionScale(),
        keys=ObsKeys(),
    )
    groups = (Group("d", "T", "control", "1"), Group("d", "T", "A@1", "1"), Group("d", "B", "control", "1"))
    means = np.stack([np.full(24, 1.0), np.full(24, 3.0), np.full(24, 2.0)])
    training = GroupMeans(groups=groups, means=means, counts=np.array([10, 10, 20]))
    path = tmp_path / "tables.npz"
    agents = agents_of(LABELS, Grammar(combination="+", dose="@"))
    write_tables(
        path, card, training, perturbations=Perturbations(agents=agents, features=np.float32([[1, 5], [2, 5], [3, 5]]))
    )
    return path


@pytest.fixture
def network(make_model, tables: Path):
    model = make_model(
        num_agents=3,
        max_agents=2,
        combination_separator="+",
        dose_separator="@",
        perturbation_source="both",
        feature_size=2,
    )
    load_tables(model, str(tables))
    return model


def test_labels_know_their_agents_and_doses(network):
    encoder = network.condition_encoder.perturbation
    assert encoder.members.tolist() == [[0, -1], [1, -1], [0, 1], [2, -1], [3, -1], [4, -1]]
    assert encoder.doses[:4].tolist() == [[1, -1], [10, -1], [1, 100], [-1, -1]]
    assert encoder.doses[4:].tolist() == [[-1, -1], [-1, -1]]


def test_features_are_standardised_and_constant_columns_are_zero(network):
    encoder = network.condition_encoder.perturbation
    spread = np.sqrt(2 / 3)
    torch.testing.assert_close(encoder.feature_table[:3, 0], torch.tensor([-1 / spread, 0, 1 / spread]).float())
    assert not encoder.feature_table[:, 1].any() and not encoder.feature_table[3:].any()
    # New agents are brought to the same scale.
    encoder = encoder.with_labels(torch.tensor([[5]]), features=torch.tensor([[3.0, 5]]))
    torch.testing.assert_close(encoder.feature_table[5], encoder.feature_table[2])


def test_effects_are_training_means_and_zero_where_there_are_none(network):
    assert torch.equal(network.effects[0], torch.full((24,), 2.0))
    assert not network.effects[1:].any()


def test_a_new_decoder_starts_at_the_mean_of_all_training_cells(network, tables):
    set_decoder_bias(network, str(tables))
    with torch.no_grad():
        network.expression_decoder.mlp.linear_fc2.weight.zero_()
    torch.testing.assert_close(network.decode(torch.zeros(1, 1, 32)), torch.full((1, 1, 24), (10 + 30 + 40) / 40))


def test_missing_tables_are_refused(model, tmp_path):
    with pytest.raises(InputError, match=r"tables.npz: expected the run's tables"):
        load_tables(model, str(tmp_path / "tables.npz"))


def test_cell_types_without_perturbed_training_cells_are_noted():
    card = DataCard(
        genes=("g",),
        cell_types=("T", "B", "NK"),
        perturbations=("A",),
        batches=("1",),
        control="control",
        scale=ExpressionScale(),
        keys=ObsKeys(),
    )
    groups = (Group("d", "T", "A", "1"), Group("d", "B", "control", "1"), Group("d", "T", "control", "1"))
    training = GroupMeans(groups=groups, means=np.zeros((3, 1)), counts=np.array([1, 1, 1]))
    assert card_of_training(card, training, Grammar()).untrained_cell_types == ("B", "NK")


def test_labels_that_a_checkpoint_was_trained_on_stay_known():
    """Fine-tuning that holds out what the first run has learned predicts it under its own label."""
    labels = {"genes": ("g",), "batches": ("1",), "control": "control", "scale": ExpressionScale()}
    keys = ObsKeys(covariate="time,modality")
    first = DataCard(
        **labels,
        cell_types=("NK", "B"),
        perturbations=("A", "C"),
        keys=ObsKeys(covariate="time"),
        covariates=(("24h", "x"),),
        untrained_cell_types=("NK",),
        untrained_agents=("C",),
        untrained_covariates=(("x",),),
    )
    known = trained_labels(first, Grammar())
    assert known == {"cell type": {"B"}, "agent": {"A"}, "covariate time": {"24h"}}
    times = (("0h", "24h", "6h", "x"), ("24h", "y"))
    card = DataCard(**labels, cell_types=("T", "B", "NK"), perturbations=("A", "C", "D"), keys=keys, covariates=times)
    groups = (Group("d", "T", "D", "1", ("6h", "y")), Group("d", "B", "control", "1", ("0h", "y")))
    training = GroupMeans(groups=groups, means=np.zeros((2, 1)), counts=np.array([1, 1]))
    found = card_of_training(card, training, Grammar(), known=known)
    assert (found.untrained_cell_types, found.untrained_agents) == (("NK",), ("C",))
    assert found.untrained_covariates == (("0h", "x"), ("24h",)), "the modality 24h is another one than the time"
    # A run that continues starts from its own checkpoint.
    again = card_of_training(card, training, Grammar(), known=trained_labels(found, Grammar()))
    assert again == found


def test_a_checkpoint_that_did_not_note_it_knows_all_its_labels():
    card = DataCard(
        genes=("g",),
        cell_types=("T",),
        perturbations=("A", "A+B"),
        batches=("1",),
        control="control",
        scale=ExpressionScale(),
        keys=ObsKeys(covariate="time"),
        covariates=(("24h",),),
    )
    known = trained_labels(card, Grammar(combination="+"))
    assert known == {"cell type": {"T"}, "agent": {"A", "B"}, "covariate time": {"24h"}}


def test_agents_that_no_training_cell_has_are_noted():
    card = DataCard(
        genes=("g",),
        cell_types=("T",),
        perturbations=("A", "A+B", "C", "C+D"),
        batches=("1",),
        control="control",
        scale=ExpressionScale(),
        keys=ObsKeys(),
    )
    groups = (Group("d", "T", "A+B", "1"), Group("d", "T", "control", "1"))
    training = GroupMeans(groups=groups, means=np.zeros((2, 1)), counts=np.array([1, 1]))
    found = card_of_training(card, training, Grammar(combination="+"))
    assert found.untrained_agents == ("C", "D")
    known = card_of_training(card, training, Grammar(combination="+"), known={"agent": {"D", "E"}})
    assert known.untrained_agents == ("C",)
    assert DataCard.from_json(found.to_json()) == found
    # A store does not know.
    assert card.untrained_agents is None and "untrained_agents" not in card.to_dict()


def test_covariates_without_perturbed_training_cells_are_noted():
    card = DataCard(
        genes=("g",),
        cell_types=("T",),
        perturbations=("A",),
        batches=("1",),
        control="control",
        scale=ExpressionScale(),
        keys=ObsKeys(covariate="time,modality"),
        covariates=(("0h", "24h", "6h"), ("x", "y")),
    )
    groups = (Group("d", "T", "control", "1", ("0h", "x")), Group("d", "T", "A", "1", ("6h", "y")))
    training = GroupMeans(groups=groups, means=np.ones((2, 1)), counts=np.array([1, 1]))
    found = card_of_training(card, training, Grammar())
    assert found.untrained_covariates == (("0h", "24h"), ("x",))
    assert DataCard.from_json(found.to_json()) == found


def test_vectors_that_are_all_alike_are_refused(tmp_path):
    path = tmp_path / "features.csv"
    path.write_text("gene,a,b\nA,1,2\nB,1,2\n")
    with pytest.raises(InputError, match=r"features.csv: expected vectors that differ, found those of all"):
        read_perturbations(["A", "B"], Grammar(), path)
    path.write_text("gene,a,b\nA,1,2\nB,1,3\n")
    assert read_perturbations(["A", "B"], Grammar(), path).features is not None
