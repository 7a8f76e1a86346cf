# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The plane belongs to the real cells; predicted cells are put onto it."""

import numpy as np
import pytest

from bionemo.scale.eval.page.embedding import MAX_CELLS, CellFiles, embed_populations
from bionemo.scale.types import FileLabels


@pytest.fixture
def files(kang, tmp_path):
    pred = kang[kang.obs["perturbation"] != "control"].copy()
    pred.X = pred.X * 0.9
    for name, adata in (("real", kang.copy()), ("pred", pred)):
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    return tmp_path


def embed(folder, **options):
    labels = FileLabels(target_sum=1e4)
    pred = {name: folder / f"{name}.h5ad" for name in ("pred", "other") if (folder / f"{name}.h5ad").exists()}
    files = CellFiles(pred=pred, real=folder / "real.h5ad", labels=dict.fromkeys(pred, labels), real_labels=labels)
    return embed_populations(files, **{"umap": False, **options})


def test_populations_and_their_sizes(files):
    (found,) = embed(files)
    kinds = {(cloud.context, cloud.kind, cloud.perturbation): len(cloud.points) for cloud in found.clouds}
    assert kinds == {
        ("CD8 T", "control", "control"): 54,
        ("CD8 T", "observed", "IFN-beta"): 79,
        ("CD8 T", "predicted", "IFN-beta"): 79,
        ("NK", "control", "control"): 48,
        ("NK", "observed", "IFN-beta"): 55,
        ("NK", "predicted", "IFN-beta"): 55,
    }
    assert max(kinds.values()) <= MAX_CELLS
    assert all(1 > first > second > 0 for first, second in found.explained.values())


def test_controls_and_stimulated_cells_lie_apart_and_the_prediction_follows(files):
    clouds = {cloud.kind: cloud.points for cloud in embed(files)[0].clouds if cloud.context == "NK"}
    centre = {kind: points.mean(axis=0) for kind, points in clouds.items()}
    apart = np.linalg.norm(centre["observed"] - centre["control"])
    assert apart > 2 * np.linalg.norm(centre["observed"] - centre["predicted"])


def test_predicted_cells_cannot_turn_the_axes(files, kang):
    before = {cloud.kind: cloud.points for cloud in embed(files)[0].clouds}
    pred = kang[kang.obs["perturbation"] != "control"].copy()
    pred.X = pred.X[:, ::-1].copy()
    pred.write_h5ad(files / "pred.h5ad")
    after = {cloud.kind: cloud.points for cloud in embed(files)[0].clouds}
    np.testing.assert_array_equal(before["observed"], after["observed"])
    assert not np.array_equal(before["predicted"], after["predicted"])


def test_pairs_that_are_not_shown_turn_the_axes_too(files):
    (every,) = embed(files)
    (some,) = embed(files, shown={("NK", "IFN-beta")})
    kinds = ("control", "observed", "predicted")
    assert {(cloud.context, cloud.kind) for cloud in some.clouds} == {("NK", kind) for kind in kinds}
    assert some.explained == {"NK": every.explained["NK"]}, "a context with nothing to show is left out"
    points = {(cloud.context, cloud.kind): cloud.points for cloud in every.clouds}
    for cloud in some.clouds:
        np.testing.assert_array_equal(cloud.points, points[cloud.context, cloud.kind])


def test_each_model_has_its_own_cells_on_the_same_axes(files, kang):
    other = kang[kang.obs["perturbation"] != "control"].copy()
    other.X = other.X * 0.5
    other.write_h5ad(files / "other.h5ad")
    clouds = {(cloud.kind, cloud.model): cloud for cloud in embed(files)[0].clouds if cloud.context == "NK"}
    assert set(clouds) == {("control", ""), ("observed", ""), ("predicted", "pred"), ("predicted", "other")}
    assert not np.allclose(clouds["predicted", "pred"].points, clouds["predicted", "other"].points)


@pytest.mark.slow
def test_umap_is_a_second_embedding(files):
    methods = embed(files, umap=True)
    assert [item.method for item in methods] == ["PCA", "UMAP"]
    assert [len(cloud.points) for cloud in methods[0].clouds] == [len(cloud.points) for cloud in methods[1].clouds]
    assert all(np.isfinite(cloud.points).all() for cloud in methods[1].clouds)
