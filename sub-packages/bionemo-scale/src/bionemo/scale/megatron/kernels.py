# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which layer spec, which precision and how many processes this machine can run; what a precision asks of shapes."""

import importlib.util
import os
from dataclasses import dataclass
from typing import Any, Literal

import torch

from bionemo.scale.types import InputError


LayerSpec = Literal["local", "te"]


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How numbers are kept and multiplied."""

    dtype: torch.dtype
    """Of parameters and activations; the optimizer's own copy of the parameters is float32."""
    fp8: str | None = None
    """Format of FP8 matrix products: "hybrid" takes e4m3 forward and e5m2 backward."""
    recipe: str = "delayed"
    """How FP8 tensors are scaled, as Megatron calls it."""
    capability: tuple[int, int] = (0, 0)
    """Least compute capability of a CUDA device."""

    def config_fields(self) -> dict[str, Any]:
        """Return the fields of Megatron's configuration, by the names NeMo's precision plugin has for them too."""
        fields = dict(
            bf16=self.dtype is torch.bfloat16,
            params_dtype=self.dtype,
            pipeline_dtype=self.dtype,
            autocast_dtype=self.dtype,
            fp8=self.fp8,
            fp8_recipe=self.recipe,
        )
        if self.fp8 and self.recipe == "delayed":
            fields |= dict(fp8_amax_history_len=1024, fp8_amax_compute_algo="max")
        return fields


_ADA, _BLACKWELL = (8, 9), (10, 0)
PRECISIONS = {
    "fp32": Precision(dtype=torch.float32),
    "bf16": Precision(dtype=torch.bfloat16, capability=(8, 0)),
    "fp8": Precision(dtype=torch.bfloat16, fp8="hybrid", recipe="delayed", capability=_ADA),
    "fp8-current": Precision(dtype=torch.bfloat16, fp8="hybrid", recipe="tensorwise", capability=_ADA),
    "mxfp8": Precision(dtype=torch.bfloat16, fp8="e4m3", recipe="mxfp8", capability=_BLACKWELL),
}
"""By the names of --precision."""


def fp8_multiple(recipe: str) -> int:
    """Return what every side of an FP8 matrix must be a multiple of, for both directions.

    cuBLAS wants rows of 16 bytes, and the gradient of a weight has the tokens as its rows; MXFP8 scales blocks of 32.
    """
    return 32 if recipe == "mxfp8" else 16


def choose_layer_spec(name: str, precision: str) -> LayerSpec:
    """Return the layer spec for --spec and --precision on this machine.

    Args:
        name: "local", "te", or "auto": Transformer Engine where it and a CUDA device are at hand.
        precision: A name in :data:`PRECISIONS`.

    Raises:
        InputError: If this machine cannot run what was asked for.
    """
    lacking = _lacking_for_te()
    if name == "te" and lacking:
        raise InputError(f"--spec te needs a CUDA device and Transformer Engine, found {lacking}")
    if PRECISIONS[precision].fp8 and name == "local":
        raise InputError(f"--precision {precision} needs Transformer Engine layers (--spec te), found --spec local")
    _check_device(precision)
    if PRECISIONS[precision].fp8 and lacking:
        raise InputError(f"--precision {precision} needs Transformer Engine layers, found {lacking}")
    if name == "local" or lacking:
        return "local"
    return "te"


def check_devices(devices: int) -> None:
    """Refuse more processes than this machine has GPUs, if it has any.

    Raises:
        InputError: Naming both numbers.
    """
    if torch.cuda.is_available() and devices > (found := torch.cuda.device_count()):
        raise InputError(f"--devices: expected at most {found}, the GPUs of this machine, found {devices}")


def crowded(devices: int) -> str:
    """Say that processes share the cores of a machine without a GPU; empty where each has one of its own."""
    cores = len(os.sched_getaffinity(0))
    if torch.cuda.is_available() or devices <= cores:
        return ""
    return f"{devices} processes share {cores} CPU cores, and each holds a network; --devices says how many"


def _check_device(precision: str) -> None:
    wanted = PRECISIONS[precision]
    needs = (
        f"--precision {precision} needs a CUDA device of compute capability {'.'.join(map(str, wanted.capability))}"
    )
    if not torch.cuda.is_available():
        if wanted.fp8:
            raise InputError(f"{needs} or more, found no CUDA device")
        return
    found = torch.cuda.get_device_capability()
    if found < wanted.capability:
        raise InputError(f"{needs} or more, found {torch.cuda.get_device_name()} with {found[0]}.{found[1]}")


def _lacking_for_te() -> str:
    """Return what keeps Transformer Engine from running here; empty where nothing does."""
    if not torch.cuda.is_available():
        return "no CUDA device"
    # Importing it takes seconds, and fails where its CUDA libraries are not the machine's.
    if importlib.util.find_spec("transformer_engine") is None:
        return "no package transformer_engine (pip install 'bionemo-scale[te]')"
    return ""
