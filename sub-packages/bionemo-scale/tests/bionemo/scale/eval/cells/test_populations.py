# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from bionemo.scale.eval.cells.populations import group_means, rows_by_label, to_anndata


def test_genes_are_picked_by_name(kang_population):
    genes = kang_population.genes[5:1:-1]
    picked = kang_population.with_genes(genes)
    assert picked.genes == genes
    np.testing.assert_array_equal(picked.dense(), kang_population.dense()[:, 5:1:-1])


def test_select_keeps_labels_with_cells(kang_population):
    rows = np.flatnonzero(kang_population.cell_type == "NK")[::-1]
    picked = kang_population.select(rows)
    assert len(picked) == 103
    assert picked.pairs() == {("NK", "control"), ("NK", "IFN-beta")}
    np.testing.assert_array_equal(picked.dense(), kang_population.dense()[rows])
    np.testing.assert_array_equal(picked.batch, kang_population.batch[rows])


def test_rows_by_label():
    rows = rows_by_label(np.array(["b", "a+b", "b", "a"], dtype=object))
    assert {name: members.tolist() for name, members in rows.items()} == {"a": [3], "a+b": [1], "b": [0, 2]}
    assert list(rows) == ["a", "a+b", "b"]


def test_group_means_by_hand():
    expression = np.array([[1.0, 2], [3, 4], [5, 9]], dtype=np.float32)
    means = group_means(expression=expression, rows={"b": np.array([1]), "a": np.array([0, 2])})
    assert means.tolist() == [[3, 4], [3, 5.5]]
    assert means.dtype == np.float64


def test_to_anndata_keeps_labels_and_genes():
    adata = to_anndata(expression=np.ones((2, 1)), perturbation=np.array(["a+b", "c d"]), genes=("G",))
    assert adata.obs["perturbation"].to_list() == ["a+b", "c d"]
    assert adata.var_names.to_list() == ["G"]
    with pytest.raises(ValueError):
        to_anndata(expression=np.ones((2, 1)), perturbation=np.array(["a"]), genes=("G",))
