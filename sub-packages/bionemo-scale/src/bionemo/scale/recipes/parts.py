# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The parts of a training recipe, as NeMo-Run configurations that a command line can change."""

import dataclasses
from pathlib import Path

import nemo_run as run

from bionemo.scale.recipes.defaults import size_defaults
from bionemo.scale.recipes.groups import Data, Model, Optim, Trainer, architecture


def model(size: str = "small") -> run.Config[Model]:
    """Return the network of a size, with every field that a run may change.

    Raises:
        InputError: There is no such size.
    """
    return run.Config(Model, size=size, **architecture(size))


def model_of_checkpoint() -> run.Config[Model]:
    """Return the network of whatever checkpoint a run starts from; a field that is not ``None`` changes it."""
    return run.Config(Model, **{field.name: None for field in dataclasses.fields(Model)})


def data(size: str = "small", store: Path | None = None) -> run.Config[Data]:
    """Return how cell sets are drawn from a store."""
    return _group(Data, size, store=store)


def optim(size: str = "small") -> run.Config[Optim]:
    """Return the optimizer and its schedule."""
    return _group(Optim, size)


def trainer(
    size: str = "small", out: Path | None = None, num_nodes: int | None = None, devices: int | None = None
) -> run.Config[Trainer]:
    """Return the length and the layout of a run; ``None`` takes what the size does by default."""
    chosen = {"num_nodes": num_nodes, "devices": devices}
    return _group(Trainer, size, out=out, **{name: value for name, value in chosen.items() if value is not None})


def _group(group: type, size: str, **chosen: object) -> run.Config:
    """Return a group with every value written out: a recipe that is read says all of what it does."""
    values = {**size_defaults(size).settings, **chosen}
    return run.Config(
        group, **{field.name: values.get(field.name, _default(field)) for field in dataclasses.fields(group)}
    )


def _default(field: dataclasses.Field) -> object:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
