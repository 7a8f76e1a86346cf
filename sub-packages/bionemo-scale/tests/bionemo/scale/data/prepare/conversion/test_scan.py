# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from bionemo.scale.data.prepare.conversion.scan import (
    ScanJournal,
    note_library_sizes,
    read_library_size,
    scan,
    size_factors,
)
from bionemo.scale.files.anndata import anndata_file as h5ad
from bionemo.scale.files.anndata.anndata_file import H5adSource
from bionemo.scale.files.expression_scale import StatedScale
from bionemo.scale.types import InputError


STATED = StatedScale()


@pytest.fixture
def scan_screen(tmp_path, monkeypatch):
    """Write a screen and scan it in small pieces."""

    def run(screen, *, is_training=None, library_size=None, stated=STATED):
        screen.write_h5ad(tmp_path / "a.h5ad")
        monkeypatch.setattr(h5ad, "CHUNK_ENTRIES", 700)
        done = []
        with H5adSource(tmp_path / "a.h5ad") as source:
            statistics = scan(
                source,
                is_training=np.ones(source.num_cells, dtype=bool) if is_training is None else is_training,
                library_size=library_size,
                target_sum=1e4,
                stated=stated,
                progress=done.append,
                journal=ScanJournal(tmp_path / "scan", source.num_cells, source.num_genes),
            )
        assert len(done) > 5 and sum(done) == screen.n_obs
        return statistics

    return run


def test_counts_are_recognised_and_summed(scan_screen, screen):
    statistics = scan_screen(screen)
    counts = screen.X.toarray()
    assert statistics.kind == "counts"
    np.testing.assert_array_equal(statistics.library_size, counts.sum(axis=1))
    np.testing.assert_array_equal(statistics.num_entries, (counts > 0).sum(axis=1))
    np.testing.assert_allclose(statistics.moments.mean, (counts / counts.sum(axis=1)[:, None] * 1e4).mean(axis=0))


def test_counts_stored_as_floats_are_counts(scan_screen, screen):
    screen.X = screen.X.astype(np.float32)
    assert scan_screen(screen).kind == "counts"


def test_moments_of_log1p_values_are_those_before_the_logarithm(scan_screen, screen):
    linear = screen.X.toarray() / screen.X.toarray().sum(axis=1)[:, None] * 1e4
    screen.X = csr_matrix(np.log1p(linear).astype(np.float32))
    chosen = np.arange(screen.n_obs) % 3 == 0
    statistics = scan_screen(screen, is_training=chosen)
    assert statistics.kind == "log1p"
    assert not statistics.library_size.any()
    np.testing.assert_allclose(statistics.moments.mean, linear[chosen].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(statistics.moments.variance, linear[chosen].var(axis=0, ddof=1), rtol=1e-4)


def test_given_library_sizes_are_used(scan_screen, screen):
    totals = np.asarray(screen.X.sum(axis=1), dtype=np.float64).ravel()
    given = totals * 2
    given[:4] = 1.0
    statistics = scan_screen(screen, library_size=given)
    np.testing.assert_array_equal(statistics.library_size, given)
    assert statistics.num_below_total == 4


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_impossible_values_are_refused_by_cell_and_gene(scan_screen, screen, value):
    values = screen.X.toarray().astype(np.float32)
    values[150, 7] = value
    screen.X = csr_matrix(values)
    with pytest.raises(InputError, match=rf"found {value} in cell 'cell150', gene 'gene7'"):
        scan_screen(screen)


def test_unknown_scales_are_refused(scan_screen, screen):
    screen.X = csr_matrix(screen.X / 3.0)
    with pytest.raises(InputError, match="expected integer counts or log1p values below 15, found fractional"):
        scan_screen(screen)


def test_one_file_has_one_scale(scan_screen, screen):
    values = screen.X.minimum(100).toarray().astype(np.float32)
    values[200:] = np.log1p(values[200:])
    screen.X = csr_matrix(values)
    with pytest.raises(InputError, match=r"one scale in the whole file, found counts before cell \d+ and log1p"):
        scan_screen(screen)


def test_a_file_of_zeros_is_refused(tmp_path, screen):
    screen.X = csr_matrix(screen.shape, dtype=np.float32)
    screen.write_h5ad(tmp_path / "a.h5ad")
    with H5adSource(tmp_path / "a.h5ad") as source, pytest.raises(InputError, match="every value is 0"):
        scan(
            source,
            is_training=np.ones(source.num_cells, dtype=bool),
            library_size=None,
            target_sum=1e4,
            stated=STATED,
            progress=lambda cells: None,
            journal=ScanJournal(tmp_path / "scan", source.num_cells, source.num_genes),
        )


@pytest.mark.parametrize("value", [0.0, -3.0, np.nan])
def test_library_sizes_must_be_positive(tmp_path, screen, value):
    screen.obs["size"] = 100.0
    screen.obs.loc["cell5", "size"] = value
    screen.write_h5ad(tmp_path / "a.h5ad")
    with H5adSource(tmp_path / "a.h5ad") as source, pytest.raises(InputError, match=f"found {value} in cell 'cell5'"):
        read_library_size(source, "size")


def test_cells_without_counts_have_factor_zero():
    np.testing.assert_array_equal(size_factors(np.array([0.0, 50.0]), 100.0), [0.0, 2.0])


def test_a_scan_goes_on_where_it_stopped(tmp_path, monkeypatch, screen):
    """Stopped after every chunk in turn, even in the middle of writing down what it found."""
    screen.write_h5ad(tmp_path / "a.h5ad")
    monkeypatch.setattr(h5ad, "CHUNK_ENTRIES", 700)

    class Stopped(Exception):
        pass

    def run(name, limit):
        calls = []

        def progress(cells):
            calls.append(cells)
            if len(calls) > limit:
                raise Stopped

        with H5adSource(tmp_path / "a.h5ad") as source:
            return scan(
                source,
                is_training=np.arange(source.num_cells) % 2 == 0,
                library_size=None,
                target_sum=1e4,
                stated=STATED,
                progress=progress,
                journal=ScanJournal(tmp_path / name, source.num_cells, source.num_genes),
            )

    whole = run("whole", 10**9)
    for _ in range(1000):
        try:
            found = run("stopped", 1)
            break
        except Stopped:
            with (tmp_path / "stopped.cells").open("ab") as file:
                file.write(b"torn")
    assert found.kind == whole.kind
    for name in ("num_entries", "library_size"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    np.testing.assert_array_equal(found.moments.total_of_squares, whole.moments.total_of_squares)


def test_what_log1p_values_were_scaled_to_shows(scan_screen, screen):
    linear = screen.X.toarray() / screen.X.toarray().sum(axis=1)[:, None] * 4321.0
    screen.X = csr_matrix(np.log1p(linear).astype(np.float32))
    assert scan_screen(screen).target_sum == pytest.approx(4321.0, rel=1e-4)


def test_a_panel_does_not_show_what_it_was_scaled_to(tmp_path, scan_screen, screen):
    linear = screen.X.toarray() / screen.X.toarray().sum(axis=1)[:, None] * 1e4
    linear[:, :30] = 0
    screen.X = csr_matrix(np.log1p(linear).astype(np.float32))
    assert scan_screen(screen, stated=StatedScale(target_sum=1e4)).target_sum is None
    with pytest.raises(InputError, match="scale unknown: .* expected --target-sum"):
        (tmp_path / "scan.npz").unlink()
        scan_screen(screen)


def test_library_sizes_of_cells_without_counts_are_compared_with_nothing(tmp_path, screen):
    screen.obs["total_counts"] = 7.0
    screen.write_h5ad(tmp_path / "screen.h5ad")
    with H5adSource(tmp_path / "screen.h5ad") as source, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert note_library_sizes(source, np.zeros(screen.n_obs)) == ()
