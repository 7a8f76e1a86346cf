# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which checkpoint of a run folder, what network it holds, and its weights under any layout."""

import re
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state
from torch.distributed.checkpoint.api import CheckpointException

from bionemo.scale.megatron.kernels import LayerSpec
from bionemo.scale.model.scale_model import ScaleModel
from bionemo.scale.types import InputError


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint that a path names: itself, or the newest complete one of a run folder.

    Raises:
        InputError: If there is none, or the one that is named is incomplete.
    """
    if not path.exists():
        raise InputError(f"{path}: expected a run folder or a checkpoint, found nothing")
    if (path / "weights").is_dir():
        return _checked(path)
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    complete = [entry for entry in folder.iterdir() if (entry / "weights").is_dir() and not _unfinished(entry)]
    if not complete:
        raise InputError(f"{path}: expected a run folder with checkpoints/, found no complete checkpoint")
    return _checked(max(complete, key=lambda entry: (_step(entry), entry.name.endswith("-last"))))


def _unfinished(path: Path) -> bool:
    return path.with_name(path.name + "-unfinished").exists()


def _step(path: Path) -> int:
    found = re.search(r"step=(\d+)", path.name)
    return int(found.group(1)) if found else -1


def _checked(path: Path) -> Path:
    if _unfinished(path):
        raise InputError(f"{path}: the checkpoint was not written to its end; use an earlier one")
    for name in ("context/io.json", "context/model.yaml", "weights/.metadata", "weights/metadata.json"):
        if not (path / name).is_file():
            raise InputError(f"{path}: not a whole checkpoint: expected the file {name}, found none")
    return path


def read_config(checkpoint: Path) -> Any:
    """Return the :class:`~bionemo.scale.train.config.ScaleConfig` that a checkpoint holds.

    Raises:
        InputError: If it cannot be read, or is of another kind of model.
    """
    # NeMo takes seconds to import; finding a checkpoint does not.
    from nemo.lightning import io

    try:
        config = io.load_context(checkpoint / "context", subpath="model.config")
    except Exception as error:
        raise InputError(f"{checkpoint}/context: cannot be read as a NeMo context: {error}") from error
    if not getattr(config, "data_card", ""):
        raise InputError(f"{checkpoint}: expected a SCALE checkpoint, found {type(config).__name__}")
    return config


def load_network(config: Any, checkpoint: Path, *, layer_spec: LayerSpec = "local") -> ScaleModel:
    """Build the network of a checkpoint on this process's part of the layout, in full precision, with its weights.

    Args:
        config: From :func:`read_config`; changed in place.
        checkpoint: Where the weights are.
        layer_spec: Whose layers.

    Raises:
        InputError: If the weights are damaged or of another architecture.
    """
    # The checkpoint holds the tables, and whatever it began from; both may have moved. Adapters are in the average.
    config.initial_ckpt_path, config.tables_file, config.start_from, config.lora = None, "", "", 0
    config.tensor_model_parallel_size = parallel_state.get_tensor_model_parallel_world_size()
    config.pipeline_model_parallel_size = parallel_state.get_pipeline_model_parallel_world_size()
    config.num_layers_in_first_pipeline_stage = config.num_layers_in_last_pipeline_stage = None
    config.layer_spec, config.fp8, config.bf16 = layer_spec, None, False
    config.params_dtype = config.pipeline_dtype = config.autocast_dtype = torch.float32
    model = config.configure_model()
    try:
        config.update_model_from_checkpoint(model, str(checkpoint))
    except (Exception, CheckpointException) as error:
        # What damaged files raise is not one type, and torch's own is not even an Exception; the first line says
        # what was met.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{checkpoint}: the weights cannot be read: {reason}") from error
    return model
