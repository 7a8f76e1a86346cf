# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What training on real data must and must not do."""

import csv
from pathlib import Path
from typing import Any

import pytest

from bionemo.scale.train.callbacks.metrics_file import SPEED


pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def histories(commands: Any, tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, float]]]:
    """metrics.csv of two runs of 200 steps that differ in nothing."""
    folder = tmp_path_factory.mktemp("learning")
    data, split = EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad", EXAMPLES / "splits" / "kang.toml"
    options = ("--dataset", "kang", "--library-size-key", "n_counts_full", "--hvg", 200)
    commands.run("prepare", data, "--out", folder / "store", "--split", split, *options)
    histories = []
    for name in ("first", "second"):
        size = ("--size", "tiny", "--max-steps", 200, "--val-interval", 200, "--log-interval", 1, "--set-size", 16)
        commands.run("train", "--store", folder / "store", "--out", folder / name, *size, "--seed", 3)
        with (folder / name / "metrics.csv").open() as file:
            histories.append([_numbers(row) for row in csv.DictReader(file)])
    return histories


def _numbers(row: dict[str, str]) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if value and name not in SPEED}


def test_the_same_seed_gives_the_same_run_bit_for_bit(histories):
    first, second = histories
    assert len(first) >= 200
    assert first == second


def test_the_encoder_does_not_collapse(histories):
    """The latents of a set's cells keep differing; without the autoencoding loss they end below 0.001."""
    spread = [row["latent_variance"] for row in histories[0] if "latent_variance" in row]
    assert min(spread[-20:]) > 0.02


def test_every_term_of_the_loss_goes_down(histories):
    rows = [row for row in histories[0] if "loss" in row]
    for name in ("loss", "mse", "endpoint"):
        early, late = (sum(row[name] for row in part) for part in (rows[:20], rows[-20:]))
        assert late < 0.8 * early, name
