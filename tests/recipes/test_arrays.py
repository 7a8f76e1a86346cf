# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The jobs of an array conversion, run here by the shell that a batch script would use."""

import os
import subprocess
import sys
from pathlib import Path

import anndata
import pytest

from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.recipes.arrays import conversion_steps
from bionemo.scale.recipes.executors import ScheduledStep, array_tasks, script, shell_arrays
from bionemo.scale.recipes.steps import Step, prepare_step


KANG = Path(__file__).parents[2] / "examples" / "data" / "kang2018_pbmc_ifnb.h5ad"
SPLIT = """[training]
"first half" = "train"
second = "train"

[zeroshot]
"first half.NK" = "test"
"second.NK" = "test"
"""


def run(step: Step, task: int | None = None) -> None:
    words = script(ScheduledStep(step=step), held_by="bash").to_command()[:-3]
    assert {type(word) for word in words} == {str}, "NeMo-Run refuses others when it submits"
    command = "\n".join([*shell_arrays(step), " ".join(["set -eu;", sys.executable, *words])])
    environment = {**os.environ, **({} if task is None else {"SLURM_ARRAY_TASK_ID": str(task)})}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_jobs_make_the_store_of_one_conversion(tmp_path: Path):
    """Byte for byte, from paths and names with blanks and quotes."""
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    cells, inputs = anndata.read_h5ad(KANG), (folder / "a b.h5ad", folder / "c.h5ad")
    for number, path in enumerate(inputs):
        cells[number::8].copy().write_h5ad(path)
    split = folder / "split.toml"
    split.write_text(SPLIT)
    config = PrepareSettings(
        inputs=inputs,
        out=folder / "joined",
        datasets=("first half", "second"),
        split=split,
        num_hvg=100,
        library_size_key="n_counts_full",
    )
    steps = conversion_steps(config, folder / "work")
    assert [step.name for step in steps] == ["scan", "convert", "merge"]
    assert [array_tasks(step) for step in steps] == ["0-1", "0-1", None]
    for step in steps[:2]:
        # In the other order: tasks of an array run as they come.
        run(step, task=1)
        run(step, task=0)
    run(steps[2])
    run(prepare_step(PrepareSettings(**{**vars(config), "out": folder / "whole"})))
    whole, joined = (sorted(path.name for path in (folder / name).iterdir()) for name in ("whole", "joined"))
    assert whole == joined and any(name.endswith(".lmdb") for name in whole)
    for name in whole:
        if name.endswith(".lmdb"):
            assert (folder / "whole" / name).read_bytes() == (folder / "joined" / name).read_bytes()
    assert (folder / "whole" / "split.json").read_text() == (folder / "joined" / "split.json").read_text()
