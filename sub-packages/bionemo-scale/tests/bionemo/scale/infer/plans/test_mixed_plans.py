# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions whose sets hold cells of several batches, as those of training did."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from bionemo.scale.data.prepare.preprocess import prepare
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.data.sets.populations import set_sizes
from bionemo.scale.data.store.reader import Store
from bionemo.scale.infer.controls.control_cells import ControlCells
from bionemo.scale.infer.generate import encode_controls, perturb
from bionemo.scale.infer.plans.controls_plan import ControlsPlan
from bionemo.scale.infer.plans.split_plan import SplitPlan
from bionemo.scale.infer.predict import predict_all
from bionemo.scale.infer.trained_model import LoadedModel
from bionemo.scale.types import DataCard, ExpressionScale, ObsKeys, Split


EXAMPLES = Path(__file__).parents[7] / "examples"
CARD = DataCard(
    genes=tuple(f"g{i}" for i in range(24)),
    cell_types=("T", "B", "NK"),
    perturbations=("A", "B", "C", "D"),
    batches=("1", "2"),
    control="control",
    scale=ExpressionScale(),
    keys=ObsKeys(),
)


@pytest.fixture(scope="module")
def cells() -> ControlCells:
    """75 controls of two cell types in two batches each, in random order."""
    rng = np.random.default_rng(0)
    values = rng.poisson(1.0, size=(75, 24)).astype(np.float32)
    contexts = rng.permutation(np.repeat([0, 1, 2, 3], [3, 30, 22, 20]))
    return ControlCells(
        expression=csr_matrix(np.log1p(values)),
        cell_type=np.array(["T", "T", "B", "B"], dtype=object)[contexts],
        batch=np.array(["1", "2", "1", "2"], dtype=object)[contexts],
        names=np.array([f"cell{i}" for i in range(75)], dtype=object),
    )


@pytest.fixture(scope="module")
def kang_store(tmp_path_factory) -> Store:
    out = tmp_path_factory.mktemp("kang") / "store"
    prepare(
        PrepareSettings(
            inputs=(EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad",),
            datasets=("kang",),
            out=out,
            split=EXAMPLES / "splits" / "kang.toml",
            library_size_key="n_counts_full",
            num_hvg=200,
        )
    )
    return Store.open(out)


def plan_of(cells: ControlCells, *names: str) -> ControlsPlan:
    return ControlsPlan(cells, CARD, names, source=Path("cells.h5ad"), set_size=16, seed=3, sets="mixed")


def loaded_with(model) -> LoadedModel:
    return LoadedModel(model=model.eval(), card=CARD, path=Path("run"))


def pieces_of(plan):
    """(control set, first, size) of each set, in the plan's order."""
    return list(zip(plan.control_set.tolist(), plan.first.tolist(), plan.sizes.tolist(), strict=True))


def assert_sets_of_one_label(plan):
    """A set and a population have one label each, and neighbours of one population are together."""
    labels = plan.obs.drop(columns="control_cell").astype(str).agg("|".join, axis=1).to_numpy()
    of_set = np.repeat(np.arange(len(plan.sizes)), plan.sizes)
    for numbers in (of_set, plan.population[of_set]):
        assert len(set(zip(numbers, labels, strict=True))) == len(set(numbers))
    assert (np.diff(plan.population) >= 0).all()


def test_a_screen_has_every_control_under_every_perturbation_once(cells):
    plan = plan_of(cells, "C", "A")
    pairs = plan.obs.assign(control_cell=plan.obs["control_cell"].astype(str))[["perturbation", "control_cell"]]
    assert len(plan.obs) == 150 and not pairs.duplicated().any()
    label = dict(zip(cells.names, zip(cells.cell_type, cells.batch, strict=True), strict=True))
    assert [label[name] for name in plan.obs["control_cell"]] == list(
        zip(plan.obs["cell_type"], plan.obs["batch"], strict=True)
    )
    assert set(plan.control_sizes.tolist()) <= set(set_sizes(16, "mixed"))
    assert any(isinstance(item.batch, np.ndarray) and len(set(item.batch)) > 1 for item in plan.controls([0, 1, 2]))
    assert_sets_of_one_label(plan)


def test_a_part_of_a_set_gets_what_the_set_gets(cells, make_model):
    """The network sees the whole set, with the batch of every cell, whichever cells of it are asked for."""
    model = make_model(generation="decode", sets="mixed", set_size=16)
    plan = plan_of(cells, "B", "D")
    found = predict_all(loaded_with(model), plan)
    ends = np.cumsum(plan.sizes)
    for number, (control_set, first, size) in enumerate(pieces_of(plan)):
        (controls,) = plan.controls([control_set])
        labels = {"cell_type": torch.tensor([controls.cell_type]), "batch": torch.from_numpy(controls.batch)[None]}
        expression = torch.from_numpy(controls.expression.toarray())[None]
        encoded = encode_controls(model, expression, seed=torch.tensor([controls.seed]), **labels)
        (whole,) = perturb(model, encoded, torch.tensor([plan.perturbation[number]]))
        np.testing.assert_allclose(
            found[ends[number] - size : ends[number]], whole[first : first + size], rtol=1e-4, atol=1e-5
        )


def test_each_batch_gets_its_own_mean(cells, make_model):
    """Contrast moves the cells of a batch from the mean of their own controls, by the change of their whole set."""
    model = make_model(generation="contrast", sets="mixed", set_size=16, counted_zeros=False, additive_share=0.0)
    few = cells.take(np.flatnonzero(cells.cell_type == "T")[:16])
    plan = plan_of(few, "B")
    found, changes = predict_all(loaded_with(model), plan), []
    assert plan.sizes.sum() == 16 and set(plan.control_set) == {0} and len(plan.sizes) == 2
    for first, size in zip(np.cumsum(plan.sizes) - plan.sizes, plan.sizes, strict=True):
        names = plan.obs["control_cell"].to_numpy()[first : first + size]
        rows = [list(few.names).index(name) for name in names]
        changes.append(found[first : first + size].mean(0) - few.expression[rows].toarray().mean(0))
    # No mean is below zero, so that a gene without counts in a batch may differ.
    agree = np.isclose(changes[0], changes[1], atol=1e-4)
    assert agree.mean() > 0.5


def test_a_split_is_predicted_in_store_order(kang_store):
    mixed, one = (SplitPlan(kang_store, Split.TEST, set_size=32, seed=0, sets=sets) for sets in ("mixed", "batch"))
    np.testing.assert_array_equal(mixed.rows, one.rows)
    labels = ["cell_type", "perturbation", "batch"]
    assert mixed.obs[labels].astype(str).equals(one.obs[labels].astype(str))
    assert_sets_of_one_label(mixed)
    assert set(mixed.control_sizes.tolist()) <= set(set_sizes(32, "mixed")) and (one.first == 0).all()
    np.testing.assert_array_equal(mixed.control_rows(), one.control_rows())
    # Fewer, larger sets go through the network.
    assert len(mixed.control_sizes) < len(one.control_sizes)
    groups = kang_store.groups
    for number in range(0, len(mixed.sizes), 5):
        group = mixed.group(number)
        (controls,) = mixed.controls([int(mixed.control_set[number])])
        own = controls.part(int(mixed.first[number]), int(mixed.sizes[number]))
        assert own.expression.shape[0] == mixed.sizes[number]
        assert {groups.batches[batch] for batch in np.atleast_1d(own.batch)} == {group.batch}
        np.testing.assert_array_equal(mixed.population_mean(number), mixed.control_pool(number).mean)
