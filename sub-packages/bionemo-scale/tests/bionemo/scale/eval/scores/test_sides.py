# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from bionemo.scale.eval.scores.sides import Side, make_side, share_batches


@pytest.fixture
def side(papalexi_population) -> Side:
    return side_of(papalexi_population)


def side_of(population, *, by_batch: bool = True) -> Side:
    is_control = population.perturbation == "control"
    parts = population.select(~is_control), population.select(is_control)
    return make_side(*parts, control="control", engine="fast", by_batch=by_batch)


def test_means_and_changes(side, papalexi_population):
    cells = papalexi_population
    names = list(side.rows)
    assert names == ["ATF2", "IFNGR2", "JAK2", "SPI1", "STAT1"]
    control = cells.dense()[cells.perturbation == "control"].astype(np.float64).mean(axis=0)
    for row, name in enumerate(names):
        mean = cells.dense()[cells.perturbation == name].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(side.means[row], mean)
        np.testing.assert_allclose(side.changes[row], mean - control)


def test_genes_stand_in_the_order_of_the_perturbations(side):
    """Differential expression lists perturbations by their first cell, everything else by name."""
    assert list(side.rows) != side.tests.frame()["target"].unique(maintain_order=True).to_list()
    genes, frame = side.tested_genes(side.control_mean), side.tests.frame()
    for row, name in enumerate(side.rows):
        np.testing.assert_array_equal(genes.fdr[row], frame.filter(frame["target"] == name)["fdr"].to_numpy())


def test_pseudobulks_of_batches_add_up(side):
    weights = {name: np.ones(1) for name in ("rep_1", "rep_2")}
    for row, name in enumerate(side.rows):
        np.testing.assert_allclose(side.bulks[name].mean(weights)[0], side.means[row])
    np.testing.assert_allclose(side.bulks["control"].mean(weights)[0], side.control_mean)


def test_batches_that_differ_anywhere_are_not_shared(side, papalexi_population):
    assert share_batches(side, side)
    batch = papalexi_population.batch.copy()
    batch[papalexi_population.perturbation == "SPI1"] = "rep_9"
    assert not share_batches(side_of(replace(papalexi_population, batch=batch)), side)
    assert not share_batches(side_of(papalexi_population, by_batch=False), side)
