# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Measures the network's weight beside the classical estimate: a step of bionemo-scale-train, in its own process.

It is no command of its own: Megatron's state of the training process would be in its way.
"""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bionemo.scale.data.store.blind import A_THIRD, Fold, held_out_groups, identity_of, unseen
from bionemo.scale.files.earlier_groups import read_earlier
from bionemo.scale.files.labels.grammar import Grammar, grammar_of
from bionemo.scale.files.text import read_yaml
from bionemo.scale.files.writing.atomic import write_text
from bionemo.scale.files.writing.folder import temporary_folder
from bionemo.scale.process.command import exit_code_of, run_command
from bionemo.scale.process.imports import imports
from bionemo.scale.train.callbacks.stopping import TrainingInterrupted, passing_on
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import Group


if TYPE_CHECKING:
    from bionemo.scale.data.store.reader import Store
    from bionemo.scale.estimate.weight import PairErrors


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

    On the store's validation groups, if it has any, and on the parts of the training groups that ``folds`` more
    networks are trained without, or one network where there are neither. Those need a process started by the user
    alone, not by torchrun or srun. What is measured of a part is kept until all are, so that a run continues.

    Args:
        settings: Of the run.
        argv: The command line that they were read from.
        is_launched: Whether a launcher started this process.
    """
    from bionemo.scale.data.store.reader import Store
    from bionemo.scale.estimate.storage import ESTIMATE_NAME
    from bionemo.scale.files.network_weight import WEIGHT_NAME
    from bionemo.scale.types import Split

    target, work = settings.out / WEIGHT_NAME, settings.out / "weighing"
    has_estimate = (settings.out / ESTIMATE_NAME).exists()
    if target.exists():
        # Of a training that was killed when all was measured.
        shutil.rmtree(work, ignore_errors=True)
    if settings.blind or not has_estimate or target.exists():
        return
    if settings.max_steps < MIN_STEPS:
        print(
            f"fewer than {MIN_STEPS} steps: the network's weight is not measured; predictions use --additive-share "
            "and have no intervals"
        )
        return
    seen = read_earlier(settings.out)
    with Store.open(settings.store) as store:
        validation = unseen(store.groups, store.groups.perturbed_in(Split.VAL), seen)
        has_validation = len(validation) > 0
        folds = _folds(settings, store, has_validation=has_validation, seen=seen)
    if folds and is_launched:
        print("the networks that measure the weight are not trained under torchrun or srun")
        folds = {}
    if not folds and not has_validation:
        _without_measuring(target, is_wanted=bool(settings.blind_share) and not is_launched, seen=seen)
        return
    work.mkdir(exist_ok=True)
    parts = [_measure_fold(settings, argv, fold, place=work / name) for fold, name in folds.items()]
    if has_validation:
        parts.append(work / f"val-{identity_of(validation)}.json")
        _measure(settings, settings.out, parts[-1])
    _run("bionemo.scale.run.inner.weigh", "combine", str(target), *map(str, parts))
    shutil.rmtree(work)


def _without_measuring(target: Path, *, is_wanted: bool, seen: Collection[Group]) -> None:
    """Leave the network's means out where no training group can be: nothing shows that they are worth anything."""
    if not is_wanted:
        print("the network's weight beside the classical estimate is not measured; predictions use --additive-share")
        return
    write_text(target, json.dumps({"network_weight": 0.0, "num_pairs": 0}, indent=1) + "\n")
    new = "that the checkpoint it starts from has not seen " if seen else ""
    print(
        f"no training group {new}can be left out to measure the network's means: predicted means are the classical "
        "estimate's (weight 0); bionemo-scale-infer --network-weight chooses another weight"
    )


def _folds(
    settings: TrainSettings, store: "Store", *, has_validation: bool, seen: Collection[Group] = ()
) -> dict[Fold, str]:
    """Return the parts of the training groups that networks are to be trained without, each with its name.

    The name says which groups they are: what another version left out under the same number is not continued. A part
    that the network began by having seen measures nothing.
    """
    if not settings.blind_share or (settings.folds is None and has_validation):
        return {}
    num_parts, grammar = settings.folds or A_THIRD.of, _grammar(settings.out, store)
    names = {}
    for number in range(A_THIRD.number, A_THIRD.number + num_parts):
        fold = Fold(number % num_parts, num_parts)
        new = unseen(store.groups, held_out_groups(store.groups, fold.read_by(grammar)), seen)
        if len(new):
            names[fold] = f"{fold.number}-of-{fold.of}-{identity_of(new)}"
        if names and settings.folds is None:
            break
    return dict(sorted(names.items()))


def _grammar(run: Path, store: "Store") -> Grammar:
    """Return how a run reads labels: as the store says, or else its user or the checkpoint that it started from."""
    path = run / "config.yaml"
    network = read_yaml(path).get("model", {}) if path.exists() else {}
    separators = {name: network.get(f"{name}_separator", "") for name in ("combination", "dose")}
    return grammar_of(store.card, **separators)


def _measure_fold(settings: TrainSettings, argv: Sequence[str], fold: Fold, *, place: Path) -> Path:
    """Train a network without a part of the training groups, measure it on them, delete it, and return the errors."""
    target = place.with_suffix(".json")
    if target.exists():
        return target
    steps = max(1, round(settings.max_steps * settings.blind_share))
    print(
        f"measuring the network on training groups it has not seen: part {fold.number} of {fold.of}, {steps} steps",
        flush=True,
    )
    part = ("--blind", "--folds", str(fold.of), "--fold", str(fold.number))
    same = ("--sets", settings.sets, "--share-controls", str(settings.share_controls))
    _run("bionemo.scale.run.train", *argv, "--out", str(place), "--max-steps", str(steps), *part, *same)
    _measure(settings, place, target, fold=fold)
    shutil.rmtree(place)
    return target


def _measure(settings: TrainSettings, run: Path, target: Path, *, fold: Fold | None = None) -> None:
    if not target.exists():
        part = () if fold is None else (str(fold.number), str(fold.of))
        places = map(str, (target, run, settings.store, settings.out))
        _run("bionemo.scale.run.inner.weigh", "measure", *places, *part)


def _run(module: str, *arguments: str) -> None:
    """Run a step to its end, or to the one that a signal asks for.

    Raises:
        TrainingInterrupted: Such a signal came, and the step had nothing to save.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _LAUNCH_VARIABLES}
    with (
        subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment) as process,
        passing_on(process) as received,
    ):
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.kill()
            raise
    # A training that had begun says itself that it has saved.
    if received and code in (0, -received[-1], 128 + received[-1]):
        raise TrainingInterrupted(f"stopped by {received[-1].name} while the network's weight was measured")
    if code:
        sys.exit(exit_code_of("the process that measures the network's weight", code))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    return run_command(_weigh, argv)


def _weigh(argv: Sequence[str] | None) -> None:
    options = argparse.ArgumentParser(prog="bionemo.scale.run.inner.weigh", description=__doc__, allow_abbrev=False)
    steps = options.add_subparsers(dest="step", required=True)
    measure = steps.add_parser("measure", help="errors of one run on its held-out groups")
    combine = steps.add_parser("combine", help="the weight from all errors")
    for parser in (measure, combine):
        parser.add_argument("target", type=Path)
    for name in ("checkpoint", "store", "run"):
        measure.add_argument(name, type=Path)
    measure.add_argument("fold", type=int, nargs="*", help="the part that the run was trained without, of how many")
    combine.add_argument("parts", type=Path, nargs="+")
    asked = options.parse_args(argv)
    if asked.step == "measure":
        fold = Fold(*asked.fold) if asked.fold else None
        pairs = _errors(asked.checkpoint, asked.store, fold=fold, seen=read_earlier(asked.run))
        write_text(asked.target, json.dumps([dataclasses.asdict(pair) for pair in pairs]))
    else:
        _write_weight(asked.target, asked.parts)


def _errors(checkpoint: Path, store: Path, *, fold: Fold | None, seen: Collection[Group]) -> "tuple[PairErrors, ...]":
    from bionemo.scale.process.console import quiet_screen

    with temporary_folder() as folder, quiet_screen(folder / "output.log"):
        with imports():
            from bionemo.scale.megatron import cpu

            cpu.install()
            from bionemo.scale.infer.network_weight import errors_of_pairs

        return errors_of_pairs(checkpoint, store, blind=fold, seen=seen)


def _write_weight(target: Path, parts: Sequence[Path]) -> None:
    # Late, for it brings torch along: training answers --help without.
    from bionemo.scale.estimate.weight import PairErrors, weigh

    measured = weigh([PairErrors(**pair) for part in parts for pair in json.loads(part.read_text(encoding="utf-8"))])
    write_text(target, json.dumps(dataclasses.asdict(measured), indent=1) + "\n")
    error = "" if measured.standard_error is None else f" (standard error {measured.standard_error:.2f})"
    print(
        f"network's weight {measured.network_weight:.2f}{error} beside the classical estimate, measured on "
        f"{measured.num_pairs} "
        f"held-out (cell type, perturbation) pairs: mean squared error {measured.error_of_estimate:.4g} of "
        "the estimate, "
        f"{measured.error_of_network:.4g} of the network, {measured.error_of_both:.4g} of both; intervals "
        f"{measured.interval_scale:.2f} times as wide as the estimate's",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
