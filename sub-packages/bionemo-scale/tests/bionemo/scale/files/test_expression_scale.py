# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from bionemo.scale.files.expression_scale import (
    LOG1P_LIMIT,
    StatedScale,
    check_transformation,
    find_scale,
    highest_log1p,
    read_base,
)
from bionemo.scale.files.scale_evidence import SAMPLE, ScaleEvidence
from bionemo.scale.types import InputError


EXAMPLES = Path(__file__).parents[6] / "examples" / "data"
PROPERTY = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MODEL = StatedScale(target_sum=1e4, is_target_stated=False)


def evidence_of(values: np.ndarray, *, pieces: int = 3) -> ScaleEvidence:
    matrix = csr_matrix(np.asarray(values))
    matrix.eliminate_zeros()
    evidence = ScaleEvidence(matrix.shape[0])
    edges = np.linspace(0, matrix.shape[0], pieces + 1).astype(int)
    for first, last in pairwise(edges):
        evidence.add(matrix[first:last], int(first))
    return evidence


def conclude(values: np.ndarray, stated: StatedScale = MODEL, library_size: np.ndarray | None = None):
    return find_scale(evidence_of(values), "a.h5ad", stated, library_size=library_size)


def refusal(values: np.ndarray, stated: StatedScale = MODEL, library_size: np.ndarray | None = None) -> str:
    with pytest.raises(InputError) as error:
        conclude(values, stated, library_size)
    assert "\n" not in str(error.value) and str(error.value).startswith("a.h5ad: ")
    return str(error.value)


@st.composite
def screens(draw) -> np.ndarray:
    """Counts of 40 to 120 cells of very different depth, [cells, genes] float64; no cell is empty."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cells, genes = draw(st.integers(40, 120)), draw(st.integers(60, 200))
    rates = rng.gamma(draw(st.floats(0.3, 1.0)), 2.0, size=genes)
    depth = rng.lognormal(0.0, draw(st.floats(0.3, 0.7)), size=(cells, 1))
    counts = rng.poisson(rates * depth).astype(np.float64)
    counts[:, 0] += 1
    return counts


def scaled(counts: np.ndarray, target_sum: float = 1e4) -> np.ndarray:
    return (counts / counts.sum(axis=1, keepdims=True) * target_sum).astype(np.float32)


def fractional(counts: np.ndarray, seed: int = 0) -> np.ndarray:
    """Counts less some ambient RNA, as SoupX leaves them."""
    ambient = np.random.default_rng(seed).uniform(0.05, 0.4, size=counts.shape)
    return np.where(counts > 0, counts - ambient, 0.0)


@PROPERTY
@given(screens(), st.sampled_from(["int32", "float32", "float64"]))
def test_counts_of_any_type(counts, dtype):
    found = conclude(counts.astype(dtype))
    assert (found.kind, found.target_sum) == ("counts", None)


@PROPERTY
@given(screens(), st.sampled_from([1.0, 1e4, 1e6]))
def test_log1p_of_scaled_counts_shows_its_target_sum(counts, target_sum):
    found = conclude(np.log1p(scaled(counts, target_sum)), StatedScale(target_sum=target_sum))
    assert found.kind == "log1p" and found.target_sum == pytest.approx(target_sum, rel=1e-4)


@PROPERTY
@given(screens())
def test_another_target_sum_is_refused(counts):
    middle = float(np.median(counts.sum(axis=1)))
    for other in (middle, 5e3, 1e6):
        assert f"sum before the logarithm is {other:.6g}" in refusal(np.log1p(scaled(counts, other)))


@PROPERTY
@given(screens(), st.booleans())
def test_other_transformations_are_named(counts, is_subset):
    """By the sums of all genes, and by whole multiples where genes were taken out."""
    values = scaled(counts)
    kept = slice(0, counts.shape[1] // 2 if is_subset else None)
    for change, name in (
        (lambda x: np.log2(1 + x), r"log2(1 + x)"),
        (lambda x: np.log10(1 + x), r"log10(1 + x)"),
        (lambda x: np.log1p(np.log1p(x)), "log1p taken twice"),
        (lambda x: np.log1p(x) / 10, "log1p divided by 10"),
        (lambda x: x / 1e4, "normalised counts without a logarithm"),
        (lambda x: np.sqrt(x / 100), "square roots"),
    ):
        found = change(values)[:, kept]
        if found.max() < 15:
            assert f"found what looks like {name}" in refusal(found)
            with pytest.raises(InputError):
                check_transformation(evidence_of(found), "a.h5ad", MODEL)


@PROPERTY
@given(screens())
def test_normalised_without_a_logarithm(counts):
    message = refusal(scaled(counts))
    assert "expected integer counts or log1p values below 15" in message
    assert "without a logarithm: every cell has the sum 10000" in message
    assert conclude(scaled(counts), StatedScale(values="counts")).kind == "counts"


@PROPERTY
@given(screens(), st.booleans())
def test_fractional_counts_are_asked_about(counts, are_small):
    values = fractional(np.minimum(counts, 14) if are_small else counts + 20)
    message = refusal(values)
    assert ("SoupX" in message) and "--values counts" in message
    assert conclude(values, StatedScale(values="counts")).kind == "counts"
    # An answer to another question does not decide.
    assert "SoupX" in refusal(values, StatedScale(target_sum=1e4))


@PROPERTY
@given(screens())
def test_genes_taken_out_leave_the_target_sum_open(counts):
    values = np.log1p(scaled(counts))[:, counts.shape[1] // 3 :]
    assert "scale unknown" in refusal(values) and "--target-sum" in refusal(values)
    found = conclude(values, StatedScale(target_sum=1e4))
    assert (found.kind, found.target_sum) == ("log1p", None)


@PROPERTY
@given(screens())
def test_library_sizes_show_the_target_sum_of_some_genes(counts):
    library, values = counts.sum(axis=1), np.log1p(scaled(counts))[:, counts.shape[1] // 3 :]
    assert conclude(values, library_size=library).target_sum == pytest.approx(1e4, rel=1e-3)
    assert "is 3000" in refusal(np.log1p(scaled(counts, 3e3))[:, counts.shape[1] // 3 :], library_size=library)


def test_values_scaled_by_the_sums_of_a_panel_are_not_scaled_by_library_sizes():
    adata = ad.read_h5ad(EXAMPLES / "kang2018_pbmc_ifnb.h5ad")
    panel, library = scaled(adata.X.toarray()), adata.obs["n_counts_full"].to_numpy(np.float64)
    assert "by the library sizes it would be about 22354" in refusal(np.log1p(panel), library_size=library)
    assert conclude(np.log1p(panel)).target_sum == pytest.approx(1e4)


@PROPERTY
@given(screens())
def test_counts_scaled_to_nothing(counts):
    assert "scaled to no library size" in refusal(np.log1p(counts).astype(np.float32))


@PROPERTY
@given(screens())
def test_two_target_sums_in_a_file(counts):
    values = np.log1p(scaled(counts))
    values[::2] = np.log1p(scaled(counts, 3e3))[::2]
    message = refusal(values)
    assert "different sums before the logarithm" in message and "10000 in" in message and "3000 in" in message


@PROPERTY
@given(screens())
def test_counts_and_log1p_cells_in_a_file(counts):
    values = np.minimum(counts, 14)
    values[::2] = np.log1p(scaled(counts))[::2]
    assert "expected one scale in the whole file" in refusal(values)


def test_exclude_highly_expressed_is_seen_in_a_transcriptome():
    adata = ad.AnnData(ad.read_h5ad(EXAMPLES / "kang2018_pbmc_ifnb.h5ad").X.astype(np.float32))
    sc.pp.normalize_total(adata, target_sum=1e4, exclude_highly_expressed=True)
    sc.pp.log1p(adata)
    for stated in (MODEL, StatedScale(target_sum=1e4), StatedScale(target_sum=1e4, values="log1p")):
        assert "exclude_highly_expressed" in refusal(adata.X.toarray(), stated)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda counts: np.rint(np.log1p(scaled(counts))), "rounded logarithms (no value is above 7; 100% of the "),
        (lambda counts: np.rint(np.log2(1 + scaled(counts))), "rounded logarithms (no value is above 10; "),
        (lambda counts: np.rint(scaled(counts)), "normalised counts that were rounded (every cell has about the sum "),
        (lambda counts: counts > 0, "counts that were made 0 or 1 (no value is above 1)"),
    ],
)
def test_whole_numbers_that_are_hardly_counts_are_asked_about(change, found):
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.3, 2.0, size=400) * rng.lognormal(0, 0.5, (200, 1))).astype(np.float64)
    values = np.asarray(change(counts), dtype=np.float32)
    assert found in refusal(values) and "--values counts to use them as counts" in refusal(values)
    assert conclude(values, StatedScale(values="counts")).kind == "counts"


def test_counts_that_are_like_other_numbers_in_one_way_are_counts():
    rng = np.random.default_rng(0)
    rates = rng.gamma(0.3, 2.0, size=400)
    # Sampled down to one sum, before rare genes were left out.
    sampled = rng.multinomial(2000, rates / rates.sum(), size=200)
    sampled = sampled[:, (sampled > 0).sum(axis=0) > 20]
    # A panel that was read deeply, half of it not expressed; and two cells of nearly one size.
    deep = rng.poisson(200, (200, 300)) * (rng.random(300) < 0.5)
    alike = rng.poisson(rates * 2, (2, 400))
    alike[0, -1], alike[1, -1] = 2 + max(0, np.diff(alike.sum(axis=1))[0]), 1
    for values in (sampled, deep, alike):
        assert conclude(values.astype(np.float32), StatedScale()).kind == "counts"


def test_counts_of_any_depth_are_counts():
    rng = np.random.default_rng(0)
    for depth in (0.05, 1, 30):
        rates = rng.gamma(0.3, 2.0, size=400) * depth * rng.lognormal(0, 0.5, (200, 1))
        assert conclude(rng.poisson(rates)).kind == "counts"
    # A panel of proteins, and cells that were sampled down to one sum.
    assert conclude(rng.poisson(40, (200, 30)) + 2).kind == "counts"
    assert conclude(rng.multinomial(500, rng.dirichlet(np.full(200, 0.3), size=50)[0], size=50)).kind == "counts"


def test_the_sample_of_an_earlier_version_goes_on():
    evidence = evidence_of(np.random.default_rng(0).poisson(0.5, (60, 200)) * 3)
    assert evidence.ones_missing == 1
    state = evidence.state()
    again = ScaleEvidence(60)
    again.load(state)
    assert again.ones_missing == 1
    again.load({**state, "sample": state["sample"][:, :-2]})
    assert again.ones_missing == 0 and again.trace("linear").total.sum() == evidence.trace("linear").total.sum()


@pytest.mark.parametrize("name", ["kang2018_pbmc_ifnb", "papalexi2021_thp1_eccite"])
def test_the_bundled_data_are_counts(name):
    counts = ad.read_h5ad(EXAMPLES / f"{name}.h5ad").X.toarray()
    assert conclude(counts).kind == "counts"
    assert conclude(np.log1p(scaled(counts))).target_sum == pytest.approx(1e4)
    half = np.log1p(scaled(counts)).astype(np.float16).astype(np.float32)
    assert conclude(half).target_sum == pytest.approx(1e4, rel=0.01)


def test_what_the_user_says_decides_only_what_is_open():
    counts = np.random.default_rng(0).poisson(3.0, size=(60, 80)).astype(np.float64)
    averages = np.log1p(scaled(counts))[:, :50].reshape(12, 5, 50).mean(axis=1).repeat(5, axis=0)
    assert "--values log1p" in refusal(averages)
    says = StatedScale(values="log1p", target_sum=1e4)
    assert conclude(averages, says).kind == "log1p"
    assert "log2(1 + x)" in refusal(np.log2(1 + scaled(counts)), says)
    assert "is 5000" in refusal(np.log1p(scaled(counts, 5e3)), says)
    assert "whole numbers only" in refusal(counts, says)


def test_the_base_that_a_file_notes_is_not_overruled():
    values = np.log1p(scaled(np.random.default_rng(0).poisson(3.0, size=(60, 80))))
    assert "natural logarithm, found uns['log1p']['base'] = 2" in refusal(values, StatedScale(base=2.0))
    # The note is about another matrix where these are counts.
    assert conclude(np.rint(values * 10), StatedScale(base=2.0)).kind == "counts"


@pytest.mark.parametrize(
    ("note", "base"), [(None, None), (np.e, None), (2, 2.0), (10.0, 10.0), (np.array([2]), 2.0), ("10", 10.0)]
)
def test_bases(note, base):
    assert read_base(note) == base


def test_a_base_that_is_no_number_is_not_the_natural_one():
    assert np.isnan(read_base("two")) and np.isnan(read_base({}))


def test_zeros_and_huge_counts_are_refused():
    assert "every value is 0" in refusal(np.zeros((5, 4)))
    assert "below 2**32" in refusal(np.full((5, 4), 2.0**32))


def test_the_most_that_a_cell_can_hold_is_read():
    assert highest_log1p(1e4) == pytest.approx(9.2104403669)
    assert np.float32(highest_log1p(1e9)) < LOG1P_LIMIT


def test_the_sample_is_spread_over_the_file_and_goes_on_after_a_stop():
    counts = np.random.default_rng(0).poisson(2.0, size=(3 * SAMPLE, 20)).astype(np.float64)
    counts[:, 0] += 1
    values = csr_matrix(np.log1p(scaled(counts)))
    whole, first = ScaleEvidence(3 * SAMPLE), ScaleEvidence(3 * SAMPLE)
    whole.add(values, 0)
    first.add(values[:700], 0)
    second = ScaleEvidence(3 * SAMPLE)
    second.load(first.state())
    second.add(values[700:], 700)
    assert len(whole.cells) == SAMPLE and whole.cells[0] == 0 and whole.cells[-1] == 3 * SAMPLE - 1
    np.testing.assert_array_equal(whole.state()["sample"], second.state()["sample"])
    assert whole.highest == second.highest and not second.is_whole
