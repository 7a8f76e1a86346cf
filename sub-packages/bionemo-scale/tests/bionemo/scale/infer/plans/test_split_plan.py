# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which controls of a store an estimate has from its plan."""

from pathlib import Path

import numpy as np
import pytest

from bionemo.scale import api
from bionemo.scale.data.store.reader import Store
from bionemo.scale.infer.controls.control_cells import controls_of_store
from bionemo.scale.infer.plans.controls_plan import ControlsPlan
from bionemo.scale.infer.plans.split_plan import SplitPlan
from bionemo.scale.types import Split


SPLIT = '[training]\nscreen = "train"\n[zeroshot]\n"screen.A" = "test"\n'


@pytest.fixture
def open_store(screen, tmp_path):
    def make(text: str) -> Store:
        (tmp_path / "split.toml").write_text(text)
        api.prepare(screen, tmp_path / "store", split=tmp_path / "split.toml", datasets=["screen"])
        return Store.open(tmp_path / "store")

    return make


def plans_of(store: Store) -> list:
    cells = controls_of_store(store, ("A",), limit=3, seed=0)
    screen = ControlsPlan(
        cells, store.card, store.card.perturbations, source=Path("store"), set_size=8, seed=0, store=store
    )
    return [SplitPlan(store, Split.TEST, set_size=8, seed=0), screen]


def test_controls_that_are_held_out_are_given_to_the_estimate(open_store):
    with open_store(SPLIT + '[controls]\n"screen.A" = "test"\n') as store:
        expected = store.pseudobulks(
            np.array([i for i in np.flatnonzero(store.groups.is_control) if store.groups.label(i).cell_type == "A"])
        )
        for plan in plans_of(store):
            found = plan.control_groups()
            assert found.groups == expected.groups and len(found.groups) > 0
            np.testing.assert_array_equal(found.means, expected.means)


def test_controls_that_were_trained_are_not_given_again(open_store):
    with open_store(SPLIT) as store:
        assert [plan.control_groups() for plan in plans_of(store)] == [None, None]


def test_the_share_of_controls_that_have_a_gene(open_store):
    """Each control of the groups' batches counts once, however many groups share it."""
    with open_store(SPLIT) as store:
        plan = SplitPlan(store, Split.TEST, set_size=8, seed=0)
        groups = store.groups.perturbed_in(Split.TEST).tolist()
        batches = {store.groups.label(group).batch for group in groups}
        labels = {int(index): store.groups.label(index) for index in np.flatnonzero(store.groups.is_control)}
        of = {
            batch: np.concatenate(
                [store.groups.rows(index) for index, at in labels.items() if (at.cell_type, at.batch) == ("A", batch)]
            )
            for batch in batches
        }
        shares = {batch: (store.read(rows).toarray() > 0) for batch, rows in of.items()}
        for group in groups:
            expected = shares[store.groups.label(group).batch].mean(axis=0)
            np.testing.assert_allclose(plan.control_detection([group]), expected)
        together = np.concatenate([shares[batch] for batch in sorted(batches)]).mean(axis=0)
        np.testing.assert_allclose(plan.control_detection(groups), together)
