# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Every reader of expression says the same of values that are neither counts nor log1p on the expected scale."""

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from bionemo.scale import api
from bionemo.scale.eval.cells.read_population import read_population
from bionemo.scale.eval.cells.scale_check import check_scale
from bionemo.scale.infer.controls.control_cells import CellSource, read_controls
from bionemo.scale.infer.settings import GivenScale
from bionemo.scale.notebook.controls import read_notebook_controls
from bionemo.scale.types import DataCard, ExpressionScale, FileLabels, InputError, ObsKeys


KANG = Path(__file__).parents[2] / "examples" / "data" / "kang2018_pbmc_ifnb.h5ad"


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    adata = ad.read_h5ad(KANG)[::4]
    return ad.AnnData(adata.X.toarray().astype(np.float64), obs=adata.obs.iloc[:, :3].astype(str), var=adata.var[[]])


def scaled(counts: np.ndarray, target_sum: float = 1e4) -> np.ndarray:
    return counts / counts.sum(axis=1, keepdims=True) * target_sum


KINDS = {
    "no logarithm": (scaled, "normalised without a logarithm: every cell has the sum 10000"),
    "fractional": (lambda x: np.where(x > 0, np.minimum(x, 9) - np.linspace(0.1, 0.4, x.shape[1]), 0), "SoupX"),
    "median": (lambda x: np.log1p(scaled(x, 700.0)), "sum before the logarithm is 700"),
    "log2": (lambda x: np.log2(1 + scaled(x)), r"log2(1 + x)"),
    "log10": (lambda x: np.log10(1 + scaled(x)), r"log10(1 + x)"),
    "twice": (lambda x: np.log1p(np.log1p(scaled(x))), "log1p taken twice"),
    "unscaled": (np.log1p, "scaled to no library size"),
    "zeros": (np.zeros_like, "every value is 0"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_reader_says_the_same(cells: ad.AnnData, kind: str, tmp_path: Path):
    change, expected = KINDS[kind]
    changed = ad.AnnData(change(cells.X).astype(np.float32), obs=cells.obs, var=cells.var)
    path = tmp_path / "cells.h5ad"
    changed.write_h5ad(path)
    card = DataCard(
        genes=tuple(cells.var_names[:50]),
        cell_types=(),
        perturbations=(),
        batches=(),
        control="control",
        scale=ExpressionScale(),
        keys=ObsKeys(),
    )
    readers = {
        "prepare": lambda: api.prepare([path], tmp_path / "store"),
        "infer": lambda: read_controls(CellSource(path=path), card),
        "predict": lambda: read_notebook_controls(changed, card, GivenScale(), matrix="X", gene_key=None),
        "evaluate": lambda: check_scale(read_population(path, labels=FileLabels(target_sum=1e4))),
    }
    for read in readers.values():
        with pytest.raises(InputError) as error:
            read()
        assert expected in str(error.value) and "\n" not in str(error.value)
