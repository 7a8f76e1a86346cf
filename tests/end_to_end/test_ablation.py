# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The ablation study: a variant and the baseline with its ways to predict, then nothing left to do."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest


pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "examples" / "ablation.py"
BASELINE = "seed pooling, x-pred/x-loss, control prior"


def run(store: Path, out: Path, *more: str, only: str = f"{BASELINE};OT pairs") -> str:
    result = subprocess.run(
        [
            sys.executable,
            SCRIPT,
            "--store",
            f"kang={store}",
            "--out",
            out,
            "--steps",
            "2",
            "--seeds",
            "1",
            "--only",
            only,
            *more,
        ],
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_runs_are_scored_once_and_shown(api_store: Path, tmp_path: Path):
    assert "2/2" in run(api_store, tmp_path)
    rows = pd.read_csv(tmp_path / "results.csv")
    assert set(rows["variant"]) == {BASELINE, "OT pairs", *runpy.run_path(str(SCRIPT))["GENERATION"]}
    assert rows[["PDCorr", "MSE", "sd_ratio", "latent_variance"]].notna().all(axis=None)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert "1/2" not in run(api_store, tmp_path), "runs that are there are not made again"
    assert "| baseline | seed pooling" in (tmp_path / "table.md").read_text()


def test_the_papers_setting_has_a_baseline_of_its_own(api_store: Path, tmp_path: Path):
    assert "1/1" in run(api_store, tmp_path, "--preset", "paper", only="x-pred/x-loss")
    rows = pd.read_csv(tmp_path / "results.csv")
    assert list(rows["axis"]) == ["JiT variant"], "without other ways to predict"
    assert rows[["PDCorr", "MSE", "sd_ratio"]].notna().all(axis=None)


def test_each_axis_leaves_one_member_to_the_baseline():
    study = runpy.run_path(str(SCRIPT))["STUDIES"]["paper"]
    poolings = {fields["condition_pooling"] for fields in study.axes["pooling"].values()}
    assert poolings == {"mean", "attention", "seed"} and study.fields["condition_pooling"] == "token"
    losses = {(f.get("parameterization", "v"), f.get("loss_space", "v")) for f in study.axes["JiT variant"].values()}
    assert losses == {("v", "x"), ("x", "v"), ("x", "x")}
