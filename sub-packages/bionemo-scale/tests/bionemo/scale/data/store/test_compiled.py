# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from scipy.sparse import random as random_sparse

from bionemo.scale.data.store import compiled
from bionemo.scale.data.store.compiled import CsrRows, loops_for


@pytest.fixture
def fresh(monkeypatch):
    """A process that has handled no cell."""
    monkeypatch.setattr(compiled, "_num_cells", Counter())
    compiled.compiled.cache_clear()
    yield monkeypatch
    compiled.compiled.cache_clear()


def test_the_loops_are_compiled_once_they_pay(fresh):
    # Cells that are read and then made dense are no more cells.
    assert loops_for("read", compiled.PAYS_AFTER) is None
    assert loops_for("dense", compiled.PAYS_AFTER) is None
    loops = loops_for("dense", 1)
    assert loops is not None
    assert loops_for("read", 1) is loops


def test_rows_are_scattered(fresh):
    fresh.setattr(compiled, "PAYS_AFTER", 0)
    cells = random_sparse(50, 30, 0.2, "csr", dtype=np.float32, random_state=np.random.default_rng(0))
    dense = np.full(cells.shape, np.nan, dtype=np.float32)
    loops_for("dense", 1).scatter_rows(CsrRows(cells.indptr.astype(np.int64), cells.indices, cells.data), dense)
    np.testing.assert_array_equal(dense, cells.toarray())


@pytest.mark.parametrize("spoil", [("numba", None), ("numba.config.DISABLE_JIT", True)])
def test_without_numba_nothing_is_compiled(fresh, spoil):
    name, value = spoil
    if value is None:
        fresh.setitem(sys.modules, name, value)
    else:
        fresh.setattr(name, value)
    assert compiled.compiled() is None


def test_a_numba_that_cannot_be_imported_is_done_without(fresh, tmp_path):
    (tmp_path / "numba.py").write_text("raise OSError('libllvmlite.so: file too short')")
    fresh.delitem(sys.modules, "numba", raising=False)
    fresh.syspath_prepend(tmp_path)
    assert compiled.compiled() is None


def test_a_cache_that_cannot_be_written_is_done_without(fresh):
    import numba

    compile_it = numba.njit

    def njit(*, cache=False):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_it

    fresh.setattr(numba, "njit", njit)
    assert compiled.compiled() is not None


def test_what_cannot_be_compiled_is_done_without(fresh):
    import numba

    def njit(*, cache=False):
        raise OSError(28, "No space left on device")

    fresh.setattr(numba, "njit", njit)
    assert compiled.compiled() is None


def test_numba_is_not_imported_before():
    code = "import sys, bionemo.scale.data.store.reader; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
