# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Small screens and the stores made of the bundled data."""

from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from hypothesis import settings

from bionemo.scale.data.prepare.preprocess import prepare
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.data.store.reader import Store
from bionemo.scale.types import ObsKeys, Split


# Timings say nothing on a machine that others use too.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

EXAMPLES = Path(__file__).parents[6] / "examples"
KANG = EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad"
PAPALEXI = EXAMPLES / "data" / "papalexi2021_thp1_eccite.h5ad"


@pytest.fixture
def make_store(tmp_path):
    """Write AnnDatas to files, prepare a store and open it."""

    def make(*screens: ad.AnnData, **options) -> Store:
        inputs = []
        for number, screen in enumerate(screens):
            path = tmp_path / f"screen{number}.h5ad"
            screen.write_h5ad(path)
            inputs.append(path)
        out = options.pop("out", tmp_path / "store")
        prepare(PrepareSettings(inputs=tuple(inputs), out=out, **options))
        return Store.open(out)

    return make


@pytest.fixture
def make_groups():
    """A table of groups by (dataset, cell type, perturbation or None for control, batch, split, cells)."""

    def make(*rows: tuple[str, str, str | None, str, Split, int]) -> GroupTable:
        columns = list(zip(*rows, strict=True))
        vocabularies = [tuple(sorted({name for name in column if name is not None})) for column in columns[:4]]
        codes = [
            [-1 if name is None else vocabulary.index(name) for name in column]
            for column, vocabulary in zip(columns[:4], vocabularies, strict=True)
        ]
        sizes = np.array(columns[5])
        return GroupTable.from_columns(
            {
                "dataset": codes[0],
                "cell_type": codes[1],
                "perturbation": codes[2],
                "batch": codes[3],
                "split": list(columns[4]),
                "first_row": (np.cumsum(sizes) - sizes).tolist(),
                "num_cells": sizes.tolist(),
                "shard": [0] * len(rows),
            },
            datasets=vocabularies[0],
            cell_types=vocabularies[1],
            perturbations=vocabularies[2],
            batches=vocabularies[3],
            control="control",
        )

    return make


@pytest.fixture(scope="session")
def kang_file() -> Path:
    return KANG


@pytest.fixture(scope="session")
def papalexi_file() -> Path:
    return PAPALEXI


@pytest.fixture(scope="session")
def kang_store(tmp_path_factory) -> Store:
    out = tmp_path_factory.mktemp("kang") / "store"
    prepare(
        PrepareSettings(
            inputs=(KANG,),
            datasets=("kang",),
            out=out,
            split=EXAMPLES / "splits" / "kang.toml",
            library_size_key="n_counts_full",
            num_hvg=2000,
        )
    )
    return Store.open(out)


@pytest.fixture(scope="session")
def papalexi_store(tmp_path_factory) -> Store:
    out = tmp_path_factory.mktemp("papalexi") / "store"
    prepare(
        PrepareSettings(
            inputs=(PAPALEXI,),
            datasets=("papalexi",),
            out=out,
            keys=ObsKeys(cell_type="batch"),
            split=EXAMPLES / "splits" / "papalexi.toml",
        )
    )
    return Store.open(out)
