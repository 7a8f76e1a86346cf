# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Every column of cell-eval by arrays, against cell-eval itself."""

import numpy as np
import polars as pl
import pytest

from bionemo.scale.eval.cell_eval.adapter import metric_columns, run_cell_eval
from bionemo.scale.eval.cells.populations import to_anndata
from bionemo.scale.eval.metrics.many.cell_eval_columns import CellEvalInput, cell_eval_columns
from bionemo.scale.eval.metrics.many.nearness import all_nearness


GENES = tuple(f"g{number:03}" for number in range(130))


def side(rng, names, *, significant, truth=None):
    """Means, and tests with ties, with p-values of 0 and of 1, and with the limits of fold changes."""
    shape = len(names), len(GENES)
    control = rng.gamma(1, 1, len(GENES))
    means = control + rng.normal(0, 0.3, shape) if truth is None else (truth.means + rng.normal(0, 0.3, shape)) / 1.5
    few = np.where(rng.random(shape) < 0.2, 0, rng.choice([0.01, 0.0499999999, 1e-12, 1e-50], shape))
    many = np.where(rng.random(shape) < 0.5, rng.choice([0.05, 0.2, 0.9999999, 1.0], shape), rng.random(shape))
    fdr = np.where(rng.random(shape) < significant[:, None], few, many)
    fdr[significant == 0] = np.maximum(fdr[significant == 0], 0.06)
    fold = np.where(rng.random(shape) < 0.3, rng.choice([20.0, 1 / 20, 1.0, 2.0, 0.5], shape), rng.gamma(1, 1, shape))
    return CellEvalInput(means=np.abs(means), control_mean=control, fdr=fdr, fold_change=fold)


def table(tested, names):
    size = tested.fdr.size
    return pl.DataFrame(
        {
            "target": np.repeat(names, len(GENES)).tolist(),
            "feature": list(GENES) * len(names),
            "fold_change": tested.fold_change.reshape(-1),
            "p_value": np.zeros(size),
            "fdr": tested.fdr.reshape(-1),
        }
    )


def bulks(tested, names):
    expression = np.concatenate([tested.means, tested.control_mean[None]]).astype(np.float32)
    return to_anndata(expression=expression, perturbation=np.array([*names, "ctrl"], dtype=object), genes=GENES)


def by_both(pred, real, names):
    theirs = run_cell_eval(
        pred=bulks(pred, names),
        real=bulks(real, names),
        de_pred=table(pred, names),
        de_real=table(real, names),
        control="ctrl",
    )
    assert theirs["perturbation"].to_list() == list(names)
    own_gene = np.array([GENES.index(name) if name in GENES else -1 for name in names])
    changes = [tested.means - tested.control_mean for tested in (pred, real)]
    nearness = all_nearness(*changes, own_gene=own_gene, targets=np.zeros(len(GENES), dtype=bool))
    return theirs, cell_eval_columns(pred, real, nearness)


def compare(theirs, ours):
    assert set(ours.columns) == set(metric_columns())
    for name in metric_columns():
        np.testing.assert_array_equal(ours[name].is_null(), theirs[name].is_null(), err_msg=name)
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-6, equal_nan=True, err_msg=name)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_cell_eval(seed):
    rng = np.random.default_rng(seed)
    names = [*GENES[:10], *(f"p{number:02}" for number in range(20))]
    shares = [rng.choice([0.0, 0.01, 0.1, 0.6, 1.0], len(names)) for _ in range(2)]
    real = side(rng, names, significant=shares[1])
    theirs, ours = by_both(side(rng, names, significant=shares[0], truth=real), real, names)
    compare(theirs, ours)
    assert 0 < ours["overlap_at_50"].max() < 1 and 0 < ours["de_direction_match"].null_count() < len(names)
    assert ours["roc_auc"].drop_nans().n_unique() > 1 and ours["roc_auc"].is_nan().any()


def test_changes_of_nothing():
    """They are as far by cosine as what is at right angles, so some real changes are closer and others are not."""
    rng, names = np.random.default_rng(4), [*GENES[:10], *(f"p{number:02}" for number in range(20))]
    real, pred = (side(rng, names, significant=np.full(len(names), 0.3)) for _ in range(2))
    real.means[3] = real.control_mean
    theirs, ours = by_both(pred, real, names)
    compare(theirs, ours)
    assert 0 < ours["discrimination_score_cosine"][3] < 1
    # All real changes are then as far away, which cell-eval orders by chance.
    pred.means[5] = pred.control_mean
    theirs, ours = by_both(pred, real, names)
    compare(*(table[[row for row in range(len(names)) if row != 5]] for table in (theirs, ours)))
    assert ours["discrimination_score_cosine"][5] == pytest.approx(1 - (len(names) - 1) / 2 / len(names))


@pytest.mark.parametrize("which", ["pred", "real", "both"])
def test_nothing_significant(which):
    rng, names = np.random.default_rng(3), [f"p{number}" for number in range(5)]
    some, none = np.full(5, 0.3), np.zeros(5)
    nothing = {"pred": (none, some), "real": (some, none), "both": (none, none)}[which]
    pred, real = (side(rng, names, significant=share) for share in nothing)
    theirs, ours = by_both(pred, real, names)
    compare(theirs, ours)
    assert (ours["overlap_at_N"] == 0).all()
