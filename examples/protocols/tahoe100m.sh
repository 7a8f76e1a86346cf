#!/usr/bin/env bash
# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
# Tahoe-100M: counts in X, one h5ad a plate, all of them at once; see docs/datasets.md for many machines.
#   bash tahoe100m.sh STORE plate*.h5ad [options of bionemo-scale-prepare, such as --workers 8]
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
store="$1"
shift
bionemo-scale-prepare "$@" --out "$store" --dataset tahoe --split "$here/tahoe100m.toml" \
    --perturbation-key drugname_drugconc --control "[('DMSO_TF', 0.0, 'uM')]" \
    --cell-type-key cell_line --batch-key plate --hvg 2000
