# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Rows come back as they were, in the order asked for, however they are stored and cut into blocks."""

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from bionemo.scale.eval.cells import stored
from bionemo.scale.eval.cells.stored import StoredMatrix, value_blocks
from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData


VALUES = np.where(np.random.default_rng(0).random((41, 7)) < 0.4, np.random.default_rng(1).random((41, 7)), 0)
VALUES[[0, 5, 6, 40]] = 0
VALUES = VALUES.astype(np.float32)


@pytest.fixture(scope="module", params=["dense", "csr"])
def path(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "x.h5ad"
    ad.AnnData(X=sparse.csr_matrix(VALUES) if request.param == "csr" else VALUES).write_h5ad(path)
    return path


@given(
    rows=st.lists(st.integers(0, 40), max_size=60),
    columns=st.none() | st.permutations(range(7)),
    block=st.sampled_from([1, 20, 1 << 24]),
)
@settings(max_examples=40, deadline=None)
def test_any_rows_and_columns_in_any_order(path, rows, columns, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "BLOCK_VALUES", block)
        matrix = StoredMatrix(path=path, num_stored=41, num_columns=7, rows=np.arange(41))
        matrix = matrix.select(np.array(rows, dtype=np.int64))
        matrix = matrix if columns is None else matrix.with_columns(list(columns))
        out = np.full(matrix.shape, np.nan, dtype=np.float32)
        matrix.copy_to(out)
    expected = VALUES[np.array(rows, dtype=np.int64)]
    np.testing.assert_array_equal(out, expected if columns is None else expected[:, list(columns)])


def test_selections_compose(path):
    matrix = StoredMatrix(path=path, num_stored=41, num_columns=7, rows=np.arange(41))
    some = matrix.select(np.arange(41) % 2 == 0).select(np.array([3, 1])).with_columns([6, 2, 0]).with_columns([1, 0])
    out = np.empty(some.shape, dtype=np.float32)
    some.copy_to(out)
    np.testing.assert_array_equal(out, VALUES[[6, 2]][:, [2, 6]])


@pytest.mark.parametrize("block", [1, 9, 1 << 24])
def test_blocks_cover_every_row_once(path, monkeypatch, block):
    monkeypatch.setattr(stored, "BLOCK_VALUES", block)
    with CheckedAnnData(path) as file:
        for source in (file.matrix("X"), VALUES, sparse.csr_matrix(VALUES)):
            sums, rows = np.zeros(41), []
            for part in value_blocks(source, 7):
                rows += range(part.rows.start, part.rows.stop)
                sums[part.rows] = part.row_sums()
            assert rows == list(range(41))
            np.testing.assert_allclose(sums, VALUES.sum(axis=1, dtype=np.float64))
