# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a size comes to: parameters of each part, for a store's genes and labels or for those of the reference data."""

from typing import Any

from bionemo.scale.data.store.reader import Store
from bionemo.scale.megatron.layout import model_parallel
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.count import count_parameters
from bionemo.scale.model.sizes import REFERENCE_DATA
from bionemo.scale.train.fields import parse_overrides, size_fields
from bionemo.scale.train.finetune.start import check_architecture, find_start, inherited_fields
from bionemo.scale.train.resolve import checked_config
from bionemo.scale.train.settings import TrainSettings


_VOCABULARIES = ("genes", "cell_types", "perturbations", "batches")
# Single precision weights, gradients and the two moments of Adam.
_BYTES_PER_PARAMETER = 16


def size_table(settings: TrainSettings, *, with_store: bool) -> str:
    """Return a table of parameter counts, built without the memory they would take.

    Args:
        settings: Names the size, the store and fields of the model.
        with_store: Whether to count for the store rather than for the reference data.

    Raises:
        InputError: If the size, the store or a field cannot be used.
    """
    data = REFERENCE_DATA
    if with_store:
        with Store.open(settings.store) as store:
            data = {f"num_{name}": len(getattr(store.card, name)) for name in _VOCABULARIES}
    fields = {**_network(settings), **data, **parse_overrides(ScaleModelConfig, settings.overrides)}
    with model_parallel():
        parts = count_parameters(checked_config(fields))
    return _table(settings.size or str(settings.from_checkpoint), data, parts)


def _network(settings: TrainSettings) -> dict[str, Any]:
    """Return the fields of a size, or of the checkpoint that is started from."""
    if settings.from_checkpoint is None:
        return size_fields(settings.size)
    start = find_start(settings)
    check_architecture(settings, parse_overrides(ScaleModelConfig, settings.overrides), start)
    return {**inherited_fields(start), "feature_size": start.config.feature_size}


def _table(size: str, data: dict[str, int], parts: dict[str, int]) -> str:
    total = sum(parts.values())
    described = ", ".join(f"{count:,} {name.removeprefix('num_').replace('_', ' ')}" for name, count in data.items())
    lines = [
        f"size {size}: {described}",
        *(f"{name:<20}{count:>14,}" for name, count in parts.items()),
        f"{'total':<20}{total:>14,}",
        f"{total * _BYTES_PER_PARAMETER / 2**20:,.0f} MiB of weights, gradients and optimizer state in single precision, "
        "before activations",
    ]
    return "\n".join(lines) + "\n"
