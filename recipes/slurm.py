# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A Slurm cluster: four jobs, each waiting for the success of the one before.

python recipes/slurm.py --dryrun        # say what would happen
python recipes/slurm.py --out runs/one --max-steps 400
"""

import sys
from pathlib import Path

from bionemo.scale.recipes.pipeline import Pipeline
from bionemo.scale.run.launch import main


EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

PIPELINE = Pipeline(
    inputs=(EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad",),
    split=EXAMPLES / "splits" / "kang.toml",
    out=Path("runs") / "slurm",
    size="small",
    prepare={"datasets": ("kang",), "library_size_key": "n_counts_full"},
    train={"max_steps": 400, "devices": 2},
    infer_tasks=2,
)

if __name__ == "__main__":
    sys.exit(main(PIPELINE, "slurm", site=Path(__file__).with_name("site.yaml")))
