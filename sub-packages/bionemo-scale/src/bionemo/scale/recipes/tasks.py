# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""NeMo-Run recipes: ``nemorun scale pretrain --factory scale_small data.store=STORE trainer.out=RUN``.

Loaded through the entry point group ``nemo_run.cli`` (:mod:`bionemo.scale.recipes.nemorun`). A recipe is a
``run.Partial`` of one of the tasks here, and a task becomes the command that a person would type. So a recipe adds
defaults and a way to change them, and there is one way to start a command. The task ``train`` trains with NeMo's own
objects first (:mod:`bionemo.scale.recipes.composed`), and ends as the command.
"""

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import fiddle as fdl
import nemo_run as run
from nemo_run.cli.api import RunContext, RunContextError
from nemo_run.cli.cli_parser import CLIException

from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.eval.settings import EvaluateSettings
from bionemo.scale.files.suggest import did_you_mean, suggest
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.model.size.sizes import SIZES
from bionemo.scale.process import interrupt
from bionemo.scale.recipes import groups
from bionemo.scale.recipes.defaults import size_defaults, train_settings
from bionemo.scale.recipes.groups import (
    Data,
    Evaluate,
    Experiment,
    Infer,
    Model,
    Optim,
    Prepare,
    Trainer,
    join,
    restore,
)
from bionemo.scale.recipes.steps import (
    Step,
    evaluate_step,
    execute,
    infer_step,
    prepare_step,
    train_step,
)
from bionemo.scale.train.in_folder import run_training
from bionemo.scale.train.presets import PRESETS
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import InputError, ObsKeys


NAMESPACE = "scale"


class OneLine(RunContext):
    """Refuses what a command line gets wrong in one line, before anything is started or submitted."""

    def parse_fn(self, fn: Callable, args: list[str], **more: Any) -> run.Partial:
        """Read the command line into a recipe, and make the command that it stands for."""
        try:
            check_names(fn, args)
            recipe = super().parse_fn(fn, args, **more)
            step_of(recipe)
        except (InputError, CLIException, ValueError, TypeError) as error:
            raise RunContextError(str(error).splitlines()[0]) from error
        return recipe


@run.cli.entrypoint(namespace=NAMESPACE, run_ctx_cls=OneLine)
def prepare(settings: Prepare) -> None:
    """Turn h5ad files into a store."""
    execute(_step(prepare, settings=settings))


@run.cli.entrypoint(namespace=NAMESPACE, run_ctx_cls=OneLine)
def pretrain(*, model: Model, data: Data, optim: Optim, trainer: Trainer) -> None:
    """Train a model on a store, or continue the run that a folder holds."""
    execute(_step(pretrain, model=model, data=data, optim=optim, trainer=trainer))


@run.cli.entrypoint(namespace=NAMESPACE, run_ctx_cls=OneLine)
def train(*, model: Model, data: Any, optim: Any, trainer: Any, experiment: Experiment) -> None:
    """Train with NeMo's own objects (trainer, optimizer, data module), each of which a recipe may change."""
    interrupt.take_process()
    # Late, for it imports NeMo, which the other tasks do without.
    from bionemo.scale.recipes.composed import train_composed

    def trains(argv: Sequence[str] | None) -> None:
        train_composed(model=model, data=data, optim=optim, trainer=trainer, experiment=experiment)

    sys.exit(run_training(trains))


@run.cli.entrypoint(namespace=NAMESPACE, run_ctx_cls=OneLine)
def finetune(*, model: Model, data: Data, optim: Optim, trainer: Trainer) -> None:
    """Train on a store from the weights of another run, or continue the run that a folder holds."""
    execute(_step(finetune, model=model, data=data, optim=optim, trainer=trainer))


@run.cli.entrypoint(namespace=NAMESPACE, run_ctx_cls=OneLine)
def infer(settings: Infer) -> None:
    """Predict the held-out part of a store, or controls under chosen perturbations."""
    execute(_step(infer, settings=settings))


@run.cli.entrypoint(namespace=NAMESPACE, run_ctx_cls=OneLine)
def evaluate(settings: Evaluate) -> None:
    """Score predictions beside baselines."""
    execute(_step(evaluate, settings=settings))


def _finetune_step(**groups: Any) -> Step:
    if groups["trainer"].from_checkpoint is None:
        raise InputError("trainer.from_checkpoint: expected a path, found none; give trainer.from_checkpoint=PATH")
    return train_step(join(**groups))


def _composed_step(**objects: Any) -> Step:
    from bionemo.scale.recipes.composed import settings_of

    return train_step(settings_of(**objects))


_STEPS: dict[Callable, Callable[..., Step]] = {
    prepare: lambda settings: prepare_step(restore(PrepareSettings, settings)),
    pretrain: lambda **groups: train_step(join(**groups)),
    finetune: _finetune_step,
    infer: lambda settings: infer_step(restore(InferSettings, settings)),
    evaluate: lambda settings: evaluate_step(restore(EvaluateSettings, settings)),
    train: _composed_step,
}


def _step(task: Callable, **parts: Any) -> Step:
    """Return the command that a task becomes; a refusal names the parts as the recipe does."""
    try:
        return _STEPS[task](**parts)
    except InputError as error:
        raise InputError(groups.in_dotted_paths(str(error), _paths_of(task))) from error


def _paths_of(task: Callable) -> dict[str, str]:
    hints: dict[str, Any] = {
        name: hint for name, hint in get_type_hints(task).items() if dataclasses.is_dataclass(hint)
    }
    return {flag: path for name, hint in hints.items() for flag, path in groups.paths_of(name, hint).items()}


def step_of(recipe: run.Partial) -> Step:
    """Return the command that a recipe stands for; of a composed one, that with which it continues and ends.

    Raises:
        InputError: The recipe cannot be run as it is.
    """
    data = recipe.__arguments__.get("data")
    # Another data module is refused by name where the objects are made.
    if recipe.__fn_or_cls__ is train and isinstance(data, fdl.Buildable) and getattr(data, "store", data) is None:
        raise InputError("data.store: expected a path, found none; give data.store=PATH")
    return _step(recipe.__fn_or_cls__, **{name: fdl.build(part) for name, part in recipe.__arguments__.items()})


def check_names(task: Callable, overrides: Sequence[str]) -> None:
    """Refuse an override of a field that is not there.

    Args:
        task: One of the tasks here.
        overrides: ``group.field=value`` as on the command line; what is no override is left alone.

    Raises:
        InputError: Naming the nearest fields.
    """
    groups = {name: hint for name, hint in get_type_hints(task).items() if name != "return"}
    for text in overrides:
        names = re.match(r"[\w.]+(?=[-+*/|&]?=)", text)
        group, _, field = names.group().partition(".") if names else ("", "", "")
        if not field or group in ("executor", "plugins"):
            continue
        if group not in groups:
            raise InputError(f"{text}: unknown part {group!r} of the recipe; {suggest(group, groups)}")
        if not dataclasses.is_dataclass(groups[group]):
            _check_path(text, names.group().split(".") if names else [])
            continue
        known = [each.name for each in dataclasses.fields(groups[group])]
        first = field.partition(".")[0]
        if first not in known:
            raise InputError(f"{text}: unknown field {first!r} of {group}; {suggest(first, known)}")


def _check_path(text: str, path: Sequence[str]) -> None:
    """Refuse an override of what no object of a composed recipe takes."""
    node: Any = train_recipe()
    for name in path:
        target = node.__fn_or_cls__
        known, takes_any = _names_taken(target)
        # Of an object that takes any name, a name much like one that it declares is a mistake.
        is_meant = takes_any and not did_you_mean(name, known)
        if not (name in known or name in node.__arguments__ or is_meant):
            raise InputError(f"{text}: unknown field {name!r} of {target.__name__}; {suggest(name, known)}")
        node = getattr(node, name, None)
        if not isinstance(node, fdl.Buildable):
            # A value, or an object that an earlier override puts there.
            return


def _names_taken(target: Callable) -> tuple[list[str], bool]:
    """Return the arguments that a class or a function declares, and whether it takes others too.

    A class hands ``**kwargs`` on to the classes that it is made of.
    """
    makers = [target.__init__ if inspect.isclass(target) else target]
    makers += [vars(base)["__init__"] for base in getattr(target, "__mro__", ())[1:-1] if "__init__" in vars(base)]
    known: set[str] = set()
    for maker in makers:
        parameters = inspect.signature(maker).parameters.values()
        known |= {each.name for each in parameters if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)}
        if not _takes_any(maker):
            break
    return sorted(known - {"self"}), _takes_any(makers[0])


def _takes_any(maker: Callable) -> bool:
    return any(each.kind is each.VAR_KEYWORD for each in inspect.signature(maker).parameters.values())


def prepare_recipe(inputs: tuple[Path, ...] = (), out: Path | None = None, split: Path | None = None) -> run.Partial:
    """Return the conversion of h5ad files; minutes and a few hundred MB for a million cells on one CPU core."""
    places = groups.text_of({"out": out, "split": split})
    config = run.Config(Prepare, inputs=list(map(str, inputs)), keys=run.Config(ObsKeys), **places)
    return run.Partial(prepare, settings=config)


def pretrain_recipe(
    size: str = "small",
    store: Path | None = None,
    out: Path | None = None,
    *,
    num_nodes: int | None = None,
    devices: int | None = None,
    preset: str = TrainSettings.preset,
) -> run.Partial:
    """Return the training of a model of a size.

    Args:
        size: A name in :mod:`bionemo.scale.model.size.sizes`; hardware and duration are in
            :mod:`bionemo.scale.recipes.defaults`.
        store: Folder that ``prepare`` made.
        out: Run folder.
        num_nodes: Machines; ``None`` takes what the size does by default.
        devices: Processes of a machine.
        preset: A name in :mod:`bionemo.scale.train.presets`.
    """
    return run.Partial(
        pretrain,
        model=groups.model(size, preset=preset),
        data=groups.data(size, store, preset=preset),
        optim=groups.optim(size, preset=preset),
        trainer=groups.trainer(size, out, num_nodes, devices=devices, preset=preset),
    )


def train_recipe(
    size: str = "small",
    store: Path | None = None,
    out: Path | None = None,
    *,
    num_nodes: int | None = None,
    devices: int | None = None,
    preset: str = TrainSettings.preset,
) -> run.Partial:
    """Return the same training as :func:`pretrain_recipe`, made of NeMo's own objects. It imports NeMo.

    Args:
        size: A name in :mod:`bionemo.scale.model.size.sizes`; hardware and duration are in
            :mod:`bionemo.scale.recipes.defaults`.
        store: Folder that ``prepare`` made.
        out: Run folder.
        num_nodes: Machines; ``None`` takes what the size does by default.
        devices: Processes of a machine.
        preset: A name in :mod:`bionemo.scale.train.presets`.
    """
    from bionemo.scale.recipes.composed import parts_of

    chosen = {name: value for name, value in {"num_nodes": num_nodes, "devices": devices}.items() if value is not None}
    parts = parts_of(train_settings(size, store=Path("store"), out=Path("run"), preset=preset, **chosen))
    parts["data"].store = None if store is None else str(store)
    return run.Partial(
        train, model=groups.model(size, preset=preset), experiment=groups.experiment(size, out, preset=preset), **parts
    )


def fp8_recipe(size: str) -> run.Partial:
    """Return the training of a size with FP8 in its blocks, for a GPU that has it."""
    recipe = pretrain_recipe(size)
    recipe.trainer.precision = "fp8"
    return recipe


def finetune_recipe(
    size: str = "small",
    checkpoint: Path | None = None,
    store: Path | None = None,
    *,
    out: Path | None = None,
    num_nodes: int | None = None,
    devices: int | None = None,
) -> run.Partial:
    """Return the training on a store that starts from a checkpoint; its network is the checkpoint's.

    Args:
        size: Whose batches, learning rate and layout are taken; hardware and duration are in
            :mod:`bionemo.scale.recipes.defaults`.
        checkpoint: Run folder or checkpoint to start from.
        store: Folder that ``prepare`` made of the new data.
        out: Run folder.
        num_nodes: Machines; ``None`` takes what the size does by default.
        devices: Processes of a machine.
    """
    recipe = pretrain_recipe(size, store, out, num_nodes=num_nodes, devices=devices)
    recipe.trainer.from_checkpoint = None if checkpoint is None else str(checkpoint)
    arguments = {**recipe.__arguments__, "model": groups.model_of_checkpoint()}
    return run.Partial(finetune, **arguments)


def infer_recipe(checkpoint: Path | None = None, store: Path | None = None, out: Path | None = None) -> run.Partial:
    """Return the prediction of the held-out part of a store; 16,384 cells of memory for each process."""
    places = groups.text_of({"checkpoint": checkpoint, "store": store, "out": out})
    config = run.Config(Infer, **places, with_controls=True)
    return run.Partial(infer, settings=config)


def evaluate_recipe(
    pred: tuple[Path, ...] = (), real: Path | None = None, out: Path | None = None, *, store: Path | None = None
) -> run.Partial:
    """Return the scores of predictions beside baselines; all cells in memory, one CPU."""
    places = groups.text_of({"real": real, "out": out, "store": store})
    return run.Partial(evaluate, settings=run.Config(Evaluate, pred=list(map(str, pred)), **places))


def _register(size: str, preset: str) -> None:
    """Register the recipe and the parts of a size and a preset under their name."""

    def recipe() -> run.Partial:
        return pretrain_recipe(size, preset=preset)

    kind = size if preset == TrainSettings.preset else f"{size}_{preset}"
    recipe.__doc__ = f"Train the {size} model, preset {preset}. Needs {size_defaults(size).needs}."
    run.cli.factory(name=f"scale_{kind}", target=pretrain)(recipe)

    def composed() -> run.Partial:
        return train_recipe(size, preset=preset)

    composed.__doc__ = f"{recipe.__doc__} Made of NeMo's own objects."
    run.cli.factory(name=f"scale_{kind}", target=train)(composed)
    made: dict[type, Callable] = {Model: groups.model, Data: groups.data, Optim: groups.optim, Trainer: groups.trainer}
    for group, make in made.items():

        def part(make: Callable = make) -> run.Config:
            return make(size, preset=preset)

        part.__doc__ = f"The {group.__name__.lower()} of the {kind} recipe."
        run.cli.factory(name=f"scale_{kind}", target=group)(part)


def _register_fp8(size: str) -> None:
    def in_fp8() -> run.Partial:
        return fp8_recipe(size)

    in_fp8.__doc__ = f"Train the {size} model with FP8 blocks. Needs {size_defaults(size).needs}, Ada or Hopper."
    run.cli.factory(name=f"scale_{size}_fp8", target=pretrain)(in_fp8)


def _register_finetuning(size: str) -> None:
    def tuned() -> run.Partial:
        return finetune_recipe(size)

    tuned.__doc__ = f"Fine-tune a {size} model. Needs {size_defaults(size).needs}."
    run.cli.factory(name=f"scale_{size}", target=finetune)(tuned)


for _size in SIZES:
    for _preset in PRESETS:
        _register(_size, _preset)
    _register_finetuning(_size)
    if size_defaults(_size).settings.get("precision") == "bf16":
        _register_fp8(_size)
run.cli.factory(name="scale_prepare", target=prepare, is_target_default=True)(prepare_recipe)
run.cli.factory(name="scale_infer", target=infer, is_target_default=True)(infer_recipe)
run.cli.factory(name="scale_evaluate", target=evaluate, is_target_default=True)(evaluate_recipe)
