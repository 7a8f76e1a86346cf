# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which checkpoint of a run folder, what network it holds, and its weights under any layout."""

import dataclasses
import re
from pathlib import Path

import torch
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing.validation import StrictHandling
from megatron.core.tensor_parallel import get_cuda_rng_tracker, model_parallel_cuda_manual_seed
from torch.distributed.checkpoint.api import CheckpointException

from bionemo.scale.files.text import read_yaml
from bionemo.scale.megatron.kernels import LayerSpec
from bionemo.scale.megatron.roles import Role, names_of
from bionemo.scale.megatron.saved_weights import check_weights
from bionemo.scale.model.condition import POOLINGS
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.scale_model import ScaleModel
from bionemo.scale.types import DataCard, InputError


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint that a path names: itself, or the newest complete one of a run folder.

    Raises:
        InputError: If there is none, or the one that is named is incomplete.
    """
    if not path.exists():
        raise InputError(f"{path}: expected a run folder or a checkpoint, found nothing")
    if (path / "weights").is_dir():
        return _checked(path)
    newest = newest_whole(path / "checkpoints" if (path / "checkpoints").is_dir() else path)
    if newest is None:
        raise InputError(f"{path}: expected a run folder with checkpoints/, found no complete checkpoint")
    return _checked(newest)


def newest_whole(folder: Path) -> Path | None:
    """Return the checkpoint of the latest step in a folder that was written to its end, if there is one."""
    entries = folder.iterdir() if folder.is_dir() else ()
    whole = [entry for entry in entries if (entry / "weights").is_dir() and not _unfinished(entry)]
    return max(whole, key=lambda entry: (_step(entry), entry.name.endswith("-last")), default=None)


def steps_done(folder: Path) -> int:
    """Return how many steps of a run its newest whole checkpoint holds; 0 without one."""
    newest = newest_whole(folder)
    return 0 if newest is None else _step(newest) + 1


def _unfinished(path: Path) -> bool:
    return path.with_name(path.name + "-unfinished").exists()


def _step(path: Path) -> int:
    match = re.search(r"step=(\d+)", path.name)
    return int(match.group(1)) if match else -1


def _checked(path: Path) -> Path:
    if _unfinished(path):
        raise InputError(f"{path}: the checkpoint was not written to its end; use an earlier one")
    for name in ("context/io.json", "context/model.yaml", "weights/.metadata", "weights/metadata.json"):
        if not (path / name).is_file():
            raise InputError(f"{path}: not a whole checkpoint: expected the file {name}, found none")
    return path


def read_config(checkpoint: Path) -> tuple[ScaleModelConfig, DataCard]:
    """Return the network that a checkpoint holds, and what it was trained on.

    NeMo saves the configuration twice: as a graph of objects that it rebuilds, and as text. The text is enough here,
    names no code to run, and is read without NeMo, whose import takes longer than most predictions.

    Raises:
        InputError: If it cannot be read, or is of another kind of model.
    """
    path = checkpoint / "context" / "model.yaml"
    try:
        saved = read_yaml(path)
        fields, target = dict(saved["config"]), str(saved["config"]["_target_"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as the configuration of a model: {error!r}") from error
    if not fields.get("data_card"):
        raise InputError(f"{checkpoint}: expected a SCALE checkpoint, found {target.rpartition('.')[2]}")
    # Layout and precision of the training are not part of the network, nor are fields that earlier versions ignored.
    wanted = names_of(ScaleModelConfig) - names_of(ScaleModelConfig, Role.LAYOUT)
    # What is no plain value is a function, which follows from other fields.
    plain = {name: value for name, value in fields.items() if name in wanted and not isinstance(value, dict)}
    try:
        config = ScaleModelConfig(**plain, pipeline_dtype=torch.float32)
        if config.condition_pooling not in POOLINGS:
            raise ValueError(
                f"condition_pooling must be one of {', '.join(POOLINGS)}, found {config.condition_pooling!r}"
            )
        return config, DataCard.from_json(fields["data_card"])
    except (ValueError, TypeError, KeyError, AttributeError, AssertionError, ArithmeticError) as error:
        raise InputError(f"{path}: the fields of the network cannot be used: {error!r}") from error


def load_network(config: ScaleModelConfig, checkpoint: Path, *, layer_spec: LayerSpec = "local") -> ScaleModel:
    """Build the network that predicts on this process's part of the layout, with its weights in full precision.

    Where training kept a running average of the weights, that is the network: the weights it follows are not read.

    Args:
        config: From :func:`read_config`.
        checkpoint: Where the weights are.
        layer_spec: Whose layers.

    Raises:
        InputError: If the weights are damaged, of another architecture, or would run code when they are unpickled.
    """
    check_weights(checkpoint / "weights")
    layout = {
        "tensor_model_parallel_size": parallel_state.get_tensor_model_parallel_world_size(),
        "pipeline_model_parallel_size": parallel_state.get_pipeline_model_parallel_world_size(),
    }
    if not get_cuda_rng_tracker().is_initialized():
        model_parallel_cuda_manual_seed(config.seed)
    try:
        model = ScaleModel(
            dataclasses.replace(config, **layout, layer_spec=layer_spec),
            pre_process=parallel_state.is_pipeline_first_stage(),
            post_process=parallel_state.is_pipeline_last_stage(),
        )
    except (ValueError, TypeError, RuntimeError, AssertionError, ArithmeticError, IndexError) as error:
        # A damaged width passes the checks of single fields and fails where layers are put together.
        place = checkpoint / "context" / "model.yaml"
        raise InputError(f"{place}: no network can be built of these fields: {error!r}") from error
    described = model.sharded_state_dict("module.average." if config.ema_decay else "module.")
    # Transformer Engine's scales are not weights.
    tensors = {name: part for name, part in described.items() if "_extra_state" not in name}
    try:
        dist_checkpointing.load(tensors, str(checkpoint / "weights"), strict=StrictHandling.ASSUME_OK_UNEXPECTED)
    except (Exception, CheckpointException) as error:
        # What damaged files raise is not one type, and torch's own, which is not even an Exception, says below a
        # traceback what was met.
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = lines[-1] if isinstance(error, CheckpointException) else lines[0]
        raise InputError(f"{checkpoint}: the weights cannot be read: {reason}") from error
    return model
