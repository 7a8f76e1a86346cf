# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The four steps from h5ad files to scores, each a command line that its settings make."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.eval.settings import EvaluateSettings
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.options.arguments import arguments
from bionemo.scale.process import interrupt
from bionemo.scale.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command to run."""

    name: str
    """Name of the job."""
    arguments: tuple[str, ...]
    command: str = ""
    """prepare, train, infer or evaluate; empty where that is what the job is called."""
    each: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of a job array: by name, what each task has of its own."""

    @property
    def kind(self) -> str:
        """What the site's file calls it: the name up to a dash, after which a pipeline says which of several it is."""
        return self.name.partition("-")[0]

    @property
    def module(self) -> str:
        """Of the command."""
        return f"bionemo.scale.run.{self.command or self.kind}"


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
    """Return the command that scores."""
    return Step(name="evaluate", arguments=tuple(arguments(settings)))


def execute(step: Step) -> None:
    """Become the command: its exit code, its signals and its ranks are this process's own."""
    interrupt.end_for_another()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", step.module, *step.arguments])
