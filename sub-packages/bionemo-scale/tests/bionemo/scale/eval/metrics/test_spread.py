# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from bionemo.scale.eval.metrics import spread


def test_sd_ratio_by_hand():
    real = np.array([[0.0, 1, 0], [2, 3, 0]])
    assert spread.sd_ratio(real, real) == 1
    assert spread.sd_ratio(real / 2, real) == 0.5
    assert spread.sd_ratio(np.ones((5, 3)), real) == 0
    assert np.isnan(spread.sd_ratio(real[:1], real))
    assert np.isnan(spread.sd_ratio(real, np.zeros((4, 3))))


def test_sd_ratio_looks_at_expressed_genes_only():
    real = np.zeros((100, 2))
    real[::2, 0] = 1
    real[0, 1] = 5
    pred = real * np.array([0.5, 100])
    assert spread.sd_ratio(pred, real) == pytest.approx(0.5)


def test_energy_distance_equals_its_definition(papalexi_population):
    rng = np.random.default_rng(0)
    a, b = papalexi_population.dense()[:40], papalexi_population.dense()[40:100]
    found = spread.compare(spread.sample_cells(a, rng=lambda: rng), spread.sample_cells(b, rng=lambda: rng))
    a, b = a.astype(float), b.astype(float)
    within_a, within_b = (cdist(x, x).sum() / (len(x) * (len(x) - 1)) for x in (a, b))
    assert found.edistance == pytest.approx(2 * cdist(a, b).mean() - within_a - within_b, abs=1e-9)


def test_energy_distance_tells_populations_apart(kang):
    cells = kang[kang.obs["cell_type"] == "CD8 T"]
    control = cells[cells.obs["perturbation"] == "control"].X.toarray()
    perturbed = cells[cells.obs["perturbation"] != "control"].X.toarray()

    def distance(a, b):
        first, second = (spread.sample_cells(x, rng=lambda: np.random.default_rng(0), max_cells=30) for x in (a, b))
        assert len(first.cells) <= 30
        return spread.compare(first, second).edistance

    apart = distance(control, perturbed)
    assert apart > 0.5
    assert abs(distance(perturbed[::2], perturbed[1::2])) < apart / 5
    assert distance(np.repeat(perturbed.mean(axis=0, keepdims=True), 30, axis=0), perturbed) > 0.5


def test_energy_distance_of_one_cell_is_undefined():
    rng = np.random.default_rng(0)
    one, two = (
        spread.sample_cells(np.ones((1, 2)), rng=lambda: rng),
        spread.sample_cells(np.ones((2, 2)), rng=lambda: rng),
    )
    assert np.isnan(spread.compare(one, two).edistance)


def test_mmd_equals_its_definition(papalexi_population):
    rng = np.random.default_rng(0)
    a, b = papalexi_population.dense()[:40], papalexi_population.dense()[40:100]
    found = spread.compare(spread.sample_cells(a, rng=lambda: rng), spread.sample_cells(b, rng=lambda: rng)).mmd
    a, b = a.astype(float), b.astype(float)
    median = np.median(cdist(b, b)[~np.eye(len(b), dtype=bool)])
    expected = []
    for width in (0.5, 1, 2):
        aa, bb, ab = (np.exp(-(cdist(x, y) ** 2) / (2 * (width * median) ** 2)) for x, y in ((a, a), (b, b), (a, b)))
        within = [(k.sum() - len(k)) / (len(k) * (len(k) - 1)) for k in (aa, bb)]
        expected.append(sum(within) - 2 * ab.mean())
    assert found == pytest.approx(np.mean(expected), abs=1e-9)


def test_distances_tell_a_copied_mean_from_a_population(kang):
    """The mean cell, repeated, has a perfect pseudobulk and is no population."""
    cells = kang[(kang.obs["cell_type"] == "CD8 T") & (kang.obs["perturbation"] != "control")].X.toarray()
    rng = np.random.default_rng(0)
    real, half = (spread.sample_cells(cells[start::2], rng=lambda: rng) for start in (0, 1))
    copies = np.repeat(cells[1::2].mean(axis=0, keepdims=True), 30, axis=0)
    collapsed = spread.sample_cells(copies, rng=lambda: rng)
    assert spread.compare(collapsed, real).mmd > 10 * abs(spread.compare(half, real).mmd)
    assert spread.sd_ratio(copies, real.cells) < 1e-6
    assert spread.calibration_error(copies, real.cells) > 3 * spread.calibration_error(half.cells, real.cells)


def test_genes_are_calibrated_alike_together_and_one_by_one(papalexi_population, monkeypatch):
    cells = papalexi_population.dense()
    together = spread.calibration_error(cells[:40], cells[40:100])
    monkeypatch.setattr(spread, "_FEW_CELLS", 0)
    assert 0.01 < together == pytest.approx(spread.calibration_error(cells[:40], cells[40:100]), abs=1e-12)


def test_calibration_of_few_cells_compares_all_pairs(monkeypatch):
    cells = np.random.default_rng(0).poisson(1.5, (40, 70)).astype(np.float64)
    assert 20 * 20 <= spread._FEW_PAIRS
    pairs = spread.calibration_error(cells[:20], cells[20:])
    monkeypatch.setattr(spread, "_FEW_PAIRS", 0)
    assert 0.01 < pairs == pytest.approx(spread.calibration_error(cells[:20], cells[20:]), abs=1e-12)


def test_calibration():
    rng = np.random.default_rng(0)
    real = rng.normal(5, 1, (4000, 3))
    assert spread.calibration_error(real, real) == pytest.approx(0, abs=1e-9)
    assert spread.calibration_error(rng.normal(5, 1, (4000, 3)), real) < 0.02
    narrow, wide = (spread.calibration_error(rng.normal(5, sd, (4000, 3)), real) for sd in (0.1, 10))
    assert 0.15 < narrow and 0.15 < wide
    assert spread.calibration_error(rng.normal(50, 1, (4000, 3)), real) == pytest.approx(0.5)
    zeros = np.where(rng.random((4000, 3)) < 0.6, 0, real)
    others = np.where(rng.random((4000, 3)) < 0.6, 0, rng.normal(5, 1, (4000, 3)))
    assert spread.calibration_error(others, zeros) < 0.02, "shared zeros are no miscalibration"
    assert np.isnan(spread.calibration_error(real[:1], real))
    assert np.isnan(spread.calibration_error(real, np.zeros((5, 3))))
