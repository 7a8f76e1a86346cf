#!/usr/bin/env bash
# Papalexi et al. 2021: 25 CRISPR knock-outs in THP-1 cells, two replicates. Twelve knock-outs of replicate 2 are held
# out; replicate 1 shows them all. The replicate is both the batch and the context here.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
out="${1:-runs/papalexi}"
max_steps="${MAX_STEPS:-400}"

bionemo-scale-prepare "$here/data/papalexi2021_thp1_eccite.h5ad" --out "$out/store" --overwrite \
    --dataset papalexi --split "$here/splits/papalexi.toml" --cell-type-key batch --batch-key batch

bionemo-scale-train --store "$out/store" --out "$out/run" --size small --max-steps "$max_steps" --seed 0

bionemo-scale-infer --checkpoint "$out/run" --store "$out/store" --split test --out "$out/predicted" --with-controls --overwrite

bionemo-scale-evaluate --pred "$out/predicted/adata_pred.h5ad" --real "$out/predicted/adata_real.h5ad" \
    --name SCALE --store "$out/store" --out "$out/scores" --plot
