# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Files of cells to score."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anndata as ad
import pytest

from bionemo.scale.eval.cells.population_file import PopulationFile
from bionemo.scale.eval.cells.read_population import read_population
from bionemo.scale.types import DataCard, ExpressionScale, FileLabels, ObsKeys


STATED = FileLabels(target_sum=1e4)


@pytest.fixture(scope="session")
def card_of() -> Callable[..., DataCard]:
    """Return the data card of cells as the Kang store has it, with fields changed."""

    def card_of(adata: ad.AnnData, **changes) -> DataCard:
        card = DataCard(
            genes=tuple(adata.var_names),
            cell_types=("CD8 T", "NK"),
            perturbations=("IFN-beta",),
            batches=tuple(sorted(set(adata.obs["batch"]))),
            control="control",
            scale=ExpressionScale(library_size_key="n_counts_full"),
            keys=ObsKeys(),
        )
        return replace(card, **changes)

    return card_of


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(adata: ad.AnnData, name: str, card: DataCard | None = None):
        adata = adata.copy()
        if card is not None:
            adata.uns["bionemo_scale"] = {"card": card.to_json(), "store": "/nowhere"}
        adata.write_h5ad(tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def read(write: Callable[..., Path]) -> Callable[..., PopulationFile]:
    def read(adata, name="pred.h5ad", card=None, labels=STATED):
        return read_population(write(adata, name, card), labels=labels)

    return read
