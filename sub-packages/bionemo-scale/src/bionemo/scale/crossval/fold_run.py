# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""One fold, from its store to its scores: the commands train, infer and evaluate, or the classical methods alone."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TextIO

from bionemo.scale.crossval.crossval import PREDICTED, RUN, SCORES, STORE, Crossval
from bionemo.scale.crossval.stopped import FoldStopped
from bionemo.scale.eval.settings import EvaluateSettings, ScoringSettings
from bionemo.scale.files.writing.atomic import remove_leftovers_in
from bionemo.scale.files.writing.lock import sole_writer
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.recipes.steps import Step, evaluate_step, infer_step, train_step
from bionemo.scale.train.callbacks.stopping import passing_on
from bionemo.scale.types import InputError, Split


MODEL, NETWORK = "SCALE", "network alone"
"""Names of the predictions in the tables."""
LOG = "log.txt"
"""In the folder of a fold: what the commands wrote on the screen."""
_REFUSED = 2


def run_fold(crossval: Crossval, number: int, *, say: Callable[[str], None]) -> None:
    """Do what is missing of a fold.

    Args:
        crossval: The cross-validation.
        number: Of the fold, from 0.
        say: Told of each step as it begins.

    Raises:
        InputError: Something is refused, or another process is at work on the fold.
        FoldStopped: A command failed, or was told to stop.
    """
    folder = crossval.folders[number]
    folder.mkdir(parents=True, exist_ok=True)
    with sole_writer(folder, folder / ".lock"):
        remove_leftovers_in(folder)
        if crossval.is_finished(number):
            return
        crossval.open_fold(number)
        if crossval.settings.no_network:
            say("scoring")
            _score_methods(folder, crossval)
            return
        for step in network_steps(folder, crossval):
            say({"train": "training", "infer": "predicting", "evaluate": "scoring"}[step.name])
            command = [sys.executable, "-m", step.module, *step.arguments]
            name, what = crossval.folds[number].name, f"{step.name} (see {folder / LOG})"
            with (folder / LOG).open("a") as log:
                Processes().run(command, name=name, what=what, say=partial(_note, log))


def _note(log: TextIO, line: str) -> None:
    log.write(f"{line}\n")
    log.flush()


def network_steps(folder: Path, crossval: Crossval) -> list[Step]:
    """Return the commands of a fold with a network, in their order."""
    training = crossval.training(folder / STORE, folder / RUN)
    weights = {MODEL: None, NETWORK: 1.0} if crossval.settings.network_alone else {MODEL: None}
    predictions = {
        name: InferSettings(
            checkpoint=training.out,
            store=training.store,
            out=folder / PREDICTED / f"{name}.h5ad",
            network_weight=weight,
            seed=training.seed,
            overwrite=True,
        )
        for name, weight in weights.items()
    }
    real = predictions[MODEL].real_path
    assert real is not None, "a split is predicted, whose cells are measured"
    scores = EvaluateSettings(
        pred=tuple(settings.pred_path for settings in predictions.values()),
        name=tuple(predictions),
        real=real,
        out=folder / SCORES,
        store=training.store,
        perturbation_features=training.perturbation_features,
        baselines=crossval.settings.baselines,
    )
    return [train_step(training), *map(infer_step, predictions.values()), evaluate_step(scores)]


class Processes:
    """Commands that run as processes of their own."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[str]] = []

    def run(self, command: list[str], *, name: str, what: str, say: Callable[[str], None]) -> None:
        """Run a command to its end.

        Args:
            command: Its words.
            name: Of the fold, for messages.
            what: Of the command, for messages.
            say: Told of each line that it writes, but for refusals.

        Raises:
            InputError: It refused.
            FoldStopped: It failed, or was told to stop.
            KeyboardInterrupt: It was interrupted.
        """
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._running.append(process)
        reason = ""
        with passing_on(process):
            try:
                for line in process.stdout or ():
                    if line.startswith("error: "):
                        reason = line.removeprefix("error: ").strip()
                    else:
                        say(line.rstrip("\n"))
                code = process.wait()
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
                raise
        self._running.remove(process)
        _check_end(code, name=name, what=what, reason=reason)

    def interrupt(self) -> None:
        """Interrupt what runs, as a terminal does."""
        for process in self._running:
            process.send_signal(signal.SIGINT)


def _check_end(code: int, *, name: str, what: str, reason: str) -> None:
    if code in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if code == _REFUSED:
        where = "" if reason.startswith("fold ") else f"fold {name!r}: "
        raise InputError(f"{where}{reason or f'{what} was refused'}")
    if code:
        raise FoldStopped(f"fold {name!r}: {what} ended with exit code {code}{': ' if reason else ''}{reason}", code)


def _score_methods(folder: Path, crossval: Crossval) -> None:
    """Score the classical methods on the cells that the fold leaves out, in this process."""
    # cell-eval's tables are small; more threads only fight the other processes of a machine.
    os.environ.setdefault("POLARS_MAX_THREADS", "2")
    from bionemo.scale.megatron import cpu

    cpu.install()
    from bionemo.scale.data.store.reader import Store
    from bionemo.scale.eval.cells.read_population import read_population
    from bionemo.scale.eval.evaluate import evaluate
    from bionemo.scale.infer.output.cells_file import write_real
    from bionemo.scale.infer.plans.split_plan import SplitPlan
    from bionemo.scale.infer.training_data import training_data, with_vectors

    real = folder / PREDICTED / "adata_real.h5ad"
    with Store.open(folder / STORE) as store:
        real.parent.mkdir(exist_ok=True)
        plan = SplitPlan(store, Split.TEST, set_size=32, seed=0)
        write_real(plan, real, provenance={"store": store.path, "split": Split.TEST.value})
    measured, training = read_population(real), training_data(folder / STORE)
    features = crossval.settings.perturbation_features
    if features is not None:
        training = with_vectors(training, features, measured)
    evaluate(
        real=measured,
        predictions={},
        out=folder / SCORES,
        training=training,
        options=ScoringSettings(baselines=crossval.settings.baselines),
    )
