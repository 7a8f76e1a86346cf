# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest

from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.infer.controls.control_cells import CellSource
from bionemo.scale.infer.output.lab_cells import find_measured
from bionemo.scale.types import InputError


@pytest.fixture
def source(screen, tmp_path) -> CellSource:
    screen.write_h5ad(tmp_path / "screen.h5ad")
    return CellSource(path=tmp_path / "screen.h5ad")


def test_cells_of_predicted_conditions_and_their_controls_on_the_models_scale(source, screen, card, tmp_path):
    found = find_measured(source, card, ["p1"], contexts=["B c"], grammar=Grammar())
    num_cells = found.write(tmp_path / "real.h5ad", card, provenance={"source": source.path})
    written, obs = ad.read_h5ad(tmp_path / "real.h5ad"), screen.obs
    expected = screen[(obs["cell_type"] == "B c") & obs["perturbation"].isin(["p1", "control"])]
    assert list(written.obs_names) == list(expected.obs_names) and list(written.var_names) == list(card.genes)
    assert num_cells == (expected.obs["perturbation"] == "p1").sum()
    assert written.obs["batch"].astype(str).tolist() == expected.obs["batch"].astype(str).tolist()
    counts = expected.X.toarray().astype(np.float64)
    scaled = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    np.testing.assert_allclose(written.X.toarray(), scaled[:, :40], rtol=1e-5)


def test_labels_become_those_of_the_predictions(source, screen, card):
    screen.obs["perturbation"] = screen.obs["perturbation"].astype(str).replace({"p2": "p1+p0", "control": "NT"})
    screen.write_h5ad(source.path)
    card, grammar = replace(card, control="NT"), Grammar(combination="+", controls=("NT",))
    found = find_measured(source, card, ["p0+p1"], contexts=["A"], grammar=grammar)
    assert set(found.perturbation[found.chosen]) == {"p0+p1", "NT"}


def test_a_file_that_measured_nothing_of_it_is_refused(source, card):
    with pytest.raises(InputError, match="--measured: expected measured cells of predicted perturbations in .*'p9'"):
        find_measured(source, card, ["p9"], contexts=["A"], grammar=Grammar())
