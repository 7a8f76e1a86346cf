# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Few and many perturbations are ranked alike, whichever controls a prediction has."""

from dataclasses import replace

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from bionemo.scale.eval.cells.populations import Population
from bionemo.scale.eval.scores import discrimination
from bionemo.scale.eval.scores.discrimination import Compared
from bionemo.scale.eval.scores.sides import make_side


GENES = tuple(f"g{number}" for number in range(12))
NAMES = [*GENES[:3], "p1", "p2", "p3"]


def side(seed, *, controls):
    rng = np.random.default_rng(seed)

    def cells(labels, mean):
        labels = np.array(labels, dtype=object)
        return Population(
            expression=np.log1p(rng.poisson(mean, (len(labels), len(GENES)))).astype(np.float32),
            genes=GENES,
            perturbation=labels,
            cell_type=np.full(len(labels), "A", dtype=object),
            batch=np.full(len(labels), "b", dtype=object),
        )

    perturbed = cells(NAMES * 5, 3 + 3 * rng.random((5 * len(NAMES), len(GENES))))
    return make_side(
        perturbed,
        cells(["control"] * 20, controls),
        control="control",
        engine="fast",
        by_batch=False,
        target_names=frozenset(NAMES),
    )


@pytest.mark.parametrize("controls", [2, 4])
def test_many_perturbations_are_ranked_as_few(monkeypatch, controls):
    pred, real = side(0, controls=controls), side(1, controls=2)
    assert real.own_gene.tolist() == [0, 1, 2, -1, -1, -1] and real.targets.sum() == 3
    found = []
    for limit in (128, 2):
        monkeypatch.setattr(discrimination, "AT_ONCE", limit)
        compared = Compared(pred=pred, real=real)
        table = compared.cell_eval("control")
        found.append({**compared.ranks(), **{name: table[name].to_numpy() for name in table.columns[1:]}})
    assert found[0].keys() == found[1].keys()
    for name, few in found[0].items():
        np.testing.assert_allclose(found[1][name], few, rtol=1e-6, atol=1e-6, equal_nan=True, err_msg=name)
    assert len(set(found[0]["pds_panel"])) > 2
    assert not np.array_equal(found[0]["paper_pds_l1"], found[0]["discrimination_score_l1"])


@pytest.mark.parametrize("silent", [0, 2, len(NAMES)])
def test_many_perturbations_are_described_as_few(monkeypatch, silent):
    """A perturbation without a significant gene has no value, which is no value of NaN in the mean of a context."""
    pred, real = side(0, controls=2), side(1, controls=2)
    quiet = np.isin(real.tests.names, NAMES[len(NAMES) - silent :])
    fdr = np.where(quiet[:, None], 1.0, np.arange(real.means.size).reshape(real.means.shape) % 4 * 0.04)
    real = replace(real, tests=replace(real.tests, columns={**real.tests.columns, "fdr": fdr}))
    found = []
    for limit in (128, 2):
        monkeypatch.setattr(discrimination, "AT_ONCE", limit)
        found.append(Compared(pred=pred, real=real).cell_eval("control").drop("perturbation"))
    few, many = found
    assert_frame_equal(many.null_count(), few.null_count())
    assert_frame_equal(many.describe(), few.describe(), rel_tol=1e-6, abs_tol=1e-6)
    assert many["de_sig_genes_recall"].null_count() == silent
