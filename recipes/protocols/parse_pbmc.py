# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Parse PBMC: counts in X. Table 1 of the paper; docs/protocols.md.

python recipes/protocols/parse_pbmc.py --inputs Parse_10M_PBMC_cytokines.h5ad --out runs/parse --dryrun
"""

import sys
from pathlib import Path

from bionemo.scale.recipes.protocol import Protocol, Variant
from bionemo.scale.run.inner.protocol import main


PROTOCOL = Protocol(
    name="parse_pbmc",
    title="Parse PBMC",
    prepare={
        "datasets": ("parse",),
        "controls": ("PBS",),
        # Donors are held out, so that the donor stands where the cell type does. Controls are matched within donor and
        # cell type, which is why the cell type is the batch here.
        "keys": {"perturbation": "cytokine", "cell_type": "donor", "batch": "cell_type"},
    },
    variants={
        "fewshot": Variant(
            says="four donors: 62 cytokines for the test, 4 for validation, the other 24 are trained on",
            file=Path(__file__).with_suffix(".toml"),
        )
    },
)

if __name__ == "__main__":
    sys.exit(main(PROTOCOL, site=Path(__file__).parents[1] / "site.yaml"))
