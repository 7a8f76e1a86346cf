# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A store and a briefly trained model of real data, made once by the Python API."""

from pathlib import Path

import pytest

from bionemo.scale import api


EXAMPLES = Path(__file__).parents[2] / "examples"
KANG = EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad"


@pytest.fixture(scope="session")
def api_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("api") / "store"
    summary = api.prepare(
        [KANG],
        out,
        split=EXAMPLES / "splits" / "kang.toml",
        datasets=["kang"],
        num_hvg=200,
        library_size_key="n_counts_full",
    )
    assert summary.out == out and summary.num_genes == 200
    return out


@pytest.fixture(scope="session")
def api_run(api_store: Path) -> Path:
    return api.train(api_store, api_store.parent / "run", size="tiny", max_steps=6, val_interval=6, log_interval=3)
