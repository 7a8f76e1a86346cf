# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluates, predicts and trains many times in one process, and sees whether memory and descriptors grow.

    python tests/faults/flat.py [--evaluations 200] [--predictions 200] [--steps 2000] [--inputs FOLDER]

The first quarter of each is for what libraries keep. What is compared is the end of that quarter and the last time.
"""

import argparse
import contextlib
import ctypes
import gc
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bionemo.scale.megatron import cpu


# Before Megatron is imported.
cpu.install()

from inputs import make_inputs  # noqa: E402

from bionemo.scale.run import evaluate, infer, train  # noqa: E402


GROWTH_BYTES = 32 << 20
"""Most that memory may grow in three quarters: less than a quarter of a megabyte each time for 200 times."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


def held() -> dict[str, int]:
    """Return the memory and the descriptors that this process holds."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {"bytes": pages * _PAGE, "descriptors": len(os.listdir("/proc/self/fd"))}


def times(command: Callable[[list[str]], int], words: list[str], count: int) -> list[dict[str, int]]:
    """Run a command and return what is held after a quarter and at the end."""
    found = []
    for number in range(1, count + 1):
        with contextlib.redirect_stdout(io.StringIO()):
            code = command(words)
        if code:
            raise RuntimeError(f"{command.__module__}: exit code {code} at {number}")
        if number in (max(1, count // 4), count):
            found.append(held())
    return found


def steps(count: int) -> list[dict[str, int]]:
    """Train and return what is held after a quarter of the steps and after the last."""
    from bionemo.scale.train.callbacks.progress import RunMonitor

    found, on_train_batch_end = [], RunMonitor.on_train_batch_end

    def look(self, trainer, *arguments) -> None:
        on_train_batch_end(self, trainer, *arguments)
        if trainer.global_step in (count // 4, count):
            found.append(held())

    RunMonitor.on_train_batch_end = look
    words = ("--size", "tiny", "--set-size", 4, "--max-steps", count, "--val-interval", count, "--log-interval", 50)
    # Its weight would be measured by a process of its own.
    code = train.main([*map(str, ("--store", "store", "--out", "long", "--blind-share", 0, *words))])
    if code:
        raise RuntimeError(f"training: exit code {code}")
    return found


def grown(found: list[dict[str, int]]) -> dict[str, int]:
    """Return how much more is held at the end."""
    return {name: found[-1][name] - found[0][name] for name in found[0]}


def main() -> int:
    """Print what has grown; exit code 1 where that is too much."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("evaluations", 200), ("predictions", 200), ("steps", 2000)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--inputs", type=Path, help="made where it is missing")
    asked = options.parse_args()
    scores = ["--pred", "predicted/adata_pred.h5ad", "--real", "predicted/adata_real.h5ad", "--no-baselines"]
    predicts = ["--checkpoint", "run", "--store", "store", "--out", "again", "--overwrite"]
    with tempfile.TemporaryDirectory(prefix="flat-") as work:
        folder = Path(work) / "inputs"
        if asked.inputs is None:
            folder.mkdir()
            make_inputs(folder)
        else:
            shutil.copytree(asked.inputs, folder)
        os.chdir(folder)
        found = {
            "evaluations": times(evaluate.main, [*scores, "--out", "scored"], asked.evaluations),
            "predictions": times(infer.main, predicts, asked.predictions),
        }
        if asked.steps:
            found["steps"] = steps(asked.steps)
        os.chdir("/")
    growth = {name: grown(each) for name, each in found.items()}
    print(json.dumps({"held": found, "grown": growth}, indent=1))
    is_flat = all(each["bytes"] <= GROWTH_BYTES and each["descriptors"] <= 0 for each in growth.values())
    return 0 if is_flat else 1


if __name__ == "__main__":
    sys.exit(main())
