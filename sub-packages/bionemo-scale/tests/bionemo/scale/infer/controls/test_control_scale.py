# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from bionemo.scale.infer.controls.control_cells import CellSource, read_controls
from bionemo.scale.infer.settings import GivenScale
from bionemo.scale.types import ExpressionScale, InputError


WITH_SIZES = ExpressionScale(library_size_key="size")


@pytest.fixture
def read(tmp_path, screen, card):
    """Write the screen with other values and read its controls."""

    def run(matrix, scale=card.scale, *, uns=None, counted_genes=None, **given):
        adata = ad.AnnData(csr_matrix(matrix), obs=screen.obs, var=screen.var, uns=uns or {})
        adata.write_h5ad(tmp_path / "cells.h5ad")
        return read_controls(
            CellSource(path=tmp_path / "cells.h5ad", given=GivenScale(**given)),
            replace(card, scale=scale, counted_genes=counted_genes),
        )

    return run


@pytest.fixture
def counts(screen) -> np.ndarray:
    return np.minimum(screen.X.toarray(), 200).astype(np.float64)


def log1p(counts: np.ndarray, sizes: np.ndarray | None = None, *, target_sum: float = 1e4) -> np.ndarray:
    sizes = counts.sum(axis=1) if sizes is None else sizes
    return np.log1p(counts / sizes[:, None] * target_sum).astype(np.float32)


def is_control(screen) -> np.ndarray:
    return (screen.obs["perturbation"] == "control").to_numpy()


def test_counts_and_log1p_of_them_are_the_same_controls(read, screen, counts):
    expected = log1p(counts)[is_control(screen)][:, :40]
    for values in (counts, log1p(counts)):
        found = read(values)
        np.testing.assert_allclose(found.expression.toarray(), expected, rtol=1e-5)
        assert found.notes == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: np.expm1(log1p(x)), "without a logarithm: every cell has the sum 10000"),
        (lambda x: np.where(x > 0, x - 0.3, 0) + 30, "fractional counts"),
        (lambda x: np.where(x > 0, np.minimum(x, 9) - np.linspace(0.1, 0.4, x.shape[1]), 0), "SoupX"),
        (lambda x: log1p(x, target_sum=5e3), "scaled to 10000, found .* 5000; the model was trained on 10000"),
        (lambda x: log1p(x) / np.log(2), r"log2\(1 \+ x\)"),
        (lambda x: log1p(x) / np.log(10), r"log10\(1 \+ x\)"),
        (lambda x: np.log1p(log1p(x)), "log1p taken twice"),
        (lambda x: log1p(x)[:, :40].repeat(2, axis=1)[:, :60], "scale unknown: .*--target-sum"),
        (np.zeros_like, "every value is 0"),
    ],
)
def test_other_scales_are_refused(read, counts, change, message):
    with pytest.raises(InputError, match=message) as error:
        read(change(counts))
    assert "cells.h5ad: " in str(error.value) and "\n" not in str(error.value)


def test_the_base_that_the_file_notes_counts(read, counts):
    with pytest.raises(InputError, match=r"uns\['log1p'\]\['base'\] = 2"):
        read(log1p(counts), uns={"log1p": {"base": 2}})


def test_a_missing_library_size_is_not_replaced_by_the_sum(read, screen, counts):
    for values in (counts, log1p(counts)):
        with pytest.raises(InputError, match=r"expected library sizes in obs\['size'\].*--sum-as-library-size"):
            read(values, WITH_SIZES)
        expected = log1p(counts)[is_control(screen)][:, :40]
        found = read(values, WITH_SIZES, sum_as_library_size=True).expression.toarray()
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_library_sizes_of_another_column(read, screen, counts):
    screen.obs["total"] = counts.sum(axis=1) * np.linspace(1.5, 3, len(counts))
    sizes = screen.obs["total"].to_numpy()
    expected = log1p(counts, sizes)[is_control(screen)][:, :40]
    for values in (counts, log1p(counts, sizes)):
        found = read(values, WITH_SIZES, library_size_key="total")
        np.testing.assert_allclose(found.expression.toarray(), expected, rtol=1e-5)
    with pytest.raises(InputError, match="obs has no column 'totals'; did you mean 'total'"):
        read(counts, WITH_SIZES, library_size_key="totals")
    with pytest.raises(InputError, match="scaled by the sums of the file's genes"):
        read(log1p(counts), WITH_SIZES, library_size_key="total")


def test_what_the_user_says_of_a_panel(read, screen, counts):
    values = log1p(counts)
    values[:, 40:] = 0
    found = read(values, target_sum=1e4).expression.toarray()
    np.testing.assert_array_equal(found, values[is_control(screen)][:, :40])
    with pytest.raises(InputError, match="scaled to 10000 as the model's, found --target-sum 5000"):
        read(values, target_sum=5e3)


def test_fractional_counts_are_normalised_where_the_user_says_so(read, screen, counts):
    values = np.where(counts > 0, counts - 0.25, 0)
    found = read(values, values="counts").expression.toarray()
    np.testing.assert_allclose(found, log1p(values)[is_control(screen)][:, :40], rtol=1e-5)


def test_empty_cells_are_told(read, screen, counts):
    counts[np.flatnonzero(is_control(screen))[:3], :40] = 0
    (warning,) = read(counts).notes
    assert f"3 of {is_control(screen).sum()} control cells have no counts of the model's genes" in warning


def test_what_is_said_must_make_sense():
    with pytest.raises(InputError, match="values.*log2"):
        GivenScale.make(values="log2")
    with pytest.raises(InputError, match="found both"):
        GivenScale(library_size_key="size", sum_as_library_size=True)


def test_sums_over_a_part_of_the_genes_are_told_where_a_column_has_library_sizes(read, screen, counts):
    screen.obs["total_counts"] = 3 * counts.sum(axis=1)
    (note,) = read(counts).notes
    assert "obs['total_counts'] is 3 times that sum (median)" in note
    assert read(counts, sum_as_library_size=True).notes == read(counts, library_size_key="total_counts").notes == ()


def test_counts_of_a_part_of_the_genes_are_refused_where_training_summed_over_all(read, counts):
    assert read(counts, counted_genes=4 * counts.shape[1]).notes == ()
    with pytest.raises(InputError, match="expected counts of about 300 genes.*found 60; give the file with all genes"):
        read(counts, counted_genes=300)
    read(counts, counted_genes=300, sum_as_library_size=True)
    read(log1p(counts), counted_genes=300, target_sum=1e4)
    with pytest.raises(InputError, match=r"expected log1p values .* of about 300 genes, .* found 60; .*--target-sum"):
        read(log1p(counts), counted_genes=300)
    with pytest.raises(InputError, match="scale unknown"):
        # Scaled before genes were chosen.
        read(log1p(counts, counts.sum(axis=1) * np.linspace(2, 3, len(counts))), counted_genes=300)
