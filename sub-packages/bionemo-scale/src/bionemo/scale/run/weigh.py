# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Measures how much a network is worth beside the classical estimate: a step of bionemo-scale-train, in a process of its own.

It is no command of its own: Megatron's state of the training process would be in its way.
"""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bionemo.scale.files.writing.atomic import write_text
from bionemo.scale.run.command import run_command
from bionemo.scale.train.settings import TrainSettings


MIN_STEPS = 100
"""A network of fewer steps is not measured."""
_LAUNCH_VARIABLES = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
)


def weigh_network(settings: TrainSettings, argv: Sequence[str], *, is_launched: bool) -> None:
    """Measure the weight of a run that is finished, once, and write it to the run folder.

    On the store's validation groups, if it has any. Else a second network is trained for ``blind_share`` of the steps
    without a third of the training groups, and measured on those; that needs a process started by the user alone, not
    by torchrun or srun.

    Args:
        settings: Of the run.
        argv: The command line that they were read from.
        is_launched: Whether a launcher started this process.
    """
    from bionemo.scale.data.store.blind import held_out_groups
    from bionemo.scale.data.store.reader import Store
    from bionemo.scale.estimate.storage import ESTIMATE_NAME
    from bionemo.scale.infer.run_estimate import WEIGHT_NAME
    from bionemo.scale.types import Split

    target = settings.out / WEIGHT_NAME
    if (
        settings.blind
        or settings.max_steps < MIN_STEPS
        or target.exists()
        or not (settings.out / ESTIMATE_NAME).exists()
    ):
        return
    with Store.open(settings.store) as store:
        has_validation = len(store.groups.perturbed_in(Split.VAL)) > 0
        can_hold_out = len(held_out_groups(store.groups)) > 0
    if has_validation:
        _run("bionemo.scale.run.weigh", str(settings.out), str(settings.store), str(target))
        return
    if is_launched or not settings.blind_share or not can_hold_out:
        print("the network's weight beside the classical estimate is not measured; predictions use --additive-share")
        return
    blind = settings.out / "blind"
    steps = max(1, round(settings.max_steps * settings.blind_share))
    print(f"measuring the network on training groups it has not seen: a second network, {steps} steps", flush=True)
    _run("bionemo.scale.run.train", *argv, "--out", str(blind), "--max-steps", str(steps), "--blind")
    _run("bionemo.scale.run.weigh", str(blind), str(settings.store), str(target), "--blind")
    shutil.rmtree(blind)


def _run(module: str, *arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in _LAUNCH_VARIABLES}
    code = subprocess.run([sys.executable, "-m", module, *arguments], env=environment, check=False).returncode
    if code:
        sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    return run_command(_weigh, argv)


def _weigh(argv: Sequence[str] | None) -> None:
    options = argparse.ArgumentParser(prog="bionemo.scale.run.weigh", description=__doc__, allow_abbrev=False)
    for name in ("checkpoint", "store", "out"):
        options.add_argument(name, type=Path)
    options.add_argument("--blind", action="store_true", help="the run was trained with --blind")
    asked = options.parse_args(argv)
    from bionemo.scale.run.console import quiet_screen

    with tempfile.TemporaryDirectory() as folder, quiet_screen(Path(folder) / "output.log") as screen:
        from bionemo.scale.megatron import cpu

        cpu.install()
        from bionemo.scale.infer.network_weight import measure

        found = measure(asked.checkpoint, asked.store, blind=asked.blind)
        write_text(asked.out, json.dumps(dataclasses.asdict(found), indent=1) + "\n")
        screen.write(
            f"network's weight {found.network_weight:.2f} beside the classical estimate, measured on {found.num_pairs} held-out "
            f"(cell type, perturbation) pairs: mean squared error {found.error_of_estimate:.4g} of the estimate, "
            f"{found.error_of_network:.4g} of the network, {found.error_of_both:.4g} of both\n"
        )


if __name__ == "__main__":
    sys.exit(main())
