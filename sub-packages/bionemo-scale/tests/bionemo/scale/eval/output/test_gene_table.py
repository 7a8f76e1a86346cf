# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import polars as pl

from bionemo.scale.eval.output import gene_table
from bionemo.scale.eval.output.gene_table import GeneTable
from bionemo.scale.eval.scores.scoring import Shift


def test_parts_are_one_table_in_the_order_of_the_shifts(tmp_path, monkeypatch):
    monkeypatch.setattr(gene_table, "_ROWS_AT_ONCE", 4)
    rng, names = np.random.default_rng(0), ("pred", "real", "fdr_pred", "fdr_real", "error_real")
    shifts = [
        Shift(
            model="m",
            context=context,
            perturbation=name,
            genes=("G1", "G2"),
            **dict(zip(names, rng.random((5, 2)), strict=True)),
        )
        for context in ("A", "B")
        for name in ("x", "y", "z")
    ]
    table = GeneTable(tmp_path / "genes.parquet")
    table.add(shifts[:3])
    table.add(shifts[3:])
    table.close()
    found = pl.read_parquet(tmp_path / "genes.parquet")
    assert found["context"].to_list() == ["A"] * 6 + ["B"] * 6
    assert found["perturbation"].to_list() == ["x", "x", "y", "y", "z", "z"] * 2
    assert found["gene"].to_list() == ["G1", "G2"] * 6
    for name in names:
        expected = np.concatenate([getattr(shift, name) for shift in shifts])
        kept = expected if name.startswith("fdr") else expected.astype(np.float32)
        np.testing.assert_array_equal(found[name].to_numpy(), kept)
    assert found["sd_pred"].is_nan().all() and found["sd_pred"].dtype == pl.Float32
