# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A store and a briefly trained model of real data, made once by the Python API."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bionemo.scale import api


EXAMPLES = Path(__file__).parents[2] / "examples"
KANG = EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad"


def _prepare(folder: Path) -> None:
    summary = api.prepare(
        [KANG],
        folder / "store",
        split=EXAMPLES / "splits" / "kang.toml",
        datasets=["kang"],
        num_hvg=200,
        library_size_key="n_counts_full",
    )
    assert summary.out == folder / "store" and summary.num_genes == 200


@pytest.fixture(scope="session")
def api_store(make_once: Callable[..., Path]) -> Path:
    return make_once("api-store", _prepare) / "store"


@pytest.fixture(scope="session")
def api_run(api_store: Path, make_once: Callable[..., Path]) -> Path:
    options = dict(size="tiny", max_steps=6, val_interval=6, log_interval=3)
    return make_once("api-run", lambda folder: api.train(api_store, folder / "run", **options)) / "run"
