# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of gene sets: by their definition, on sides of known changes, and what is refused."""

import importlib.util

import numpy as np
import pytest
from scipy import stats

from bionemo.scale.eval import enrichment
from bionemo.scale.eval.enrichment import Enrichment, compare, enrich, open_gene_sets, set_table
from bionemo.scale.types import InputError


GENES = tuple(f"g{row}" for row in range(40))
SETS = {"low": range(5), "high": range(20, 28), "odd": range(1, 40, 2), "short": range(4)}

pytestmark = pytest.mark.skipif(importlib.util.find_spec("decoupler") is None, reason="decoupler is not installed")


@pytest.fixture
def path(tmp_path):
    lines = ["\t".join([name, "a description", *(f"g{row}" for row in rows), "none"]) for name, rows in SETS.items()]
    (tmp_path / "sets.gmt").write_text("\n".join(lines) + "\n")
    return tmp_path / "sets.gmt"


@pytest.fixture
def sets(path):
    return open_gene_sets(path, GENES)


def test_the_score_is_the_t_value_of_membership(sets):
    assert sets.names == ["low", "high", "odd"], "short sets are left out"
    assert "3 of 4 sets have at least 5 of the genes that are scored; scored by decoupler" in sets.note
    changes = np.random.default_rng(0).normal(size=(3, len(GENES)))
    changes[:, 7] = 0.0
    changes[1] = 0.0
    found = enrich(changes, sets)
    for row in (0, 2):
        expected = []
        for column, name in enumerate(sets.names):
            member = np.isin(GENES, sets.members[name]).astype(float)
            fit = stats.linregress(member, changes[row])
            assert found.scores[row, column] == pytest.approx(fit.slope / fit.stderr, rel=1e-4)
            expected.append(fit.pvalue)
        np.testing.assert_allclose(found.fdr[row], stats.false_discovery_control(expected), rtol=1e-4)
    assert np.isnan(found.scores[1]).all() and np.isnan(found.fdr[1]).all(), "nothing changes"


def test_sides_are_compared_over_sets():
    real = Enrichment(
        scores=np.array([[3.0, -4.0, 0.5], [1.0, 0.0, -1.0]]), fdr=np.array([[0.01, 0.001, 0.6], [0.3, 0.9, 0.3]])
    )
    pred = Enrichment(scores=np.array([[1.0, 1.0, 2.0], [2.0, 0.0, -2.0]]), fdr=np.full((2, 3), 0.5))
    found = compare(pred, real)
    assert found["sets_real"].tolist() == [2, 0]
    np.testing.assert_allclose(found["sets_correlation"], [np.corrcoef([1, 1, 2], [3, -4, 0.5])[0, 1], 1.0])
    assert found["sets_direction"][0] == 0.5 and np.isnan(found["sets_direction"][1])
    nothing = Enrichment(scores=np.full((2, 3), np.nan), fdr=np.full((2, 3), np.nan))
    none = compare(nothing, real)
    assert none["sets_real"].tolist() == [2, 0] and np.isnan(none["sets_correlation"]).all()


def test_the_table_has_both_sides(sets):
    changes = np.random.default_rng(1).normal(size=(2, len(GENES)))
    pred = enrich(np.stack([changes[0], np.zeros(len(GENES))]), sets)
    table = set_table(sets, ["A", "B"], pred=pred, real=enrich(changes, sets), model="m", context="T")
    assert table.height == 6 and table["gene_set"].to_list() == ["low", "high", "odd"] * 2
    assert table["num_genes"].to_list() == [5, 8, 20] * 2
    assert table["same_direction"].to_list() == [True] * 3 + [None] * 3
    turned = set_table(sets, ["A", "B"], pred=enrich(changes, sets), real=pred, model="m", context="T")
    assert turned["same_direction"].to_list() == [True] * 3 + [None] * 3
    assert table["score_pred"].null_count() == 3 and table["score_real"].null_count() == 0


def test_what_cannot_be_scored_is_refused(path, monkeypatch):
    with pytest.raises(InputError, match="with at least 5 of the 3 genes that are scored, found at most 0"):
        open_gene_sets(path, ("ENSG1", "ENSG2", "ENSG3"))
    path.write_text("name only\n")
    with pytest.raises(InputError, match="line 1: expected a set, a description and genes"):
        open_gene_sets(path, GENES)
    monkeypatch.setattr(enrichment.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="--gene-sets needs decoupler; pip install"):
        open_gene_sets(path, GENES)
