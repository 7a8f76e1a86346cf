#!/usr/bin/env bash
# Says what the container holds, on standard error, then becomes the command.
set -euo pipefail
if [ "${SCALE_QUIET:-0}" != 1 ]; then
    python - >&2 <<'PYTHON'
from importlib.metadata import PackageNotFoundError, version


def found(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


names = ("bionemo-scale", "torch", "transformer-engine", "megatron-core", "nemo-toolkit", "bionemo-llm", "cell-eval")
print("  ".join(f"{name} {found(name)}" for name in names))
PYTHON
fi
exec "$@"
