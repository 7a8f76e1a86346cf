# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.types import InputError


def settings(**chosen) -> InferSettings:
    return InferSettings(**{"checkpoint": Path("run"), "out": Path("out.h5ad"), "store": Path("store"), **chosen})


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        (dict(store=None), "expected one of --store and --adata, found none"),
        (dict(adata=Path("a.h5ad")), "found both"),
        (dict(perturbations=("A",), all_perturbations=True), "one of --perturbations and --all-perturbations"),
        (dict(cell_types=("NK",)), "--cell-types goes with"),
        (dict(all_perturbations=True, with_controls=True), "--with-controls goes with"),
        (dict(output="pseudobulk", with_controls=True), "--with-controls goes with"),
        (dict(all_perturbations=True, out=Path("folder")), "--out must be an .h5ad file"),
        (dict(library_size=2000.0), "--library-size goes with --output counts; --library-size-key names a column"),
        (dict(output="counts", library_size=0.5), "--library-size must be at least 1"),
        (dict(set_size=0), "--set-size must be at least 1, found 0"),
    ],
)
def test_refusals(chosen, found):
    with pytest.raises(InputError, match=found):
        settings(**chosen)


def test_the_value_of_a_covariate_is_text():
    assert InferSettings.checked(covariate={"time": "24"}) == {"covariate": {"time": "24"}}
    with pytest.raises(InputError, match="--covariate must be text for each name, such as time='24', found 'time=24'"):
        InferSettings.checked(covariate={"time": 24})


def test_a_split_has_its_real_cells_beside_it():
    assert settings(out=Path("folder")).pred_path == Path("folder/adata_pred.h5ad")
    assert settings(out=Path("folder")).real_path == Path("folder/adata_real.h5ad")
    assert settings(out=Path("folder"), output="counts").real_path == Path("folder/adata_real_counts.h5ad")
    assert settings(all_perturbations=True).real_path is None
