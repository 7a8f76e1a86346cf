# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Settings in the form that a NeMo-Run command line can change.

Each group here is made of the fields of a settings class, so that a field is written down once. Two things differ:
what every run must name is ``None`` until it is named, and types are those that NeMo-Run reads from text and sends to
other processes (``Optional[X]`` rather than ``X | None``, lists rather than tuples, text rather than paths).

The settings of a training run come in the four groups of a recipe: model, data, optim, trainer. The functions at the
end make the groups of a size, which a command line then changes.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import nemo_run as run

from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.eval.settings import EvaluateSettings
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.options.fields import options_of
from bionemo.scale.options.values import column_flag, renamed
from bionemo.scale.recipes.defaults import preset_held, size_defaults
from bionemo.scale.train.presets import PRESETS, WRITTEN_PRESET
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.train.setup.parts import architecture, chosen_fields, fields_of, overrides_of
from bionemo.scale.types import InputError, ObsKeys


Group = TypeVar("Group")
_Part = tuple[str, Any, Any]
"""Name, type and default of a field."""


def _group(
    source: type, fields: tuple[str, ...] | None = None, *, more: tuple[_Part, ...] = (), may_be_none: bool = False
) -> Callable[[type[Group]], type[Group]]:
    """Make a dataclass of fields of another, with defaults and types that NeMo-Run can handle.

    Args:
        source: The other class.
        fields: Those that are taken; ``None`` takes all.
        more: Fields of its own.
        may_be_none: Whether any field may be ``None``.
    """

    def make(named: type[Group]) -> type[Group]:
        made = dataclasses.make_dataclass(
            named.__name__, [*_parts(source, fields, may_be_none=may_be_none), *more], frozen=True, kw_only=True
        )
        # Where a serialised recipe finds the class again.
        made.__module__, made.__doc__ = __name__, named.__doc__
        return typing.cast(type[Group], made)

    return make


def _parts(source: type, fields: tuple[str, ...] | None, *, may_be_none: bool) -> Iterator[_Part]:
    hints = typing.get_type_hints(source)
    for field in dataclasses.fields(source):
        if fields is not None and field.name not in fields:
            continue
        kind, default = _portable(hints[field.name]), field.default
        if may_be_none or (default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING):
            kind = typing.Optional[kind]  # noqa: UP045 - NeMo-Run reads no other spelling
        if field.default_factory is not dataclasses.MISSING:
            yield field.name, kind, dataclasses.field(default_factory=field.default_factory)
        elif default is dataclasses.MISSING:
            yield field.name, kind, None
        elif isinstance(default, tuple):
            yield field.name, kind, dataclasses.field(default_factory=partial(list, default))
        else:
            yield field.name, kind, default


def _portable(hint: Any) -> Any:
    arguments = typing.get_args(hint)
    if hint is Path:
        return typing.Union[str, Path]  # noqa: UP007 - NeMo-Run reads no other spelling
    if isinstance(hint, types.UnionType):
        return typing.Union[tuple(_portable(part) for part in arguments)]  # noqa: UP007 - as above
    if typing.get_origin(hint) is tuple:
        return types.GenericAlias(list, (_portable(arguments[0]),))
    return hint


def _fields(group: Any) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(group)


# NeMo-Run reads no other spelling.
_NAMED = (("size", typing.Optional[str], "small"), ("preset", typing.Optional[str], TrainSettings.preset))  # noqa: UP045
_WRITTEN = ((WRITTEN_PRESET, typing.Optional[str], None),)  # noqa: UP045


@_group(ScaleModelConfig, chosen_fields(), more=_NAMED, may_be_none=True)
class Model:
    """A size, a preset, and every field of the network that a run may choose.

    ``None`` is as in the checkpoint that is fine-tuned.
    """


@_group(TrainSettings, fields_of("data"))
class Data:
    """Where the cells are and how sets are drawn."""


@_group(TrainSettings, fields_of("optim"))
class Optim:
    """AdamW and its schedule."""


@_group(TrainSettings, fields_of("parallel", "training", "experiment"), more=_WRITTEN)
class Trainer:
    """Length, layout, run folder and everything else; the preset that all values were written out for."""


_SAID_BY_NEMO = (
    *("max_steps", "seed", "val_interval", "log_interval", "precision", "async_checkpoints"),
    *("blind", "fold"),
)
"""Fields that NeMo's own objects have, and those of networks that measure the weight."""


@_group(
    TrainSettings,
    tuple(name for name in fields_of("training", "experiment") if name not in _SAID_BY_NEMO),
    more=_WRITTEN,
)
class Experiment:
    """What a training has beside the objects of NeMo: run folder, fine-tuning, the weight of the network's means."""


@_group(PrepareSettings)
class Prepare:
    """One conversion."""


@_group(InferSettings)
class Infer:
    """One prediction."""


@_group(EvaluateSettings)
class Evaluate:
    """One evaluation."""


def paths_of(part: str, group: type) -> dict[str, str]:
    """Return where a part of a recipe has what is an option of its command: dotted path by option.

    Args:
        part: Its name in the recipe.
        group: Its class, one of those above.
    """
    settings = _SETTINGS.get(group, TrainSettings)
    fields = {field.name for field in _fields(group)}
    found = {option.flag: f"{part}.{option.name}" for option in options_of(settings) if option.name in fields}
    if "keys" in fields:
        found |= {column_flag(field.name): f"{part}.keys.{field.name}" for field in _fields(ObsKeys)}
    return found


def in_dotted_paths(line: str, paths: Mapping[str, str]) -> str:
    """Return a refusal with dotted paths of a recipe in the place of options.

    Args:
        line: The refusal.
        paths: Dotted path by option.
    """
    return renamed(line.replace("--set ", "model."), paths)


_SETTINGS: Mapping[type, type] = {Prepare: PrepareSettings, Infer: InferSettings, Evaluate: EvaluateSettings}
_PATHS = {"store": "data.store", "out": "trainer.out"}


def join(*, model: Any, data: Any, optim: Any, trainer: Any) -> TrainSettings:
    """Return the settings that the four groups of a training run are.

    Raises:
        InputError: A path is missing, or a value is not possible.
    """
    values = {name: value for group in (data, optim, trainer) for name, value in _values(group).items()}
    for name, option in _PATHS.items():
        if values[name] is None:
            raise InputError(f"{option}: expected a path, found none; give {option}=PATH")
    fields = _values(model)
    size, preset = fields.pop("size"), fields.pop("preset") or TrainSettings.preset
    overrides = overrides_of(fields, size, preset)
    check_written_out(preset, values, fields, written=values.pop(WRITTEN_PRESET))
    return TrainSettings.make(size=size, preset=preset, overrides=overrides, **values)


def check_written_out(
    preset: str, settings: Mapping[str, Any], network: Mapping[str, Any], *, written: str | None
) -> None:
    """Refuse a preset that was put into a recipe of another: a recipe holds every value of its own preset.

    Args:
        preset: Its name.
        settings: Fields of :class:`TrainSettings` in the recipe.
        network: Fields of the network in the recipe.
        written: The preset that the recipe was made for; ``None`` where it was not made by a function of this module.

    Raises:
        InputError: Naming the recipe to choose.
    """
    if preset == TrainSettings.preset:
        # It decides no settings: those of another are a choice, its network too is another preset under this name.
        other = preset_held(preset, settings, network)
    else:
        # Half of it is refused: its network beside the settings of another. Settings that were changed are a choice.
        other = written or preset_held(preset, settings, None)
    if other not in (None, preset):
        ending = f"without _{other} at its end" if preset == TrainSettings.preset else f"that ends in _{preset}"
        raise InputError(
            f"model.preset={preset}: expected a recipe whose other fields are the preset's too, found those of "
            f"{other}; choose one {ending}"
        )


def restore(source: type[Any], group: Any) -> Any:
    """Return the settings of a class that a group was made of.

    Raises:
        InputError: What every run must name is missing, or a value is not possible.
    """
    values = _values(group)
    for field in dataclasses.fields(source):
        missing = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if missing and not values[field.name]:
            option = f"settings.{field.name}"
            raise InputError(f"{option}: expected a value, found none; give {option}=...")
    return source.make(**values)


def _values(group: Any) -> dict[str, Any]:
    return {field.name: getattr(group, field.name) for field in dataclasses.fields(group)}


def model(size: str = "small", *, preset: str = TrainSettings.preset) -> run.Config[Model]:
    """Return the network of a size, with every field that a run may change.

    Raises:
        InputError: There is no such size or preset.
    """
    return run.Config(Model, size=size, preset=preset, **architecture(size, preset))


def model_of_checkpoint() -> run.Config[Model]:
    """Return the network of whatever checkpoint a run starts from; a field that is not ``None`` changes it."""
    return run.Config(Model, **{field.name: None for field in _fields(Model)})


def data(size: str = "small", store: Path | None = None, *, preset: str = TrainSettings.preset) -> run.Config[Data]:
    """Return how cell sets are drawn from a store."""
    return _of_size(Data, size, preset, store=store)


def optim(size: str = "small", *, preset: str = TrainSettings.preset) -> run.Config[Optim]:
    """Return the optimizer and its schedule."""
    return _of_size(Optim, size, preset)


def trainer(
    size: str = "small",
    out: Path | None = None,
    num_nodes: int | None = None,
    *,
    devices: int | None = None,
    preset: str = TrainSettings.preset,
) -> run.Config[Trainer]:
    """Return the length and the layout of a run; ``None`` takes what the size does by default."""
    chosen = {"num_nodes": num_nodes, "devices": devices}
    return _of_size(
        Trainer, size, preset, out=out, **{name: value for name, value in chosen.items() if value is not None}
    )


def experiment(
    size: str = "small", out: Path | None = None, *, preset: str = TrainSettings.preset
) -> run.Config[Experiment]:
    """Return the run folder and everything else that NeMo's objects do not say."""
    return _of_size(Experiment, size, preset, out=out)


def _of_size(group: type, size: str, preset: str, **chosen: object) -> run.Config:
    """Return a group with every value written out: a recipe that is read says all of what it does."""
    values = {**size_defaults(size).settings, **PRESETS[preset].settings, **text_of(chosen), WRITTEN_PRESET: preset}
    return run.Config(
        group, **{field.name: values.get(field.name, _default(field)) for field in dataclasses.fields(group)}
    )


def text_of(values: Mapping[str, object]) -> dict[str, object]:
    """Return values with paths as text, which NeMo-Run can send to another process."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def _default(field: dataclasses.Field) -> object:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
