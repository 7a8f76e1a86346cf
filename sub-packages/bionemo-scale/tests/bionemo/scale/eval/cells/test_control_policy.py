# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Every refusal names the file, what was expected and what was found."""

import numpy as np
import pytest

from bionemo.scale.eval.cells.control_policy import check_controls, choose_controls
from bionemo.scale.eval.cells.read_population import read_population
from bionemo.scale.types import FileLabels, InputError


def perturbed(adata):
    return adata[adata.obs["perturbation"] != "control"].copy()


@pytest.mark.parametrize("key", ["checkpoint", "baseline"])
def test_predicted_cells_cannot_be_the_truth(card_of, write, kang, key):
    adata = kang.copy()
    adata.uns["bionemo_scale"] = {"card": card_of(kang).to_json(), key: "run-7"}
    with pytest.raises(InputError, match=r"real.h5ad: holds predicted cells \(of run-7"):
        check_controls(read_population(write(adata, "real.h5ad")))


def test_controls_must_be_in_the_real_file(read, kang):
    with pytest.raises(InputError, match=r"has no control cells 'contrl'; did you mean 'control'"):
        check_controls(read(kang, labels=FileLabels(control="contrl")))
    with pytest.raises(InputError, match="no control cells 'control'; found 'IFN-beta'"):
        check_controls(read(perturbed(kang), "b.h5ad"))
    with pytest.raises(InputError, match="every cell is a control"):
        check_controls(read(kang[kang.obs["perturbation"] == "control"].copy(), "c.h5ad"))
    partial = kang[(kang.obs["perturbation"] != "control") | (kang.obs["cell_type"] == "NK")].copy()
    with pytest.raises(InputError, match=r"no control cells \('control'\) in cell_type 'CD8 T'"):
        check_controls(read(partial, "d.h5ad"))


def test_same_real_controls_replace_those_of_the_prediction(read, kang):
    real = read(kang, "real.h5ad")
    smoothed = kang.copy()
    smoothed.X = smoothed.X * 0.5
    controls, line = choose_controls(read(smoothed), real, "same-real")
    np.testing.assert_array_equal(controls.dense(), real.population.select(real.is_control).dense())
    assert line == "real controls on both sides; 102 control cells in pred.h5ad dropped"
    assert choose_controls(read(perturbed(kang), "b.h5ad"), real, "same-real")[1] == "real controls on both sides"


def test_predicted_controls(read, kang):
    real = read(kang, "real.h5ad")
    smoothed = kang.copy()
    smoothed.X = smoothed.X * 0.5
    controls, line = choose_controls(read(smoothed), real, "predicted")
    np.testing.assert_array_equal(controls.dense(), real.population.select(real.is_control).dense() * 0.5)
    assert line == "102 control cells of pred.h5ad on the predicted side"
    with pytest.raises(InputError, match=r"b.h5ad: control policy 'predicted' needs controls .*'CD8 T', 'NK'"):
        choose_controls(read(perturbed(kang), "b.h5ad"), real, "predicted")
