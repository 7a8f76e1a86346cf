# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Many perturbations together are compared as each by itself."""

import numpy as np
import pytest

from bionemo.scale.eval.cells.populations import rows_by_label
from bionemo.scale.eval.metrics import wilcoxon


def each_and_together(monkeypatch, *, labels, cells, controls):
    """Return the tests of perturbations one by one, and seven at a time."""
    genes = tuple(f"G{gene}" for gene in range(cells.shape[1]))
    rows = rows_by_label(labels)
    found = []
    for together in (1000, 7):
        monkeypatch.setattr(wilcoxon, "_TOGETHER", together)
        found.append(
            wilcoxon.rank_sum_tests(cells=cells, rows=rows, controls=controls, genes=genes, control="control")
        )
    return found


@pytest.mark.parametrize("controls", [5, 300])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_tests_of_many_are_those_of_each(monkeypatch, controls, shift):
    """Some values are negative, some are -0, and some perturbations have so few cells that the law is exact."""
    rng = np.random.default_rng(0)

    def cells(num):
        values = np.round(rng.exponential(size=(num, 23)) * rng.integers(0, 2, (num, 23)), 1) - shift
        values[:, :3] = rng.normal(size=(num, 3))
        return np.where(values == 0, rng.choice([0.0, -0.0], values.shape), values).astype(np.float32)

    labels = np.array([f"p{number}" for number in rng.integers(0, 60, 900)] + ["few"] * 4 + ["many"] * 70)
    one, many = each_and_together(monkeypatch, labels=labels, cells=cells(len(labels)), controls=cells(controls))
    assert not (one.columns["p_value"] == 1).all()
    assert one.frame().equals(many.frame())


def test_long_ties_of_many_controls(monkeypatch):
    """Thousands of controls have one value, at either end and in the middle; a gene has one value everywhere."""
    rng = np.random.default_rng(0)

    def cells(num):
        values = rng.choice([-1.5, -0.5, 0.0, 0.25, 2.0], (num, 8), p=[0.3, 0.1, 0.2, 0.1, 0.3])
        values[:, 0] = 0.25
        values[:, 1:4] += rng.choice([0.0, 1.0], (num, 3), p=[0.9, 0.1]) * rng.normal(size=(num, 3))
        return values.astype(np.float32)

    labels = np.repeat([f"p{number}" for number in range(60)], 50)
    perturbed, controls = cells(len(labels)), cells(20_000)
    perturbed[:50] += 3
    perturbed[50:100] -= 3
    one, many = each_and_together(monkeypatch, labels=labels, cells=perturbed, controls=controls)
    assert (many.columns["p_value"][0] < 1e-12).all(), "above all controls"
    assert one.frame().equals(many.frame())


def test_few_perturbations_and_large_ones_are_compared_one_by_one():
    assert not wilcoxon._together([10] * 31).any()
    assert wilcoxon._together([10] * 32 + [65]).tolist() == [True] * 32 + [False]
