# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a size comes to, for a store's genes and labels or the reference data's: parameters, memory and arithmetic."""

from collections.abc import Sequence
from typing import Any

import torch

from bionemo.scale.data.store.reader import Store
from bionemo.scale.megatron.kernels import PRECISIONS
from bionemo.scale.megatron.layout import model_parallel
from bionemo.scale.megatron.roles import Role
from bionemo.scale.model.size.arithmetic import StepArithmetic, step_arithmetic
from bionemo.scale.model.size.count import TensorCount, count_tensors
from bionemo.scale.model.size.sizes import REFERENCE_DATA
from bionemo.scale.train.finetune.start import check_architecture, find_start, inherited_fields
from bionemo.scale.train.presets import PRESETS
from bionemo.scale.train.settings import FREEZABLE, TrainSettings
from bionemo.scale.train.setup.activations import activation_bytes
from bionemo.scale.train.setup.fields import size_fields
from bionemo.scale.train.setup.resolve import checked_config, read_overrides


_VOCABULARIES = ("genes", "cell_types", "perturbations", "batches")
_SINGLE, _HALF, _INDEX = 4, 2, 8
"""Bytes of a number."""


def size_table(settings: TrainSettings, *, with_store: bool) -> str:
    """Return tables of parameters, of the memory that training takes and of its arithmetic, without taking any of it.

    Args:
        settings: Names the size, the store and fields of the model.
        with_store: Whether to count for the store rather than for the reference data.

    Raises:
        InputError: If the size, the store or a field cannot be used.
    """
    data, decided = REFERENCE_DATA, frozenset(Role) - {Role.DATA}
    covariates: list[int] = []
    if with_store:
        with Store.open(settings.store) as store:
            data = {f"num_{name}": len(getattr(store.card, name)) for name in _VOCABULARIES}
            covariates = [len(names) for names in store.card.covariates]
        decided = frozenset(Role)
    overrides = read_overrides(settings, decided=decided)
    of_preset = PRESETS[settings.preset].fields
    length = {"set_size": settings.set_size, "covariate_sizes": covariates}
    config = checked_config({**_network(settings, overrides), **of_preset, **data, **length, **overrides})
    with model_parallel():
        count = count_tensors(config)
        activations = activation_bytes(
            config,
            num_sets=settings.micro_batch_size,
            dtype=PRECISIONS[settings.precision].dtype,
            frozen=settings.freeze,
        )
    memory = training_memory(
        count, precision=settings.precision, frozen=settings.freeze, keeps_average=config.ema_decay > 0
    )
    memory["activations"] = activations
    data = {name: getattr(config, name) for name in data}
    name = settings.size or str(settings.from_checkpoint)
    return (
        _table(name, data, count)
        + _memory_table(settings, memory)
        + _arithmetic_table(step_arithmetic(config), stages=settings.pipeline_parallel)
    )


def _network(settings: TrainSettings, overrides: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a size, or of the checkpoint that is started from."""
    if settings.from_checkpoint is None:
        assert settings.size is not None, "checked by the settings"
        return size_fields(settings.size)
    start = find_start(settings)
    check_architecture(settings, overrides, start)
    return {**inherited_fields(start), "feature_size": start.config.feature_size}


def training_memory(
    count: TensorCount, *, precision: str, frozen: Sequence[str] = (), keeps_average: bool = True
) -> dict[str, int]:
    """Return the bytes of everything that training keeps between steps, on a process that holds the whole network.

    Gradients are single precision whatever the weights are (:func:`bionemo.scale.train.training.train`), and bfloat16
    weights have a copy in single precision beside Adam's two moments.

    Args:
        count: The network's tensors.
        precision: A name in :data:`bionemo.scale.megatron.kernels.PRECISIONS`.
        frozen: Parts that are not trained, names in :data:`bionemo.scale.train.settings.FREEZABLE`.
        keeps_average: Whether a running average of the weights is kept.
    """
    is_half = PRECISIONS[precision].dtype is torch.bfloat16
    modules = {module for part in frozen for module in FREEZABLE[part]}
    trained = sum(number for part, number in count.parameters.items() if part not in modules)
    floating = sum(count.parameters.values()) + count.floating_buffers
    in_any_precision = count.effects * _SINGLE + count.integer_buffers * _INDEX
    return {
        "weights": floating * (_HALF if is_half else _SINGLE) + in_any_precision,
        "running average": floating * _SINGLE + in_any_precision if keeps_average else 0,
        "gradients": trained * _SINGLE,
        "optimizer state": trained * _SINGLE * (3 if is_half else 2),
    }


def _table(size: str, data: dict[str, int], count: TensorCount) -> str:
    described = ", ".join(f"{number:,} {name.removeprefix('num_').replace('_', ' ')}" for name, number in data.items())
    lines = [
        f"size {size}: {described}",
        *(f"{name:<20}{number:>14,}" for name, number in count.parameters.items()),
        f"{'total':<20}{sum(count.parameters.values()):>14,}",
    ]
    return "\n".join(lines) + "\n"


def _arithmetic_table(arithmetic: StepArithmetic, *, stages: int) -> str:
    lines = [
        "multiply-adds of the forward pass, in millions, for a control cell and a perturbed cell",
        *(f"{name:<20}{share * arithmetic.total / 1e6:>14,.1f}" for name, share in arithmetic.shares.items()),
        f"{'total':<20}{arithmetic.total / 1e6:>14,.1f}",
    ]
    if 1 < stages <= arithmetic.num_blocks:
        blocks = arithmetic.best_blocks(stages)
        lines.append(
            f"{stages} pipeline stages of {', '.join(map(str, blocks))} transport blocks: at most "
            f"{arithmetic.speedup(blocks):.2f} times as fast as one process"
        )
    return "\n".join(lines) + "\n"


def _memory_table(settings: TrainSettings, memory: dict[str, int]) -> str:
    adapters = "; adapters and what they freeze are not counted" if settings.lora else ""
    sets = f"a micro-batch of {settings.micro_batch_size} sets of {settings.set_size} cells"
    lines = [
        f"memory in MiB of one process with the whole network, {settings.precision}, {sets}{adapters}",
        *(f"{name:<20}{number / 2**20:>14,.1f}" for name, number in memory.items()),
        f"{'total':<20}{sum(memory.values()) / 2**20:>14,.1f}",
    ]
    return "\n".join(lines) + "\n"
