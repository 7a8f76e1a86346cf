# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A training as NeMo's users compose it: a recipe of the objects that NeMo trains with, each of which may be changed.

Where options cannot express a change (another callback, another schedule), the objects carry it. What options do
express is read from the objects, so that the run folder, its checks and its continuation are those of the command.
Importing this module imports NeMo.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import Any, cast

import nemo_run as run

from bionemo.scale.megatron import cpu


# NeMo finds CUDA, or what stands for it, when it is imported.
cpu.install()

from megatron.core.optimizer import OptimizerConfig  # noqa: E402
from nemo import lightning as nl  # noqa: E402
from nemo.lightning.pytorch.optim import MegatronOptimizerModule  # noqa: E402

from bionemo.scale.data.sets.datamodule import ScaleDataModule  # noqa: E402
from bionemo.scale.data.sets.sampler import Sampling  # noqa: E402
from bionemo.scale.megatron.kernels import PRECISIONS  # noqa: E402
from bionemo.scale.megatron.ranks import take_ranks  # noqa: E402
from bionemo.scale.options.fields import options_of, path_options  # noqa: E402
from bionemo.scale.recipes import groups  # noqa: E402
from bionemo.scale.recipes.groups import Experiment, Model, check_written_out  # noqa: E402
from bionemo.scale.recipes.steps import execute, train_step  # noqa: E402
from bionemo.scale.train import components  # noqa: E402
from bionemo.scale.train.callbacks.stopping import TrainingStopped  # noqa: E402
from bionemo.scale.train.components import Components  # noqa: E402
from bionemo.scale.train.in_folder import TOLD, refused_once, train_in_folder  # noqa: E402
from bionemo.scale.train.module import adamw_with_cosine  # noqa: E402
from bionemo.scale.train.presets import WRITTEN_PRESET  # noqa: E402
from bionemo.scale.train.settings import TrainSettings  # noqa: E402
from bionemo.scale.train.setup.parts import overrides_of  # noqa: E402
from bionemo.scale.types import InputError  # noqa: E402


_DATA = ("set_size", "micro_batch_size", "seed", "num_workers")
_SAMPLING = ("sets", "weighting", "control_share", "share_controls")
_PATHS = {
    "size": "model.size",
    "preset": "model.preset",
    "store": "data.store",
    **{name: f"data.{name}" for name in _DATA},
    **{name: f"data.sampling.{name}" for name in _SAMPLING},
    "accumulate": "data.global_batch_size",
    "lr": "optim.config.lr",
    "weight_decay": "optim.config.weight_decay",
    "warmup_steps": "optim.lr_scheduler.warmup_steps",
    "max_steps": "trainer.max_steps",
    "devices": "trainer.devices",
    "num_nodes": "trainer.num_nodes",
    "val_interval": "trainer.val_check_interval",
    "log_interval": "trainer.log_every_n_steps",
    "precision": "trainer.plugins",
    "tensor_parallel": "trainer.strategy.tensor_model_parallel_size",
    "pipeline_parallel": "trainer.strategy.pipeline_model_parallel_size",
    "async_checkpoints": "trainer.strategy.ckpt_async_save",
    **{field.name: f"experiment.{field.name}" for field in dataclasses.fields(cast(Any, Experiment))},
}
"""Where the objects have what is an option of the command."""


def in_dotted_paths(line: str) -> str:
    """Return a refusal with dotted paths of the objects in the place of options."""
    paths = {option.flag: _PATHS[option.name] for option in options_of(TrainSettings) if option.name in _PATHS}
    return groups.in_dotted_paths(line, paths)


def parts_of(settings: TrainSettings) -> dict[str, run.Config]:
    """Return NeMo's objects of a training as configurations, without where the cells and the run folder are."""
    data: Any = components.data_module(settings, run.Config)
    data.store = None
    return {
        "data": data,
        "optim": adamw_with_cosine(
            lr=settings.lr, weight_decay=settings.weight_decay, warmup_steps=settings.warmup_steps, make=run.Config
        ),
        "trainer": components.trainer(settings, run.Config),
    }


def settings_of(*, model: Any, data: Any, optim: Any, trainer: Any, experiment: Any) -> TrainSettings:
    """Return the options that say what the objects are, as far as options can.

    Args:
        model: A :class:`Model`.
        data: A :class:`ScaleDataModule`.
        optim: A ``MegatronOptimizerModule`` of NeMo's.
        trainer: NeMo's ``Trainer`` with its ``MegatronStrategy``.
        experiment: An :class:`Experiment`.

    Raises:
        InputError: A place is missing, an object is of a class that cannot be trained with, or the objects do not go
            with one another.
    """
    _check_classes(model=model, data=data, optim=optim, trainer=trainer, experiment=experiment)
    network, values = vars(model).copy(), vars(experiment).copy()
    size, preset = network.pop("size"), network.pop("preset") or TrainSettings.preset
    if values["out"] is None:
        raise InputError("experiment.out: expected a path, found none; give experiment.out=PATH")
    values |= {
        **_of_data(data, copies=_copies(trainer)),
        **_of_trainer(trainer),
        "lr": optim.config.lr,
        "weight_decay": optim.config.weight_decay,
        "warmup_steps": getattr(optim.lr_scheduler, "warmup_steps", TrainSettings.warmup_steps),
    }
    check_written_out(preset, values, network, written=values.pop(WRITTEN_PRESET))
    try:
        return TrainSettings.make(size=size, preset=preset, overrides=overrides_of(network, size, preset), **values)
    except InputError as error:
        raise InputError(in_dotted_paths(str(error))) from error


def _check_classes(**objects: Any) -> None:
    """Refuse an object that this package cannot train with, before anything of it is read."""
    classes: dict[str, type] = {
        "model": Model,
        "experiment": Experiment,
        "data": ScaleDataModule,
        "data.sampling": Sampling,
        "optim": MegatronOptimizerModule,
        "optim.config": OptimizerConfig,
        "trainer": nl.Trainer,
        "trainer.strategy": nl.MegatronStrategy,
    }
    for path, expected in classes.items():
        part, _, attribute = path.partition(".")
        found = getattr(objects[part], attribute) if attribute else objects[part]
        if not isinstance(found, expected):
            raise InputError(f"{path}: expected {_name(expected)} or a class made of it, found {_name(type(found))}")


def _name(found: type) -> str:
    # NeMo and Lightning have classes of one name.
    return f"{found.__module__}.{found.__qualname__}"


def _copies(trainer: nl.Trainer) -> int:
    strategy = trainer.strategy
    model_parallel = strategy.tensor_model_parallel_size * strategy.pipeline_model_parallel_size
    return max(1, trainer.num_devices * trainer.num_nodes // model_parallel)


def _of_data(data: ScaleDataModule, *, copies: int) -> dict[str, Any]:
    if data.sampling.blind is not None:
        raise InputError(
            "data.sampling.blind: expected none; networks without a part of the training groups measure the weight of "
            "the means, and the run trains them itself"
        )
    accumulate, rest = divmod(data.global_batch_size, data.micro_batch_size * copies)
    if rest or not accumulate:
        raise InputError(
            f"data.global_batch_size: expected a multiple of data.micro_batch_size times the {copies} copies of the "
            f"network = {data.micro_batch_size * copies}, found {data.global_batch_size}"
        )
    return {
        "store": data.store_path,
        **{name: getattr(data, name) for name in _DATA},
        **{name: getattr(data.sampling, name) for name in _SAMPLING},
        "accumulate": accumulate,
    }


def _of_trainer(trainer: nl.Trainer) -> dict[str, Any]:
    strategy = trainer.strategy
    return {
        "max_steps": trainer.max_steps,
        "devices": trainer.num_devices,
        "num_nodes": trainer.num_nodes,
        "val_interval": trainer.val_check_interval,
        "log_interval": trainer.log_every_n_steps,
        "tensor_parallel": strategy.tensor_model_parallel_size,
        "pipeline_parallel": strategy.pipeline_model_parallel_size,
        "precision": _precision_of(trainer),
        "async_checkpoints": _saving(bool(strategy.async_save)),
    }


def _saving(in_background: bool) -> str:
    as_auto = in_background == components.saves_in_background("auto")
    return "auto" if as_auto else "on" if in_background else "off"


def _precision_of(trainer: nl.Trainer) -> str:
    plugin = trainer.precision_plugin
    held = getattr(plugin, "dtype_config", None)
    if held is None or held.fp32:
        return TrainSettings.precision
    for name, precision in PRECISIONS.items():
        wanted = precision.config_fields()
        if wanted["bf16"] and all(getattr(held, key, None) == wanted[key] for key in _telling(wanted)):
            return name
    raise InputError(f"trainer.plugins: expected a precision of {', '.join(PRECISIONS)}, found {plugin.precision}")


def _telling(fields: dict[str, Any]) -> tuple[str, ...]:
    return ("bf16", "fp8", "fp8_recipe") if fields["fp8"] else ("bf16", "fp8")


def train_composed(*, model: Any, data: Any, optim: Any, trainer: Any, experiment: Any) -> None:
    """Train with NeMo's objects as the command does; then become the command, which measures the network's weight.

    Raises:
        InputError: The objects, the store or the run folder cannot be used; nothing is left behind.
        TrainingStopped: See :func:`bionemo.scale.train.training.train`.
    """
    ranks = take_ranks(os.environ)
    with refused_once(ranks), _in_dotted_paths():
        settings = settings_of(model=model, data=data, optim=optim, trainer=trainer, experiment=experiment)
        # Absolute, as the command has them.
        paths = {name: path.resolve() for name in path_options(TrainSettings) if (path := getattr(settings, name))}
        settings = dataclasses.replace(settings, **paths)
        train_in_folder(settings, ranks, Components(data=data, optimizer=optim, trainer=trainer))
    if ranks.is_first:
        # The others have nothing to do there, and would wait for its lock.
        os.environ[TOLD] = "1"
        execute(train_step(settings))


@contextlib.contextmanager
def _in_dotted_paths() -> Iterator[None]:
    try:
        yield
    except (InputError, TrainingStopped) as error:
        raise type(error)(in_dotted_paths(str(error))) from error
