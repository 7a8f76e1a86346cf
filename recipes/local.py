# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""This machine: prepare -> train -> infer -> evaluate, two processes, no GPU needed.

python recipes/local.py --dryrun        # say what would happen
python recipes/local.py --out runs/one --max-steps 400
"""

import sys
from pathlib import Path

from bionemo.scale.recipes.pipeline import Pipeline
from bionemo.scale.run.launch import main


EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

PIPELINE = Pipeline(
    inputs=(EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad",),
    split=EXAMPLES / "splits" / "kang.toml",
    out=Path("runs") / "local",
    size="small",
    prepare={"datasets": ("kang",), "library_size_key": "n_counts_full"},
    train={"max_steps": 400, "devices": 2},
    infer_tasks=2,
)

if __name__ == "__main__":
    sys.exit(main(PIPELINE, "local"))
