# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
from scipy import stats

from bionemo.scale.eval.cells.populations import to_anndata
from bionemo.scale.eval.metrics.differential import differential_expression


def test_false_discovery_rate_is_controlled_over_the_whole_context(papalexi_population):
    cells = papalexi_population
    adata = to_anndata(expression=cells.dense(), perturbation=cells.perturbation, genes=cells.genes)
    frame = differential_expression(adata, control="control")
    assert frame.height == 5 * 120
    expected = stats.false_discovery_control(frame["p_value"].to_numpy())
    np.testing.assert_array_equal(frame["fdr"].to_numpy(), expected)


def test_finds_the_genes_that_interferon_turns_on(kang):
    cells = kang[kang.obs["cell_type"] == "CD8 T"]
    adata = to_anndata(
        expression=cells.X.toarray(), perturbation=cells.obs["perturbation"].to_numpy(), genes=tuple(cells.var_names)
    )
    frame = differential_expression(adata, control="control").sort("p_value")
    up = set(frame.filter(frame["fold_change"] > 1)["feature"][:10])
    assert {"ISG15", "IFI6", "ISG20"} <= up
