# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Every refusal names the file, what was expected and what was found."""

import numpy as np
import pytest

from bionemo.scale.types import InputError


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda x: np.expm1(x).round(), "whole numbers only"),
        (lambda x: np.expm1(x), "without a logarithm"),
        (lambda x: x / np.log(2), r"log2\(1 \+ x\)"),
        (lambda x: np.log1p(x), "log1p taken twice"),
        (lambda x: x - 0.5, "negative values down to -0.5"),
        (lambda x: np.where(x == x.max(), np.nan, x), "1 NaN or infinite"),
        (lambda x: np.where(x == x.max(), np.inf, x), "1 NaN or infinite"),
        (lambda x: x * 0, "every value is 0"),
    ],
)
@pytest.mark.parametrize("is_sparse", [True, False])
def test_values_that_are_no_log1p(read, kang, change, found, is_sparse):
    other = kang.copy()
    values = change(kang.X.toarray()).astype(np.float32)
    other.X = type(kang.X)(values) if is_sparse else values
    with pytest.raises(InputError, match=rf"pred.h5ad: .*{found}"):
        read(other)


def test_another_logarithm_is_refused(read, kang):
    other = kang.copy()
    other.uns["log1p"] = {"base": 2.0}
    with pytest.raises(InputError, match=r"uns\['log1p'\]\['base'\] = 2"):
        read(other)
    other.uns["log1p"] = {}
    read(other)


def test_a_gene_that_a_cell_has_twice_is_refused(read, kang):
    other = kang.copy()
    matrix = type(kang.X)(kang.X.toarray())
    first = int(np.flatnonzero(np.diff(matrix.indptr) > 1)[0])
    matrix.indices[matrix.indptr[first] + 1] = matrix.indices[matrix.indptr[first]]
    other.X = matrix
    with pytest.raises(InputError, match=r"pred.h5ad: X must have each gene of a cell once, found 1 entries"):
        read(other)
