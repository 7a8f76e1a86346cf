# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What the command line of NeMo-Run loads: the recipes, imported without a search for garbage.

Python looks through every object for unreachable ones while it imports, and what NeMo and Megatron make stays. Without
these searches ``nemorun scale --help`` takes a fifth less processor time (benchmarks/commands/README.md).
"""

import gc
from importlib import import_module


def load() -> None:
    """Import the recipes, which register with NeMo-Run; what the import makes is never searched for garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        import_module("bionemo.scale.recipes.tasks")
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


load()
