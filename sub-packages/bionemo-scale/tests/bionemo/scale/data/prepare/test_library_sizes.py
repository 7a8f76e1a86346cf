# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Library sizes that are doubtful beside the counts of a file, or beside those of another file."""

import numpy as np
import pytest
import scanpy as sc

from bionemo.scale.data.prepare.preprocess import prepare
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.types import InputError


@pytest.mark.parametrize("sizes", [np.log1p, lambda sums: sums / 1000, lambda sums: sums / sums.mean()])
def test_library_sizes_that_are_no_counts_are_refused(tmp_path, screen, sizes):
    screen.obs["size"] = sizes(np.asarray(screen.X.sum(axis=1), dtype=np.float64).ravel())
    screen.write_h5ad(tmp_path / "a.h5ad")
    config = PrepareSettings(inputs=(tmp_path / "a.h5ad",), out=tmp_path / "store", library_size_key="size")
    with pytest.raises(InputError, match=r"a.h5ad: --library-size-key: expected library sizes of at least the sum .*"):
        prepare(config)


@pytest.mark.parametrize("is_log", [False, True])
def test_files_that_are_scaled_by_sums_over_fewer_genes_are_told(tmp_path, screen, is_log):
    few = screen[:, :12].copy()
    few.X.data[:] += 1
    few.obs["total"], screen.obs["total"] = 1e6, 1e6
    for name, each in (("all", screen), ("few", few)):
        if is_log:
            each.X = each.X.astype(np.float32)
            sc.pp.normalize_total(each, target_sum=1e4)
            sc.pp.log1p(each)
        each.write_h5ad(tmp_path / f"{name}.h5ad")
    inputs = (tmp_path / "all.h5ad", tmp_path / "few.h5ad")
    warnings = prepare(PrepareSettings(inputs=inputs, out=tmp_path / "one", num_hvg=0)).warnings
    assert [line.startswith("few.h5ad has 12 genes and all.h5ad 60, and each is scaled") for line in warnings].count(
        1
    ) == 1
    if not is_log:
        done = prepare(PrepareSettings(inputs=inputs, out=tmp_path / "two", num_hvg=0, library_size_key="total"))
        assert not [line for line in done.warnings if "scaled by the sum" in line]


@pytest.mark.parametrize(("name", "is_told"), [("nCount_RNA", True), ("n_counts", True), ("nCount_ADT", False)])
def test_sums_over_a_part_of_the_genes_are_told_where_a_column_has_library_sizes(tmp_path, screen, name, is_told):
    sums = np.asarray(screen.X.sum(axis=1)).ravel()
    screen.obs["total_counts"], screen.obs[name] = sums, np.rint(sums * np.linspace(1.5, 3, len(sums)))
    screen.write_h5ad(tmp_path / "screen.h5ad")
    given = dict(inputs=(tmp_path / "screen.h5ad",), num_hvg=0)
    warnings = prepare(PrepareSettings(out=tmp_path / "one", **given)).warnings
    assert [f"give --library-size-key {name}" in line for line in warnings] == [True] * is_told
    assert prepare(PrepareSettings(out=tmp_path / "two", library_size_key=name, **given)).warnings == ()
