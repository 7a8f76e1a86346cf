# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a saved network is: a checkpoint of a run folder, or an exported model; its weights under any layout."""

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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
from bionemo.scale.model.export.folder import (
    CONFIG_NAME,
    MEGATRON_NAME,
    TENSORS_NAME,
    check_export,
    is_export,
    read_card,
    read_network,
    weight_files,
)
from bionemo.scale.model.export.tensors import read_tensors
from bionemo.scale.model.scale_model import ScaleModel
from bionemo.scale.types import DataCard, InputError


MARK = "-unfinished"
"""What NeMo adds to the name of a checkpoint that it writes or removes."""


def find_checkpoint(path: Path) -> Path:
    """Return what a path names: an exported model, a checkpoint, or the newest complete one of a run folder.

    Raises:
        InputError: If there is none, or the one that is named is incomplete or damaged.
    """
    if not path.exists():
        raise InputError(f"{path}: expected a run folder, a checkpoint or an exported model, found nothing")
    if is_export(path):
        return check_export(path)
    if (path / "weights").is_dir():
        return _checked(path)
    newest = newest_whole(path / "checkpoints" if (path / "checkpoints").is_dir() else path)
    if newest is None:
        raise InputError(f"{path}: expected a run folder with checkpoints/, found no complete checkpoint")
    return _checked(newest)


def run_folder(checkpoint: Path) -> Path:
    """Return where the files lie that a run has beside its checkpoints: the run folder, or the export itself.

    Args:
        checkpoint: From :func:`find_checkpoint`.
    """
    return checkpoint if is_export(checkpoint) else checkpoint.parent.parent


def files_of_weights(checkpoint: Path) -> list[Path]:
    """Return the files that hold the weights of a saved network."""
    return weight_files(checkpoint) if is_export(checkpoint) else sorted((checkpoint / "weights").iterdir())


def check_pickles(checkpoint: Path) -> None:
    """Refuse a saved network whose weights would run code when they are loaded; safetensors cannot.

    Raises:
        InputError: Something in it is not what Megatron saves.
    """
    if (checkpoint / "weights").is_dir():
        check_weights(checkpoint / "weights")


def newest_whole(folder: Path) -> Path | None:
    """Return the checkpoint of the latest step in a folder that was written to its end, if there is one."""
    entries = folder.iterdir() if folder.is_dir() else ()
    # The mark first: another process removes what is unfinished, and then its mark.
    whole = [entry for entry in entries if not _unfinished(entry) and (entry / "weights").is_dir()]
    return newest_of(whole)


def newest_of(checkpoints: Iterable[Path]) -> Path | None:
    """Return the checkpoint of the latest step, the last one rather than the other of its step."""
    return max(checkpoints, key=lambda path: (step_of(path), is_last(path)), default=None)


def steps_done(folder: Path) -> int:
    """Return how many steps of a run its newest whole checkpoint holds; 0 without one."""
    newest = newest_whole(folder)
    return 0 if newest is None else step_of(newest) + 1


def is_last(checkpoint: Path) -> bool:
    """Return whether a checkpoint is the copy that every run keeps of its last step, beside the best or the newest."""
    return checkpoint.name.endswith("-last")


def mark_of(checkpoint: Path) -> Path:
    """Return the empty file that is beside a checkpoint while it is written or removed."""
    return checkpoint.with_name(checkpoint.name + MARK)


def _unfinished(path: Path) -> bool:
    return mark_of(path).exists()


def step_of(path: Path) -> int:
    """Return the step in a checkpoint's name, counted from 0; -1 where it has none."""
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
    """Return the network that was saved, and what it was trained on.

    Raises:
        InputError: If it cannot be read, or is of another kind of model.
    """
    if is_export(checkpoint):
        fields, card, path = read_network(checkpoint), read_card(checkpoint), checkpoint
    else:
        path = checkpoint / "context" / "model.yaml"
        fields, card = _read_context(path)
    try:
        config = ScaleModelConfig(**_of_the_network(fields), pipeline_dtype=torch.float32)
        if config.condition_pooling not in POOLINGS:
            raise ValueError(
                f"condition_pooling must be one of {', '.join(POOLINGS)}, found {config.condition_pooling!r}"
            )
        return config, DataCard.from_json(card)
    except (ValueError, TypeError, KeyError, AttributeError, AssertionError, ArithmeticError) as error:
        raise InputError(f"{path}: the fields of the network cannot be used: {error!r}") from error


def network_fields(config: ScaleModelConfig) -> dict[str, Any]:
    """Return the fields from which :func:`read_config` makes the network again, as JSON holds them."""
    fields = {name: getattr(config, name) for name in _SAVED if not callable(getattr(config, name))}
    return _of_the_network(fields)


_SAVED = names_of(ScaleModelConfig) - names_of(ScaleModelConfig, Role.LAYOUT)
"""Layout and precision of the training are not part of the network, nor are fields that earlier versions ignored."""


def _of_the_network(fields: dict[str, Any]) -> dict[str, Any]:
    # What is no plain value is a function, which follows from other fields.
    return {name: value for name, value in fields.items() if name in _SAVED and not isinstance(value, dict)}


def _read_context(path: Path) -> tuple[dict[str, Any], str]:
    """Return the fields of a checkpoint's network and its data card.

    NeMo saves the configuration twice: as a graph of objects that it rebuilds, and as text. The text is enough here,
    names no code to run, and is read without NeMo, whose import takes longer than most predictions.
    """
    saved = read_yaml(path)
    try:
        fields, target = dict(saved["config"]), str(saved["config"]["_target_"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as the configuration of a model: {error!r}") from error
    if not fields.get("data_card"):
        raise InputError(f"{path.parents[1]}: expected a SCALE checkpoint, found {target.rpartition('.')[2]}")
    return fields, fields["data_card"]


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
    check_pickles(checkpoint)
    model = _build(config, checkpoint, layer_spec)
    if is_export(checkpoint):
        if (checkpoint / TENSORS_NAME).is_file():
            read_tensors(model, checkpoint / TENSORS_NAME)
        else:
            _load_distributed(model, checkpoint, prefix="")
    else:
        _load_distributed(model, checkpoint, prefix="module.average." if config.ema_decay else "module.")
    return model


def _build(config: ScaleModelConfig, checkpoint: Path, layer_spec: LayerSpec) -> ScaleModel:
    layout = {
        "tensor_model_parallel_size": parallel_state.get_tensor_model_parallel_world_size(),
        "pipeline_model_parallel_size": parallel_state.get_pipeline_model_parallel_world_size(),
    }
    if not get_cuda_rng_tracker().is_initialized():
        model_parallel_cuda_manual_seed(config.seed)
    try:
        return ScaleModel(
            dataclasses.replace(config, **layout, layer_spec=layer_spec),
            pre_process=parallel_state.is_pipeline_first_stage(),
            post_process=parallel_state.is_pipeline_last_stage(),
        )
    except (ValueError, TypeError, RuntimeError, AssertionError, ArithmeticError, IndexError) as error:
        # A damaged width passes the checks of single fields and fails where layers are put together.
        place = checkpoint / (CONFIG_NAME if is_export(checkpoint) else "context/model.yaml")
        raise InputError(f"{place}: no network can be built of these fields: {error!r}") from error


def distributed_tensors(model: ScaleModel, *, prefix: str = "") -> dict[str, Any]:
    """Return every tensor of this process's part of a network, as Megatron saves it distributed."""
    described = model.sharded_state_dict(prefix)
    # Transformer Engine's scales are not weights.
    return {name: part for name, part in described.items() if "_extra_state" not in name}


def _load_distributed(model: ScaleModel, checkpoint: Path, *, prefix: str) -> None:
    tensors = distributed_tensors(model, prefix=prefix)
    try:
        dist_checkpointing.load(tensors, str(checkpoint / MEGATRON_NAME), strict=StrictHandling.ASSUME_OK_UNEXPECTED)
    except (Exception, CheckpointException) as error:
        # What damaged files raise is not one type, and torch's own, which is not even an Exception, says below a
        # traceback what was met.
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = lines[-1] if isinstance(error, CheckpointException) else lines[0]
        raise InputError(f"{checkpoint}: the weights cannot be read: {reason}") from error
