# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The order of test files, and what tests of the package and of the repository share.

What takes long begins first, so that the workers end together.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order files by :func:`length`; tests of a file stay in their order."""
    files: dict[object, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    items[:] = [item for tests in sorted(files.values(), key=length, reverse=True) for item in tests]


def length(tests: Sequence[pytest.Item]) -> tuple[float, int, int]:
    """Return what is known of the time that a file takes: its longest limit, its slow tests, its tests."""
    limits = [mark.args[0] for test in tests for mark in test.iter_markers("timeout")]
    slow = sum(test.get_closest_marker("slow") is not None for test in tests)
    return max(limits, default=0.0), slow, len(tests)


@pytest.fixture
def write_pairs() -> Callable[[Path], None]:
    """Write screen.h5ad and split.toml to a folder: one cell type, pairs, and a test label with a new agent.

    The data set is called screen; nothing says how labels are read.
    """
    import anndata as ad
    import numpy as np
    import pandas as pd
    from scipy.sparse import csr_matrix

    def write(folder: Path) -> None:
        labels = ("control", "a", "a+b", "b", "c", "d", "new")
        obs = pd.DataFrame({"perturbation": np.repeat(labels, 30), "cell_type": "T", "batch": "1"})
        obs.index = obs.index.astype(str)
        var = pd.DataFrame(index=[f"gene{number}" for number in range(60)])
        counts = csr_matrix(np.random.default_rng(0).poisson(3.0, (len(obs), 60)))
        ad.AnnData(counts, obs=obs, var=var).write_h5ad(folder / "screen.h5ad")
        (folder / "split.toml").write_text('[training]\nscreen = "train"\n[fewshot."screen.T"]\ntest = ["new"]\n')

    return write


@pytest.fixture
def make_summary() -> Callable[..., Any]:
    """Return a function that makes the summary of an evaluation of which only scores and names matter."""
    from bionemo.scale.eval.output.summary import BaselineNotes, Evaluator, InputFile, Inputs, Summary

    def make(*, fallback_cells: dict[str, int] | None = None, cells: int = 10, **fields: Any) -> Summary:
        notes = {"fitted_on": "store", "ridge_penalty": None, "cells": cells, "seed": 0}
        return Summary(
            against_best_baseline={},
            control_policy="same-real",
            pairs_without_significant_real_gene=0,
            baselines=BaselineNotes(**notes, fallback_cells=fallback_cells or {}),
            evaluator=Evaluator(versions={}, de_engine="fast", conventions={}),
            current_evaluator=None,
            paper_names={},
            paper_metrics={},
            notes=[],
            contexts={},
            inputs=Inputs(real=InputFile(path="r", sha256="0"), pred={}, store=None),
            **fields,
        )

    return make
