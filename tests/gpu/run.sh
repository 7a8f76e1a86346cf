#!/usr/bin/env bash
# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
# Every test that needs a GPU, then the time of a training step: on a machine with one GPU, in an environment where
# bionemo-scale is installed (with its te extra for Transformer Engine).
#   bash tests/gpu/run.sh [OUT]
set -uo pipefail
cd "$(dirname "$0")/../.."
out=${1:-runs/gpu}
mkdir -p "$out"

python - <<'PY' || exit 2
import sys, torch
if not torch.cuda.is_available():
    sys.exit("error: tests/gpu/run.sh needs a CUDA device, found none")
PY

python -m pytest tests/gpu -m gpu -rA --tb=short --junit-xml="$out/tests.xml" >"$out/tests.log" 2>&1
tests=$?
sizes=(base 184m)
variants=(bf16-local)
if python -c "import transformer_engine.pytorch" 2>/dev/null; then
    variants+=(bf16-te)
    python -c "import sys, torch; sys.exit(torch.cuda.get_device_capability() < (8, 9))" && variants+=(fp8-te)
fi
python benchmarks/gpu/training_step.py --sizes "${sizes[@]}" --variants "${variants[@]}" --profile \
    --out "$out/training_step.json" >"$out/training_step.log" 2>"$out/training_step.err"
step=$?

echo "test                                                                          outcome   seconds  peak GiB"
python - "$out/tests.xml" <<'PY'
import sys
import xml.etree.ElementTree as tree

for case in tree.parse(sys.argv[1]).getroot().iter("testcase"):
    bad = [kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None]
    peak = [p.get("value") for p in case.iter("property") if p.get("name") == "peak_gibibytes"]
    memory = f"{float(peak[0]):.1f}" if peak else ""
    print(f"{case.get('name'):<78}{bad[0] if bad else 'passed':<10}{float(case.get('time')):>7.1f}{memory:>10}")
PY
sed -n '/^size /,/^$/p' "$out/training_step.log" | sed '/^(/,$d'
echo "logs: $out"
exit $((tests | step))
