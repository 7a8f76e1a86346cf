# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Cross-validations of real cells: without a network over donors, and with one over cell types."""

import json
import tempfile
from pathlib import Path

import anndata
import polars as pl
import pytest

from bionemo.scale import api
from bionemo.scale.types import InputError


pytestmark = pytest.mark.slow

KANG = Path(__file__).parents[2] / "examples" / "data" / "kang2018_pbmc_ifnb.h5ad"
OPTIONS = (
    *("--no-network", "--hvg", 100, "--library-size-key", "n_counts_full"),
    *("--baselines", "additive,persistence,mixed_model"),
)
DONORS = ("donor_1015", "donor_1256", "donor_1488")


@pytest.fixture(scope="module")
def screen(tmp_path_factory) -> Path:
    """Three donors, three cell types."""
    cells = anndata.read_h5ad(KANG)
    obs = cells.obs.astype(str)
    kept = obs["batch"].isin(DONORS) & obs["cell_type"].isin(["B", "CD14 Mono", "CD4 T"])
    path = tmp_path_factory.mktemp("screen") / "screen.h5ad"
    cells[kept.to_numpy()].copy().write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def donors(screen, commands, tmp_path_factory) -> tuple[Path, str]:
    """Each donor left out by the command, two at a time, without a network; results and screen."""
    out = tmp_path_factory.mktemp("donors") / "out"
    return out, commands.run("crossval", screen, "--out", out, "--leave-out", "batch", *OPTIONS, "--workers", 2)


def test_each_donor_is_scored_against_its_own_controls(donors, screen):
    out, shown = donors
    scores = pl.read_csv(out / "scores.csv")
    assert sorted(set(scores["fold"])) == list(DONORS)
    cells = anndata.read_h5ad(screen, backed="r").obs
    one = scores.filter((pl.col("fold") == DONORS[1]) & (pl.col("model") == "mixed_model"))
    for row in one.iter_rows(named=True):
        same = (cells["batch"] == DONORS[1]) & (cells["cell_type"] == row["context"])
        assert row["cells_real"] == int((same & (cells["perturbation"] == row["perturbation"])).sum())
    real = anndata.read_h5ad(out / "folds" / f"02 {DONORS[1]}" / "predicted" / "adata_real.h5ad")
    assert set(real.obs["batch"]) == {DONORS[1]}
    assert "means over 3 folds" in shown and "mixed_model against the best baseline" in shown
    assert (
        "baselines have seen their mean"
        not in (out / "folds" / f"02 {DONORS[1]}" / "scores" / "summary.json").read_text()
    )


def test_finished_folds_are_not_done_again(donors, screen, commands):
    out, _ = donors
    before = (out / "folds" / f"01 {DONORS[0]}" / "scores" / "summary.json").stat().st_mtime_ns
    (out / "folds" / f"03 {DONORS[2]}" / "scores" / "summary.json").unlink()
    again = commands.run("crossval", screen, "--out", out, "--leave-out", "batch", *OPTIONS)
    assert f"fold 3/3 {DONORS[2]}: scoring" in again and "fold 1/3" not in again
    assert (out / "folds" / f"01 {DONORS[0]}" / "scores" / "summary.json").stat().st_mtime_ns == before
    other = commands.run("crossval", screen, "--out", out, "--leave-out", "cell-type", *OPTIONS, "--fold", 1)
    assert "fold 1/3 B: scoring" in other, "folds of two rules have folders of their own"


def test_cells_of_a_notebook(screen, tmp_path, monkeypatch):
    """The same call continues, without a store of its own or a file left over; other cells are refused."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    cells = anndata.read_h5ad(screen)
    options = {
        "prepare": {"num_hvg": 100, "library_size_key": "n_counts_full"},
        "leave_out": "batch",
        "no_network": True,
        "baselines": ["control", "additive"],
    }
    assert api.crossval(tmp_path / "out", inputs=cells, fold=1, **options) is None
    found = api.crossval(tmp_path / "out", inputs=cells.copy(), **options)
    assert sorted(set(found.scores["fold"])) == list(DONORS)
    with pytest.raises(InputError, match="holds a store of other settings: expected inputs"):
        api.crossval(tmp_path / "out", inputs=cells[10:].copy(), **options)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_with_a_network(screen, tmp_path):
    """Train, predict and score one fold; the summary says what was left out and how to do it again."""
    options = dict(
        prepare={"num_hvg": 100, "library_size_key": "n_counts_full"},
        size="tiny",
        network_alone=True,
        baselines=["additive", "mixed_model"],
    )
    train = {"max_steps": 4, "val_interval": 4, "log_interval": 2}
    found = api.crossval(
        tmp_path / "out", inputs=screen, leave_out="cell-type", only=["CD4 T"], train=train, **options
    )
    assert {"SCALE", "network alone", "mixed_model", "ceiling"} <= set(found.models)
    assert found.models["SCALE"]["mse"].mean > 0 and "no intervals" in found.table
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["folds"][0]["left_out"] == [["CD4 T"]] and summary["leave_out"] == "cell-type"
    assert "--max-steps" in summary["command"]
    folder = tmp_path / "out" / summary["folds"][0]["folder"]
    assert (folder / "run" / "config.yaml").is_file() and (folder / "log.txt").stat().st_size
    with pytest.raises(InputError, match="expected max_steps 4, found 5"):
        api.crossval(
            tmp_path / "out",
            inputs=screen,
            leave_out="cell-type",
            only=["CD4 T"],
            train={**train, "max_steps": 5},
            **options,
        )
