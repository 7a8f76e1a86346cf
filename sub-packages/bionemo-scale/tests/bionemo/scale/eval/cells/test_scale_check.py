# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Every refusal names the file, what was expected and what was found."""

import numpy as np
import pytest

from bionemo.scale.eval.cells.alignment import align
from bionemo.scale.eval.cells.scale_check import check_scale
from bionemo.scale.types import ExpressionScale, FileLabels, InputError


@pytest.mark.parametrize("scale", [ExpressionScale(target_sum=1e6), ExpressionScale(source="log1p")])
def test_another_scale(card_of, read, kang, scale):
    real = read(kang, "real.h5ad", card=card_of(kang))
    with pytest.raises(InputError, match=r"pred.h5ad: expression scale .* is not that of .*real.h5ad"):
        align(read(kang, card=card_of(kang, scale=scale)), real)


def test_a_division_by_ten_on_one_side_is_refused(read, kang):
    """The paper's "rescaled by a constant factor of 10" belongs into the model; metrics are in log1p space."""
    predicted, real = kang.copy(), kang.copy()
    predicted.X = kang.X.multiply(np.random.default_rng(0).uniform(0.08, 0.12, kang.shape)).tocsr()
    with pytest.raises(
        InputError, match=r"pred.h5ad: mean expression is 0.1 times .* division by 10 .*; multiply its X"
    ):
        align(read(predicted), read(kang, "real.h5ad"))
    real.X = kang.X / 10
    with pytest.raises(InputError, match=r"real.h5ad: .*looks like log1p divided by 10"):
        read(real, "real.h5ad")


def test_a_prediction_of_this_package_may_be_far_too_high(read, card_of, kang):
    """As of a network that has not converged: its file says the scale, and no value is more than a cell can hold."""
    high = kang.copy()
    share = float(kang.X.mean())
    high.X = np.full(kang.shape, 10 * share, dtype=np.float32)
    high.X[:, ::2] *= np.random.default_rng(0).uniform(0.8, 1.2, high.X[:, ::2].shape).astype(np.float32)
    notes = align(read(high, card=card_of(kang)), read(kang, "real.h5ad", card=card_of(kang))).notes
    assert "mean expression is 9.35 times that of" in notes[-1] and "on the same scale?" in notes[-1]
    assert align(read(high), read(kang, "real.h5ad")).notes[-1] == notes[-1]


def test_a_model_that_predicts_too_little_is_scored(read, kang):
    """A tenth on average, but not in every gene: the output of a collapsed model, and no division."""
    little = kang.copy()
    factors = np.random.default_rng(0).permutation(np.geomspace(0.003, 0.6, kang.n_vars))
    little.X = (kang.X.toarray() * factors).astype(np.float32)
    little.X *= 0.1 * float(kang.X.mean()) / float(little.X.mean())
    notes = align(read(little), read(kang, "real.h5ad")).notes
    assert notes[-1].startswith("warning: pred.h5ad: mean expression is 0.0992 times that of real.h5ad")


def test_another_constant_factor_is_a_warning(read, kang):
    other = kang.copy()
    other.X = other.X / 4
    notes = align(read(other), read(kang, "real.h5ad")).notes
    assert notes[-1] == "warning: pred.h5ad: mean expression is 0.25 times that of real.h5ad: on the same scale?"


@pytest.mark.parametrize("change", [lambda x: x / np.log(2), lambda x: np.log1p(np.expm1(x) / 10)])
def test_another_logarithm_or_target_sum_of_a_prediction_is_a_warning(read, kang, change):
    other = kang.copy()
    # Without whole multiples of a count, which would show it.
    noise = np.random.default_rng(0).uniform(0.8, 1.2, kang.shape)
    other.X = change(kang.X.toarray() * noise).astype(np.float32)
    (note,) = [line for line in align(read(other), read(kang, "real.h5ad")).notes if line.startswith("warning: ")]
    assert note.endswith("times that of real.h5ad: on the same scale?")
    quiet = kang.copy()
    quiet.X = kang.X * 1.2
    assert not [line for line in align(read(quiet), read(kang, "real.h5ad")).notes if line.startswith("warning: ")]


def test_measured_cells_must_be_on_the_scale_that_is_said_of_them(card_of, read, kang):
    """Predictions show no trace of how they were scaled, and need none."""
    noise = np.random.default_rng(0).uniform(0.8, 1.2, kang.shape)
    smooth = kang.copy()
    smooth.X = kang.X.multiply(noise).tocsr().astype(np.float32)
    assert check_scale(read(smooth), is_measured=False) is None
    with pytest.raises(InputError, match="pred.h5ad: .*SoupX.* give --values log1p with --target-sum"):
        check_scale(read(smooth))
    check_scale(read(smooth, labels=FileLabels(target_sum=1e4, values="log1p")))
    check_scale(read(smooth, card=card_of(kang)))
    whole = kang.copy()
    linear = np.expm1(kang.X.toarray())
    whole.X = np.log1p(linear / linear.sum(axis=1, keepdims=True) * 5e3).astype(np.float32)
    with pytest.raises(InputError, match="scaled to 10000, found .* 5000; give --target-sum 5000"):
        check_scale(read(whole))
    check_scale(read(whole, labels=FileLabels(target_sum=5e3)))


def test_a_scale_that_nobody_states_is_refused(card_of, read, kang):
    stated = read(kang, "real.h5ad", card=card_of(kang))
    unstated = read(kang, labels=None)
    with pytest.raises(InputError, match=r"pred.h5ad: scale unknown: .* expected --target-sum"):
        align(unstated, stated)
    with pytest.raises(InputError, match=r"pred.h5ad: scale unknown"):
        check_scale(unstated)
    assert align(read(kang), stated).target_sum == 1e4
    with pytest.raises(
        InputError, match=r"scale \(target_sum 1e\+06\) is not that of .* \(target_sum 10000, from counts"
    ):
        align(read(kang, labels=FileLabels(target_sum=1e6)), stated)
