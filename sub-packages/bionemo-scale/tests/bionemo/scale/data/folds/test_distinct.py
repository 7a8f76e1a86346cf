# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The choice of distinct cell types, against scanpy's pseudobulks and distances counted out."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy.sparse import csr_matrix

from bionemo.scale.data.folds.distinct import most_distinct, profiles_of_files, profiles_of_store
from bionemo.scale.data.folds.split_file import _files, make_split
from bionemo.scale.data.folds.split_settings import SplitSettings
from bionemo.scale.data.labels.split import read_split
from bionemo.scale.data.sets.sampler import Sampling, SetSampler
from bionemo.scale.types import InputError, Split


@pytest.fixture
def lines() -> ad.AnnData:
    """Five cell types, E far from all others and D far from A, B and C; a drug and the control."""
    rng = np.random.default_rng(0)
    shift = {
        "A": (slice(0, 1), 1.0),
        "B": (slice(1, 2), 1.1),
        "C": (slice(2, 3), 1.1),
        "D": (slice(10, 15), 4.0),
        "E": (slice(15, 20), 16.0),
    }
    rows = [(name, drug) for name in shift for drug in ("control", "drug") for _ in range(6)]
    counts = rng.poisson(20.0, size=(len(rows), 30)).astype(np.float32)
    for row, (name, drug) in enumerate(rows):
        genes, factor = shift[name]
        # What a drug does must not enter.
        counts[row, genes if drug == "control" else slice(20, 30)] *= factor
    obs = pd.DataFrame(rows, columns=["cell_type", "perturbation"]).astype("category")
    obs["batch"] = pd.Categorical(["b"] * len(obs))
    obs.index = [f"c{row}" for row in range(len(obs))]
    return ad.AnnData(csr_matrix(np.rint(counts)), obs=obs, var=pd.DataFrame(index=[f"g{g}" for g in range(30)]))


def settings(inputs, tmp_path, **options) -> SplitSettings:
    return SplitSettings.make(inputs=inputs, out=tmp_path / "split.toml", hold_out="distinct-cell-types", **options)


def test_profiles_are_means_of_normalised_controls(lines, make_store, tmp_path):
    store = make_store(lines, num_hvg=0)
    controls = lines[lines.obs["perturbation"] == "control"].copy()
    sc.pp.normalize_total(controls, target_sum=1e4)
    found = profiles_of_files(_files(settings(tmp_path / "screen0.h5ad", tmp_path)))
    assert found.keys() == set("ABCDE")
    for name, profile in found.items():
        own = controls[controls.obs["cell_type"] == name].X.mean(axis=0)
        np.testing.assert_allclose(profile, np.log1p(np.asarray(own).ravel()), rtol=1e-5)
        np.testing.assert_allclose(profiles_of_store(store)[name], profile, rtol=1e-4)


def test_files_with_other_genes_share_what_both_have(lines, tmp_path):
    (tmp_path / "in").mkdir()
    paths = [tmp_path / "in" / name for name in ("one.h5ad", "two.h5ad")]
    is_first = lines.obs["cell_type"].isin(["A", "B"]).to_numpy()
    lines[is_first, 5:].copy().write_h5ad(paths[0])
    lines[~is_first][:, [f"g{gene}" for gene in range(29, 1, -1)]].copy().write_h5ad(paths[1])
    found = profiles_of_files(_files(settings(paths, tmp_path)))
    assert {len(profile) for profile in found.values()} == {25} and len(found) == 5


def test_each_name_is_the_farthest_from_those_before_it():
    rng = np.random.default_rng(1)
    # Of rank 4: components keep all distances.
    values = rng.normal(size=(12, 4)) @ rng.normal(size=(4, 40))
    profiles = {f"t{row:02d}": value for row, value in enumerate(values)}
    names = most_distinct(profiles, 5)
    mean = values.mean(axis=0)
    assert names[0] == max(profiles, key=lambda name: np.linalg.norm(profiles[name] - mean))
    for number in range(1, 5):
        before = [profiles[name] for name in names[:number]]
        nearest = {name: min(np.linalg.norm(value - other) for other in before) for name, value in profiles.items()}
        assert names[number] == max(nearest, key=nearest.__getitem__)


def test_the_split_holds_the_most_distinct_out_and_their_controls(lines, make_store, tmp_path):
    store = make_store(lines)
    options = {"share": 0.2, "val_share": 0.2, "hold_controls": True}
    done = make_split(settings(store.path, tmp_path, **options))
    spec = read_split(done.out)
    expected = {("screen0", "E"): Split.TEST, ("screen0", "D"): Split.VAL}
    assert spec.zeroshot == expected and spec.controls == expected
    assert "principal components of their mean control expression, with their control cells" in done.out.read_text()
    held = make_store(lines, split=done.out, out=tmp_path / "held", num_hvg=0)
    trained = {held.groups.label(index).cell_type for index in held.groups.training_controls().tolist()}
    assert trained == set("ABC") and held.card.split_sha256 == done.split.sha256
    # Neither means nor control sets of training have a cell of theirs; the other parts' means do.
    means = {split: {group.cell_type for group in held.group_means(split).groups} for split in Split}
    assert means == {Split.TRAIN: set("ABC"), Split.VAL: set("ABCD"), Split.TEST: set("ABCE")}
    sampler = SetSampler(held.groups, Split.TRAIN, 5, seed=0, sampling=Sampling(control_share=0.5))
    drawn = [held.groups.label(plan.group) for place in range(sampler.num_places) for plan in sampler.place(place)]
    assert {group.perturbation for group in drawn} == {"control", "drug"}
    assert {group.cell_type for group in drawn} == set("ABC")


def test_named_cell_types_are_the_test_part_and_others_are_drawn_for_validation(lines, make_store, tmp_path):
    options = {"hold_out": "cell-types", "cell_types": ["A", "B"], "val_share": 0.3}
    out = tmp_path / "split.toml"
    made = make_split(SplitSettings.make(inputs=make_store(lines).path, out=out, **options))
    parts = {context.cell_type: part for context, part in read_split(made.out).zeroshot.items()}
    assert [name for name, part in parts.items() if part == Split.TEST] == ["A", "B"]
    assert len(parts) == 3 and Split.VAL in parts.values()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"hold_out": "random", "hold_controls": True},
            "--hold-controls: goes with --hold-out cell-types or distinct",
        ),
        ({"hold_out": "distinct-cell-types", "cell_types": ["A"]}, "--cell-types: --hold-out distinct-cell-types"),
        ({"hold_out": "distinct-cell-types", "exclude": ["drug"]}, "not with --hold-out distinct-cell-types"),
        ({"hold_out": "distinct-cell-types", "share": 0.9}, "expected something left to train on, found 4 of 4 held"),
    ],
)
def test_what_does_not_go_together_is_refused(lines, make_store, tmp_path, options, expected):
    store = make_store(lines[lines.obs["cell_type"] != "E"].copy()).path
    with pytest.raises(InputError, match=expected):
        make_split(SplitSettings.make(**{"inputs": store, "out": tmp_path / "s.toml", **options}))
    assert not (tmp_path / "s.toml").exists()
