# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A baseline's file has the real labels, the real controls and nothing of the real perturbed cells."""

from dataclasses import replace

import anndata as ad
import numpy as np
import pytest

from bionemo.scale.eval.output.baseline_files import write_baselines
from bionemo.scale.eval.scores.task import Task
from bionemo.scale.types import ObsKeys


@pytest.fixture
def task(kang_population) -> Task:
    is_control = kang_population.perturbation == "control"
    cells, controls = kang_population.select(~is_control), kang_population.select(is_control)
    return Task(cells=cells, controls=controls, control="control", models=(), baselines=("control",))


def write(task, folder, keys=None):
    paths = write_baselines(task, folder, keys=keys or ObsKeys(), uns={"card": "{}"})
    assert [path.name for path in paths] == ["control.h5ad"]
    return ad.read_h5ad(paths[0])


def test_labels_genes_and_provenance(task, tmp_path):
    found = write(task, tmp_path)
    assert tuple(found.var_names) == task.cells.genes
    assert dict(found.uns["bionemo_scale"]) == {"card": "{}", "baseline": "control"}
    counts = found.obs.groupby(["cell_type", "perturbation"], observed=True).size().to_dict()
    for context in task.contexts():
        assert counts[context, "IFN-beta"] == (task.cells.cell_type == context).sum()
        assert counts[context, "control"] == (task.controls.cell_type == context).sum()


def test_real_perturbed_cells_are_not_read(task, tmp_path):
    hidden = replace(task.cells, expression=np.full(task.cells.expression.shape, np.nan, dtype=np.float32))
    first = write(task, tmp_path / "a")
    second = write(replace(task, cells=hidden), tmp_path / "b")
    np.testing.assert_array_equal(first.X, second.X)
    assert np.isfinite(first.X).all()


def test_one_column_may_be_context_and_batch(task, tmp_path):
    found = write(task, tmp_path, ObsKeys(perturbation="gene", cell_type="line", batch="line"))
    assert list(found.obs.columns) == ["line", "gene"]
    assert set(found.obs["line"]) == {"NK", "CD8 T"}


def test_covariates_have_columns_of_their_own(task, tmp_path):
    sides = {
        name: replace(side, cell_type=np.char.add(side.cell_type.astype(str), ":6h").astype(object))
        for name, side in (("cells", task.cells), ("controls", task.controls))
    }
    timed = replace(task, **sides, covariates={f"{name}:6h": ("6h",) for name in task.contexts()})
    found = write(timed, tmp_path, ObsKeys(covariate="time"))
    assert set(found.obs["time"]) == {"6h"} and set(found.obs["cell_type"]) == {"NK", "CD8 T"}
