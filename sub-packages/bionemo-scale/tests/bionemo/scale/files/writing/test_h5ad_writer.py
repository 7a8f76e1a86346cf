# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from bionemo.scale.files.writing.h5ad_writer import H5adWriter


GENES = tuple(f"g{number}" for number in range(40))


@pytest.mark.parametrize("dense", [True, False])
def test_blocks_become_one_file_in_chunks_that_are_quick_to_read(dense: bool, tmp_path: Path):
    values = sparse.random(3000, len(GENES), density=0.3, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    obs = pd.DataFrame(index=[f"c{row}" for row in range(3000)])
    path = tmp_path / "cells.h5ad"
    with H5adWriter(path, obs=obs, genes=GENES, uns={}, dense=dense) as writer:
        for first in range(0, 3000, 700):
            writer.append(values[first : first + 700])
    found = ad.read_h5ad(path)
    assert sparse.issparse(found.X) != dense and tuple(found.var_names) == GENES
    np.testing.assert_array_equal(found.X if dense else found.X.toarray(), values.toarray())
    with h5py.File(path) as file:
        chunks = file["X"].chunks if dense else file["X/data"].chunks
        # Pointers of 32 bits would end at two thousand million values.
        assert dense or file["X/indptr"].dtype == np.int64
    assert np.prod(chunks) >= 1 << 14


def test_rows_that_are_announced_and_not_written_leave_nothing(tmp_path: Path):
    obs = pd.DataFrame(index=["c0", "c1"])
    with (
        pytest.raises(RuntimeError, match="announced 2 rows, wrote 1"),
        H5adWriter(tmp_path / "cells.h5ad", obs=obs, genes=GENES, uns={}, dense=True) as writer,
    ):
        writer.append(np.zeros((1, len(GENES)), dtype=np.float32))
    assert list(tmp_path.iterdir()) == []
