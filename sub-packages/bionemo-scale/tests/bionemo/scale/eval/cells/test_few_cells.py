# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from bionemo.scale.eval.cells.few_cells import note_small_pairs, without_small_pairs
from bionemo.scale.eval.evaluate import prepare
from bionemo.scale.eval.settings import ScoringSettings
from bionemo.scale.types import InputError


@pytest.fixture
def sides(read, kang):
    """Real cells of which NK has one perturbed one, and a prediction of all."""
    label, cell_type = (kang.obs[name].astype(str).to_numpy() for name in ("perturbation", "cell_type"))
    is_small = (label != "control") & (cell_type == "NK")
    kept = ~is_small | (np.cumsum(is_small) == 1)
    return read(kang[kept].copy(), "real.h5ad"), read(kang, "pred.h5ad")


def test_pairs_with_few_cells_are_told(sides):
    real, pred = sides
    (line,) = note_small_pairs(real)
    assert line.startswith("warning: 1 of 2 (cell type x perturbation) pairs have fewer than 10 measured cells: 'NK x")
    assert "--min-cells 10 leaves them out" in line
    assert note_small_pairs(pred) == ()
    assert line in prepare(real=real, predictions={"pred": pred}).notes


def test_pairs_with_few_cells_are_left_out_where_that_is_asked_for(sides):
    real, pred = sides
    assert without_small_pairs(real, {"pred": pred}, 1) == (real, {"pred": pred})
    task = prepare(real=real, predictions={"pred": pred}, options=ScoringSettings(min_cells=2))
    assert "NK" not in task.task.contexts() and "NK" in task.task.controls.cell_type
    assert not [note for note in task.notes if "fewer than 10" in note or "are not in" in note]
    assert "--min-cells 2: 1 of 2 pairs have fewer measured cells and no score" in task.notes
    with pytest.raises(InputError, match=r"--min-cells 1000 leaves no .* pair; the largest has \d+ cells"):
        without_small_pairs(real, {"pred": pred}, 1000)


def test_a_prediction_of_small_pairs_alone_is_refused_by_its_name(sides, read, kang):
    real, _ = sides
    is_small = ((kang.obs["cell_type"] == "NK") | (kang.obs["perturbation"] == "control")).to_numpy()
    pred = read(kang[is_small].copy(), "small.h5ad")
    with pytest.raises(InputError, match=r"small.h5ad: --min-cells 2 leaves none of its .* pairs"):
        without_small_pairs(real, {"pred": pred}, 2)
