# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import polars as pl
import pytest

from bionemo.scale.eval.metrics.many import gene_tests
from bionemo.scale.eval.metrics.many.gene_tests import GeneTests


@pytest.fixture
def frame() -> pl.DataFrame:
    """A table of pdex: perturbations by their first cell, all genes of one together."""
    targets = ["b", "c", "a"]
    return pl.DataFrame(
        {
            "target": np.repeat(targets, 4).tolist(),
            "reference": ["control"] * 12,
            "feature": ["G1", "G2", "G3", "G4"] * 3,
            "target_mean": pl.Series(np.arange(12), dtype=pl.Float32),
            "fdr": np.arange(12) / 100,
        }
    )


def test_arrays_have_perturbations_sorted_and_the_table_as_it_was(frame):
    tests = GeneTests.of_frame(frame, 4)
    assert (tests.names, tests.genes, tests.control) == (("a", "b", "c"), ("G1", "G2", "G3", "G4"), "control")
    np.testing.assert_array_equal(tests.columns["target_mean"], [[8, 9, 10, 11], [0, 1, 2, 3], [4, 5, 6, 7]])
    assert tests.numbers("target_mean").dtype == np.float64
    assert tests.frame().equals(frame) and tests.frame().schema == frame.schema


@pytest.mark.parametrize("rows", [1, 8, 100])
def test_parts_are_the_whole_table(frame, monkeypatch, rows):
    monkeypatch.setattr(gene_tests, "_ROWS_AT_ONCE", rows)
    parts = list(GeneTests.of_frame(frame, 4).frames())
    assert len(parts) == {1: 3, 8: 2, 100: 1}[rows]
    assert pl.concat(parts).equals(frame)


def test_columns_can_be_let_go(frame):
    assert GeneTests.of_frame(frame, 4).only("fdr").frame().equals(frame.drop("target_mean"))
