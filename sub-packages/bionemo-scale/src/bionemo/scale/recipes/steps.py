# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The four steps from h5ad files to scores, each a command line that its settings make."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.options.arguments import arguments
from bionemo.scale.options.settings import Settings
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import InputError


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(Settings):
    """One evaluation."""

    pred: tuple[Path, ...]
    """h5ad files of predicted cells."""
    real: Path
    """h5ad of the real cells."""
    out: Path
    """Folder for the results."""
    name: tuple[str, ...] = ()
    """Names of the predictions in the tables; file names where empty."""
    store: Path | None = None
    """Training store, for the baselines; ``None`` takes the one the prediction names."""
    control_policy: str = "same-real"
    """Controls of the predicted side."""
    no_baselines: bool = False
    """Score the predictions only."""
    seed: int = 0
    """Seed of what is sampled."""
    plot: bool = False
    """Write delta.png."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command to run."""

    name: str
    """Of the job."""
    arguments: tuple[str, ...]
    command: str = ""
    """prepare, train, infer or evaluate; empty where the job is called so."""
    each: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of a job array: by name, what each task has of its own."""

    @property
    def module(self) -> str:
        """Of the command."""
        return f"bionemo.scale.run.{self.command or self.name}"


def prepare_step(settings: PrepareSettings) -> Step:
    """Return the command that makes a store."""
    return Step(name="prepare", arguments=tuple(arguments(settings)))


def train_step(settings: TrainSettings) -> Step:
    """Return the command that trains."""
    return Step(name="train", arguments=tuple(arguments(settings)))


def infer_step(settings: InferSettings) -> Step:
    """Return the command that predicts."""
    return Step(name="infer", arguments=tuple(arguments(settings)))


def evaluate_step(settings: EvaluateSettings) -> Step:
    """Return the command that scores.

    Raises:
        InputError: There is nothing to score.
    """
    if not settings.pred:
        raise InputError("evaluate: expected at least one file of predictions, found none")
    return Step(name="evaluate", arguments=tuple(arguments(settings)))


def execute(step: Step) -> None:
    """Become the command: its exit code, its signals and its ranks are this process's own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", step.module, *step.arguments])
