# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A training run as BioNeMo's users write it: pydantic models of six sections, and the YAML file that holds them.

The fields are those of :class:`bionemo.scale.train.settings.TrainSettings`, with its types, ranges and docstrings;
here is only which section has which. Every refusal names the key as the file has it.
"""

import dataclasses
import typing
from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

from bionemo.scale.files.suggest import suggest
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.options.fields import Option, options_of
from bionemo.scale.options.values import checked, number_in
from bionemo.scale.recipes.defaults import train_settings
from bionemo.scale.run.config.merge import merged, with_written_preset, written_preset
from bionemo.scale.run.config.sections import SECTIONS
from bionemo.scale.train.presets import WRITTEN_PRESET
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.train.setup.fields import network_overrides
from bionemo.scale.train.setup.parts import chosen_fields, fields_of, network_of, overrides_of
from bionemo.scale.types import InputError


if TYPE_CHECKING:
    from bionemo.scale.data.sets.datamodule import ScaleDataModule
    from bionemo.scale.train.config import ScaleConfig

Made = TypeVar("Made", bound="Section")
_OPTIONS = {option.name: option for option in options_of(TrainSettings)}


class _Keys(BaseModel):
    """Keys and values that are checked when they are given and when they are assigned."""

    model_config = ConfigDict(validate_assignment=True, protected_namespaces=(), extra="forbid")

    @classmethod
    def _check_other(cls, key: str, value: Any) -> None:
        """Refuse a key that the class does not declare."""
        raise NotImplementedError

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    else:

        def __setattr__(self, name: str, value: Any) -> None:
            if name not in type(self).model_fields:
                self._check_other(name, value)
            super().__setattr__(name, value)


class Section(_Keys):
    """A section of a file of settings. What it does not give has the default of the size.

    An attribute that was not given shows the default of the option, which the size or the preset may replace:
    :meth:`MainConfig.to_settings` returns the values of the run.

    Raises:
        InputError: A key is unknown, or a value is not possible.
    """

    part: ClassVar[str] = ""
    """Which fields of :class:`TrainSettings` it has."""

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: Any) -> Any:
        # A section in YAML whose keys are all comments.
        values = {} if values is None else values
        if not isinstance(values, Mapping):
            raise InputError(f"{SECTIONS[cls.part]}: expected keys and values, found {values!r}")
        for key in values:
            if str(key) not in cls.model_fields:
                cls._check_other(str(key), values[key])
        return {str(key): value for key, value in values.items()}

    @classmethod
    def _check_other(cls, key: str, value: Any) -> None:
        raise InputError(f"{SECTIONS[cls.part]}: unknown key {key!r}; {_nearest(key, cls.model_fields)}")

    def given(self) -> dict[str, Any]:
        """Return the fields of :class:`TrainSettings` that the section gives."""
        return {name: value for name in self.model_fields_set if (value := getattr(self, name)) is not None}


def _section_of(option: Option) -> str:
    return SECTIONS[next(part for part in SECTIONS if option.name in fields_of(part))]


def _missing(name: str) -> InputError:
    return InputError(f"{_section_of(_OPTIONS[name])}.{name}: expected a path, found none")


def _nearest(key: str, known: Collection[str]) -> str:
    """Say where an unknown key belongs, or what it may have been meant for."""
    option = _OPTIONS.get(key)
    return suggest(key, known) if option is None else f"it is a key of {_section_of(option)}"


def _section(made: type[Made]) -> type[Made]:
    """Add the fields of the section's part."""
    hints, fields = typing.get_type_hints(TrainSettings), {}
    for name in fields_of(made.part):
        if name == "overrides":
            continue
        option = dataclasses.replace(_OPTIONS[name], flag=f"{SECTIONS[made.part]}.{name}")
        # What every run must name is None until it is named.
        hint, default = (hints[name] | None, None) if option.is_required else (hints[name], option.default)
        check = partial(_checked, option)
        fields[name] = (Annotated[hint, BeforeValidator(check)], Field(default, description=option.help))
    return _extended(made, fields)


def _checked(option: Option, value: Any) -> Any:
    return None if value is None and option.is_required else checked(option, number_in(option, value))


def _network(made: type[Made]) -> type[Made]:
    """Add the fields of a network; ``None`` is as the size, the preset or the checkpoint has it."""
    hints = typing.get_type_hints(ScaleModelConfig)
    fields = {
        name: (Annotated[hints[name] | None, BeforeValidator(partial(_network_value, name))], None)
        for name in chosen_fields()
    }
    return _extended(made, fields)


def _network_value(name: str, value: Any) -> Any:
    return None if value is None else network_overrides({name: str(value)}, given=f"{SECTIONS['model']}.")[name]


def _extended(made: type[Made], fields: Mapping[str, Any]) -> type[Made]:
    more = cast(dict[str, Any], fields)
    return cast(
        type[Made],
        create_model(made.__name__, __base__=made, __module__=__name__, __doc__=made.__doc__, **more),
    )


@_section
class DataConfig(Section):
    """Where the cells are, and how sets of them are drawn."""

    part: ClassVar[str] = "data"

    def construct_data_module(self, global_batch_size: int, *, seed: int = TrainSettings.seed) -> "ScaleDataModule":
        """Return the data module, as BioNeMo's data configurations do. It imports NeMo.

        Args:
            global_batch_size: Sets of one optimizer step, over all processes.
            seed: Seed of the order of sets.

        Raises:
            InputError: No store is given, or the batch is not of whole micro-batches.
        """
        if self.store is None:
            raise _missing("store")
        devices, rest = divmod(global_batch_size, self.micro_batch_size * self.accumulate)
        if rest or devices < 1:
            raise InputError(
                f"global_batch_size must be a multiple of micro_batch_size times accumulate = "
                f"{self.micro_batch_size * self.accumulate}, found {global_batch_size}"
            )
        from bionemo.scale.megatron import cpu

        cpu.install()
        from bionemo.scale.train.components import data_module

        settings = TrainSettings.make(out="run", seed=seed, devices=devices, **self.given())
        return cast("ScaleDataModule", data_module(settings))


@_network
@_section
class ExposedScaleConfig(Section):
    """The network: a size, a preset, and fields of :class:`bionemo.scale.model.config.ScaleModelConfig`.

    A field that is left out or ``None`` is as the size and the preset have it, or the checkpoint that training starts
    from. Fields of Megatron's that ``--set`` takes may be given too.
    """

    model_config = ConfigDict(extra="allow")
    part: ClassVar[str] = "model"

    @classmethod
    def model_class(cls) -> "type[ScaleConfig]":
        """Return the configuration that training uses, which BioNeMo keeps in a checkpoint. It imports NeMo."""
        from bionemo.scale.train.config import ScaleConfig

        return ScaleConfig

    @classmethod
    def _check_other(cls, key: str, value: Any) -> None:
        if key == "overrides":
            raise InputError(f"{SECTIONS[cls.part]}: unknown key {key!r}; its values are keys of this section")
        if key in _OPTIONS or key not in {field.name for field in dataclasses.fields(ScaleModelConfig)}:
            super()._check_other(key, value)
        network_overrides({key: str(value)}, given=f"{SECTIONS[cls.part]}.")

    def given(self) -> dict[str, Any]:
        """Return size, preset and overrides, each if there is one."""
        values = super().given()
        named: dict[str, Any] = {name: values.pop(name) for name in ("size", "preset") if name in values}
        overrides = overrides_of(values, named.get("size"), named.get("preset", TrainSettings.preset))
        return {**named, **({"overrides": overrides} if overrides else {})}


@_section
class OptimizerSchedulerConfig(Section):
    """AdamW and its schedule."""

    part: ClassVar[str] = "optim"


@_section
class ParallelConfig(Section):
    """Processes, and what they share."""

    part: ClassVar[str] = "parallel"


@_section
class TrainingConfig(Section):
    """Length, precision, fine-tuning, and how the weight of the network's means is measured."""

    part: ClassVar[str] = "training"


@_section
class ExperimentConfig(Section):
    """The run folder, checkpoints and logs."""

    part: ClassVar[str] = "experiment"


def _written(value: Any) -> str | None:
    return None if value is None else written_preset(value)


class MainConfig(_Keys):
    """A training run: what ``bionemo-scale-recipe`` writes and ``bionemo-scale-train --config`` reads.

    Sections hold what was given. :meth:`to_settings` returns every value of the run.

    Raises:
        InputError: A section or a key is unknown, or a value is not possible.
    """

    values_of_preset: Annotated[str | None, BeforeValidator(_written)] = Field(
        None, description="The preset that a command wrote the values for; another one beside it is refused."
    )
    data_config: DataConfig = Field(default_factory=DataConfig)
    bionemo_model_config: ExposedScaleConfig = Field(default_factory=ExposedScaleConfig)
    optim_config: OptimizerSchedulerConfig = Field(default_factory=OptimizerSchedulerConfig)
    parallel_config: ParallelConfig = Field(default_factory=ParallelConfig)
    training_config: TrainingConfig = Field(default_factory=TrainingConfig)
    experiment_config: ExperimentConfig = Field(default_factory=ExperimentConfig)

    @model_validator(mode="before")
    @classmethod
    def _check_sections(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            raise InputError(f"expected sections {', '.join(SECTIONS.values())}, found {values!r}")
        for key in values:
            if key not in cls.model_fields:
                cls._check_other(str(key), values[key])
        return values

    @classmethod
    def _check_other(cls, key: str, value: Any) -> None:
        raise InputError(f"unknown section {key!r}; {_nearest(key, cls.model_fields)}")

    @classmethod
    def from_settings(cls, settings: TrainSettings) -> "MainConfig":
        """Return a run with every value written out."""
        sections = {
            section: {name: getattr(settings, name) for name in fields_of(part) if name != "overrides"}
            for part, section in SECTIONS.items()
        }
        sections[SECTIONS["model"]] |= network_of(settings)
        return cls(**cast(dict[str, Any], {WRITTEN_PRESET: settings.preset, **sections}))

    def given(self) -> dict[str, Any]:
        """Return the fields of :class:`TrainSettings` that the sections give.

        Raises:
            InputError: The preset is another one than that which the values were written for.
        """
        values = {
            name: value for section in SECTIONS.values() for name, value in getattr(self, section).given().items()
        }
        return with_written_preset(values, self.values_of_preset, key=f"{SECTIONS['model']}.preset")

    def to_settings(self, **chosen: Any) -> TrainSettings:
        """Return the settings of the run.

        Args:
            chosen: Fields of :class:`TrainSettings` in place of the sections' own; ``overrides`` changes only the
                fields of the network that it names.

        Raises:
            InputError: The store or the run folder is missing, values do not go with one another, or ``chosen`` has
                another size or preset than the sections.
        """
        values = merged(
            self.given(),
            TrainSettings.checked(**chosen),
            holder=f"{SECTIONS['model']} has it",
            advice="make another MainConfig for it",
        )
        for name in ("store", "out"):
            if name not in values:
                raise _missing(name)
        return train_settings(values.pop("size", None), **values)

    def as_dict(self, *, without: Collection[str] = ()) -> dict[str, Any]:
        """Return sections of plain values, as YAML keeps them: those that were given.

        Args:
            without: Keys to leave out.
        """
        dumped = self.model_dump(mode="json", exclude_unset=True)
        for section in dumped.keys() & SECTIONS.values():
            dumped[section] = {key: value for key, value in dumped[section].items() if key not in without}
        return {name: held for name, held in dumped.items() if held}
