#!/usr/bin/env bash
# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
# Parse PBMC: counts in X. Controls are matched within donor and cell type, which is why the cell type is the batch here.
#   bash parse_pbmc.sh STORE Parse_10M_PBMC_cytokines.h5ad [options of bionemo-scale-prepare]
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
store="$1"
shift
bionemo-scale-prepare "$@" --out "$store" --dataset parse --split "$here/parse_pbmc.toml" \
    --perturbation-key cytokine --control PBS --cell-type-key donor --batch-key cell_type --hvg 2000
