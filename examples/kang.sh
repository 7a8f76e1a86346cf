#!/usr/bin/env bash
# Kang et al. 2018: PBMC with and without IFN-beta. CD4 T and NK cells under IFN-beta are held out; their controls are
# known. From raw counts to predicted cells and scores in four commands.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
out="${1:-runs/kang}"
max_steps="${MAX_STEPS:-400}"

bionemo-scale-prepare "$here/data/kang2018_pbmc_ifnb.h5ad" --out "$out/store" --overwrite \
    --dataset kang --split "$here/splits/kang.toml" --library-size-key n_counts_full

bionemo-scale-train --store "$out/store" --out "$out/run" --size small --max-steps "$max_steps" --seed 0

bionemo-scale-infer --checkpoint "$out/run" --store "$out/store" --split test --out "$out/predicted" --with-controls --overwrite

bionemo-scale-evaluate --pred "$out/predicted/adata_pred.h5ad" --real "$out/predicted/adata_real.h5ad" \
    --name SCALE --store "$out/store" --out "$out/scores" --plot
