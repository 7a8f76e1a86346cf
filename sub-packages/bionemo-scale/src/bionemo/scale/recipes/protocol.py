# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A published experiment from files to tables: split, prepare, train every size, predict, score, report."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bionemo.scale.data.folds.split_settings import SplitSettings
from bionemo.scale.data.labels.split import read_split
from bionemo.scale.data.prepare.settings import LabelSettings, PrepareSettings
from bionemo.scale.eval.settings import EvaluateSettings, ReportSettings
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.options.arguments import arguments
from bionemo.scale.recipes.arrays import conversion_steps
from bionemo.scale.recipes.defaults import train_settings
from bionemo.scale.recipes.pipeline import ScheduledStep
from bionemo.scale.recipes.steps import Step, prepare_step
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import InputError, Split


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to hold out what a protocol scores."""

    says: str
    """In a line, for help."""
    rule: Mapping[str, Any] = field(default_factory=dict)
    """Fields of :class:`SplitSettings`, by which the split file is made of the data."""
    file: Path | None = None
    """A split file in place of a rule."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What an experiment on one data set always does."""

    name: str
    """Of the script."""
    title: str
    prepare: Mapping[str, Any]
    """Fields of :class:`PrepareSettings`: how the data set labels its cells, and which genes are kept."""
    variants: Mapping[str, Variant]
    """By name; the first is taken where none is named."""

    def variant(self, name: str | None) -> Variant:
        """Return a variant by its name.

        Raises:
            InputError: There is none of that name.
        """
        if name is not None and name not in self.variants:
            raise InputError(f"--variant must be one of {', '.join(self.variants)}, found {name!r}")
        return self.variants[name or next(iter(self.variants))]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A protocol with the files and the settings of one user."""

    protocol: Protocol
    inputs: tuple[Path, ...]
    """h5ad files."""
    out: Path
    """Folder for all that is made."""
    sizes: tuple[str, ...]
    """Of the networks."""
    variant: str | None = None
    """``None`` is the first of the protocol."""
    split: Path | None = None
    """A split file in place of the variant's."""
    chosen: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By command (prepare, train, infer, evaluate), fields that a user sets."""
    infer_tasks: int | None = None
    """Processes of a node that share a prediction; ``None`` is as many as train."""
    array: bool = False
    """Convert each file in a job of its own, on Slurm."""


def schedule_protocol(experiment: Experiment) -> tuple[ScheduledStep, ...]:
    """Return all steps of an experiment in their order, with absolute paths: jobs start elsewhere.

    Raises:
        InputError: A file is missing, or a setting is not possible.
    """
    return tuple(_Plan(experiment).steps())


class _Plan:
    """Settings of every step, made before any is returned."""

    def __init__(self, experiment: Experiment):
        self._experiment, self._out = experiment, experiment.out.absolute()
        variant = Variant(says="", file=experiment.split) if experiment.split else None
        self._variant = variant or experiment.protocol.variant(experiment.variant)
        for path in (*experiment.inputs, *filter(None, [self._variant.file])):
            if not path.is_file():
                raise InputError(f"{path}: expected a file, found none")
        if not experiment.sizes:
            raise InputError("--sizes: expected at least one, found none")
        self._prepare = self._conversion()
        self._train = {size: self._training(size) for size in experiment.sizes}

    def steps(self) -> Iterator[ScheduledStep]:
        """Yield the steps."""
        if self._variant.file is None:
            yield ScheduledStep(step=_step("split", self._splitting()))
        conversion, work = self._prepare, self._out / "conversion"
        conversions = conversion_steps(conversion, work) if self._experiment.array else (prepare_step(conversion),)
        yield from (ScheduledStep(step=step) for step in conversions)
        for size, settings in self._train.items():
            yield from self._steps_of_size(size, settings, ready=conversions[-1].name)
        for part in self._parts():
            yield from self._steps_of_part(part)

    def _chosen(self, command: str) -> dict[str, Any]:
        return dict(self._experiment.chosen.get(command, {}))

    def _conversion(self) -> PrepareSettings:
        given, fixed = self._chosen("prepare"), dict(self._experiment.protocol.prepare)
        keys = {**fixed.pop("keys", {}), **given.pop("keys", {})}
        return PrepareSettings.make(
            inputs=tuple(path.absolute() for path in self._experiment.inputs),
            out=self._out / "store",
            split=self._split_path.absolute(),
            keys=keys,
            # A requeued job starts again; half a store is never left behind, a whole one may be.
            **{"overwrite": True, **fixed, **given},
        )

    @property
    def _split_path(self) -> Path:
        return self._variant.file or self._out / "split.toml"

    def _splitting(self) -> SplitSettings:
        labels = {each.name: getattr(self._prepare, each.name) for each in fields(LabelSettings)}
        return SplitSettings(**{**labels, "out": self._split_path, "overwrite": True, **self._variant.rule})

    def _parts(self) -> tuple[Split, ...]:
        """Return the parts that are scored: validation too, where the split has one."""
        if self._variant.file is None:
            has_validation = bool(self._variant.rule.get("val_share"))
        else:
            spec = read_split(self._variant.file)
            held_out = [*spec.zeroshot.values(), *(part for of in spec.fewshot.values() for part in of.values())]
            has_validation = Split.VAL in held_out
        return (Split.VAL, Split.TEST) if has_validation else (Split.TEST,)

    def _training(self, size: str) -> TrainSettings:
        chosen = {"preset": "paper", **self._chosen("train")}
        return train_settings(size, store=self._prepare.out, out=self._out / f"run-{size}", **chosen)

    def _prediction(self, size: str, part: Split) -> InferSettings:
        return InferSettings.make(
            checkpoint=self._train[size].out,
            store=self._prepare.out,
            # All sizes in one folder: the measured cells are there once.
            out=self._out / part / f"{size}.h5ad",
            split=part,
            **{"with_controls": True, "overwrite": True, **self._chosen("infer")},
        )

    def _steps_of_size(self, size: str, settings: TrainSettings, *, ready: str) -> Iterator[ScheduledStep]:
        trained = f"train-{size}"
        yield ScheduledStep(
            step=_step(trained, settings),
            nodes=settings.num_nodes,
            tasks=settings.devices,
            uses_gpus=True,
            after=(ready,),
        )
        before = self._experiment.sizes[: self._experiment.sizes.index(size)][-1:]
        for part in self._parts():
            # One after the other writes into the folder that they share.
            others = tuple(f"infer-{other}-{part}" for other in before)
            yield ScheduledStep(
                step=_step(f"infer-{size}-{part}", self._prediction(size, part)),
                tasks=self._experiment.infer_tasks or settings.devices,
                uses_gpus=True,
                after=(trained, *others),
            )

    def _steps_of_part(self, part: Split) -> Iterator[ScheduledStep]:
        folder, sizes = self._out / part, self._experiment.sizes
        predictions = [self._prediction(size, part) for size in sizes]
        scores = EvaluateSettings.make(
            pred=[each.pred_path for each in predictions],
            name=[f"SCALE-{size}" for size in sizes],
            real=predictions[0].real_path,
            out=folder / "scores",
            store=self._prepare.out,
            **{"plot": True, **self._chosen("evaluate")},
        )
        scored = f"evaluate-{part}"
        yield ScheduledStep(step=_step(scored, scores), after=tuple(f"infer-{size}-{part}" for size in sizes))
        for size in sizes:
            page = ReportSettings(
                run=self._train[size].out, scores=folder / "scores", out=folder / f"report-{size}.html"
            )
            yield ScheduledStep(step=_step(f"report-{size}-{part}", page), after=(scored,))


def _step(name: str, settings: Any) -> Step:
    return Step(name=name, arguments=tuple(arguments(settings)))
