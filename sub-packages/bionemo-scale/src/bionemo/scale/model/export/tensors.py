# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The weights of a network as one safetensors file: names and numbers, nothing that could be run."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bionemo.scale.model.weights import copy_whole, whole_tensors
from bionemo.scale.types import InputError


def write_tensors(model: nn.Module, path: Path) -> None:
    """Write every tensor of a network that one process holds.

    Raises:
        OSError: It cannot be written.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in whole_tensors(model).items()}
    # safetensors makes its file readable for its owner alone.
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(tensors, path, metadata={"format": "pt"})
        path.chmod(mode)
    except SafetensorError as error:
        raise OSError(None, f"cannot be written: {error}", str(path)) from error


def read_tensors(model: nn.Module, path: Path) -> None:
    """Give a network its tensors; each process takes its part of the layout.

    Raises:
        InputError: The file is damaged, or of another architecture.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = set(file.keys())

            def read(name: str) -> Tensor:
                if name not in names:
                    raise ValueError(f"expected a tensor {name}, found none")
                return file.get_tensor(name)

            copy_whole(model, read)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: the weights cannot be read: {str(error).splitlines()[0]}") from error
