# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The role of each field of a configuration, and the fields of Megatron's that a SCALE network heeds.

A role is stated once: where a class of this package declares the field, or in :data:`MEGATRON_FIELDS` for a field that
it inherits. Everything that treats fields by kind asks :func:`names_of`: what fine-tuning may change, what a
checkpoint hands on, what a recipe offers.
"""

import dataclasses
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

from megatron.core.transformer.transformer_config import TransformerConfig


class Role(StrEnum):
    """What a field decides."""

    ARCHITECTURE = "architecture"
    """What the network is. A checkpoint fixes it."""
    DATA = "data"
    """What follows from the training data and the settings of the run. Never inherited from a checkpoint."""
    OBJECTIVE = "objective"
    """How the network is trained. Inherited from a checkpoint; fine-tuning may change it."""
    GENERATION = "generation"
    """How the network is asked for a prediction. Each run decides it for itself."""
    LAYOUT = "layout"
    """Where and with what a run computes: processes, precision, kernels, files. Each run decides it for itself."""


OF_A_LAYOUT = frozenset({"expert_tensor_parallel_size", "microbatch_group_size_per_vp_stage"})
"""Fields without a use here that Megatron sets to the size of a layout. A configuration that is copied for another
layout still holds the old size, so that a value of theirs is no choice."""


class Kind(NamedTuple):
    """What is said of a field."""

    role: Role
    decided_by: str = ""
    """What sets the field in a training run, so that no user sets it by name; empty where a user may."""


def _field(
    role: Role,
    default: Any = dataclasses.MISSING,
    *,
    default_factory: Any = dataclasses.MISSING,
    decided_by: str = "",
) -> Any:
    return dataclasses.field(
        default=default, default_factory=default_factory, metadata={"kind": Kind(role, decided_by=decided_by)}
    )


architecture = partial(_field, Role.ARCHITECTURE)
data = partial(_field, Role.DATA, decided_by="the store")
objective = partial(_field, Role.OBJECTIVE)
generation = partial(_field, Role.GENERATION)
layout = partial(_field, Role.LAYOUT)

_PRECISION = Kind(Role.LAYOUT, decided_by="--precision")
MEGATRON_FIELDS = {
    **dict.fromkeys(
        ("activation_func", "ffn_hidden_size", "gated_linear_unit", "kv_channels", "num_query_groups"),
        Kind(Role.ARCHITECTURE),
    ),
    **dict.fromkeys(("autocast_dtype", "bf16", "params_dtype", "pipeline_dtype"), _PRECISION),
    **dict.fromkeys(("fp8", "fp8_amax_compute_algo", "fp8_amax_history_len", "fp8_recipe"), _PRECISION),
    **dict.fromkeys(("fp8_margin", "fp8_wgrad"), Kind(Role.LAYOUT)),
    **dict.fromkeys(("recompute_granularity", "recompute_method", "recompute_num_layers"), Kind(Role.LAYOUT)),
    "tensor_model_parallel_size": Kind(Role.LAYOUT, decided_by="--tensor-parallel"),
    "pipeline_model_parallel_size": Kind(Role.LAYOUT, decided_by="--pipeline-parallel"),
    "num_layers_in_first_pipeline_stage": Kind(Role.LAYOUT),
    "num_layers_in_last_pipeline_stage": Kind(Role.LAYOUT),
    "deallocate_pipeline_outputs": Kind(Role.LAYOUT),
    # Refused with a reason, rather than as unused.
    "sequence_parallel": Kind(Role.LAYOUT),
    "virtual_pipeline_model_parallel_size": Kind(Role.LAYOUT),
}
"""Fields of Megatron's that the network heeds and this package does not declare. Megatron has more than a hundred
others: of experts, of language models, of kernels that the layers here do not use."""


def kind_of(field: dataclasses.Field[Any]) -> Kind | None:
    """Return what is said of a field; ``None`` where the network does not heed it."""
    kind: Kind | None = field.metadata.get("kind", MEGATRON_FIELDS.get(field.name))
    return kind


def kinds(config_class: type) -> dict[str, Kind]:
    """Return what is said of each field of a configuration class that the network heeds."""
    pairs = ((field.name, kind_of(field)) for field in dataclasses.fields(config_class))
    return {name: kind for name, kind in pairs if kind is not None}


def names_of(config_class: type, *roles: Role) -> frozenset[str]:
    """Return the fields of a configuration class that have one of these roles, or any role where none is named."""
    wanted = roles or tuple(Role)
    return frozenset(name for name, kind in kinds(config_class).items() if kind.role in wanted)


def check_heeded(config: TransformerConfig) -> None:
    """Refuse fields of Megatron's that would change nothing, before Megatron acts on them.

    What Megatron derives from other fields, as a copied configuration holds it, is no choice and passes. So do
    functions, which the trainer puts into a configuration.

    Raises:
        ValueError: Naming the field, what was expected and what was found.
    """
    chosen = _unheeded(config)
    if not chosen:
        return
    heeded = {name: getattr(config, name) for name in _names() & names_of(type(config))}
    derived = TransformerConfig(**heeded)
    for field in chosen:
        value = getattr(config, field.name)
        if value != getattr(derived, field.name):
            raise ValueError(
                f"{field.name} is a field of Megatron's that SCALE does not use: expected {field.default}, found "
                f"{value}; leave it out"
            )


def _names() -> set[str]:
    return {field.name for field in dataclasses.fields(TransformerConfig) if field.init}


def _unheeded(config: TransformerConfig) -> list[dataclasses.Field[Any]]:
    """Return the fields without a role that do not have their default."""
    names = _names() - OF_A_LAYOUT
    fields = [field for field in dataclasses.fields(config) if field.name in names and kind_of(field) is None]
    values = [(field, getattr(config, field.name)) for field in fields]
    return [field for field, value in values if value != field.default and not callable(value)]
