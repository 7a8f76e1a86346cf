#!/usr/bin/env bash
# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
# Replogle-Nadig: counts in X, one h5ad a cell line. Only knock-downs that left less than 30 % of the target's expression
# are kept, and of them only such cells; cell-load's default for cells is 50 % (--knockdown 0.3 0.5).
#   bash replogle_nadig.sh STORE k562.h5ad rpe1.h5ad hepg2.h5ad jurkat.h5ad [options of bionemo-scale-prepare]
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
store="$1"
shift
bionemo-scale-prepare "$@" --out "$store" --dataset replogle --split "$here/replogle_nadig.toml" \
    --perturbation-key gene --control non-targeting --cell-type-key cell_line --batch-key gem_group \
    --gene-key gene_name --hvg 2000 --knockdown 0.3
