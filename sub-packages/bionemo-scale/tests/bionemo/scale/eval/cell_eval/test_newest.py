# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The newest cell-eval in its own environment: speaks through files, and differs where it is known to."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bionemo.scale.eval.cell_eval import newest as current
from bionemo.scale.eval.cell_eval.adapter import MetricError
from bionemo.scale.eval.cell_eval.environment import Environment, ensure_environment
from bionemo.scale.eval.cell_eval.newest import NEWEST, CurrentCellEval
from bionemo.scale.eval.scores.scoring import score_contexts
from bionemo.scale.eval.scores.task import Model, Task
from bionemo.scale.types import InputError


def fake(folder: Path, answer: str) -> Environment:
    """An interpreter that answers every request in the same way."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{answer}\n")
    python.chmod(0o755)
    return Environment(python=python, versions={"cell-eval": "9.9"})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("read line; echo '" + json.dumps({"error": "ValueError: no"}) + "'", "cell-eval 9.9 failed: ValueError: no"),
        ("echo out of memory >&2; exit 1", "cell-eval 9.9 stopped: out of memory"),
    ],
)
def test_failures_of_the_other_interpreter_are_told(tmp_path, kang, answer, expected):
    with CurrentCellEval(fake(tmp_path, answer)) as evaluator, pytest.raises(MetricError, match=expected):
        evaluator.score(pred=kang, real=kang, real_key="T", control="control")
    assert kang.obs["perturbation"].dtype == object, "the caller's labels stay as they are"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_newest_cell_eval_on_the_same_cells(papalexi_population):
    """Pseudobulk metrics agree; what depends on the scope of the FDR does not. Uses the environment of the command."""
    try:
        environment = ensure_environment(NEWEST)
    except InputError as error:
        pytest.skip(str(error))
    is_control = papalexi_population.perturbation == "control"
    cells, controls = papalexi_population.select(~is_control), papalexi_population.select(is_control)
    rng = np.random.default_rng(0)
    spoilt = (0.7 * cells.dense() + 0.3 * cells.dense()[rng.permutation(len(cells))]).astype(np.float32)
    model = Model(name="m", cells=replace(cells, expression=spoilt), controls=controls)
    with CurrentCellEval(environment) as evaluator:
        task = Task(
            cells=cells, controls=controls, control="control", models=(model,), ceiling=True, current=evaluator
        )
        scores = next(iter(score_contexts(task))).scores
    assert int(environment.versions["cell-eval"].split(".")[1]) >= 8
    for name in ("pearson_delta", "mse", "mae", "discrimination_score_l1", "discrimination_score_cosine"):
        ours, theirs = (scores[prefix + name].to_numpy() for prefix in ("", current.PREFIX))
        np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=name)
    counts = [scores[prefix + "de_nsig_counts_real"].to_list() for prefix in ("", current.PREFIX)]
    assert counts[0] != counts[1], "FDR over all perturbations against FDR per perturbation"
