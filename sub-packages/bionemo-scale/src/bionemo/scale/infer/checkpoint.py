# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From a run folder or checkpoint to a model that predicts."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.api import CheckpointException

from bionemo.scale.model.scale_model import ScaleModel
from bionemo.scale.types import DataCard, InputError


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A trained network, what it was trained on and where it came from."""

    model: ScaleModel
    card: DataCard
    path: Path


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


def load_model(path: Path, **run_fields: Any) -> LoadedModel:
    """Rebuild the network of a checkpoint on this process's part of the model parallel layout.

    Args:
        path: Run folder or checkpoint.
        run_fields: Configuration fields that are the caller's to choose: generation, num_generation_steps,
            num_generation_samples, solver; ``None`` leaves one as trained.

    Raises:
        InputError: If the checkpoint is missing, incomplete, damaged or of another architecture, or has no noise to
            draw several times.
    """
    checkpoint = find_checkpoint(path)
    config = _load_config(checkpoint)
    for name, value in run_fields.items():
        if value is not None:
            setattr(config, name, value)
    if config.num_generation_samples > 1 and config.prior == "control":
        raise InputError(
            f"{checkpoint}: several samples need a stochastic prior, found prior='control', which gives the same each time"
        )
    config.initial_ckpt_path = None
    # The checkpoint holds the tables; the run folder may have moved.
    config.tables_file = ""
    _set_layout(config)
    model = config.configure_model()
    try:
        config.update_model_from_checkpoint(model, str(checkpoint))
    except (Exception, CheckpointException) as error:
        # What damaged files raise is not one type, and torch's own is not even an Exception; the first line says
        # what was met.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{checkpoint}: the weights cannot be read: {reason}") from error
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    return LoadedModel(
        model=model.predictor.to(device).eval(), card=DataCard.from_json(config.data_card), path=checkpoint
    )


def _load_config(checkpoint: Path) -> Any:
    from nemo.lightning import io

    try:
        config = io.load_context(checkpoint / "context", subpath="model.config")
    except Exception as error:
        raise InputError(f"{checkpoint}/context: cannot be read as a NeMo context: {error}") from error
    if not getattr(config, "data_card", ""):
        raise InputError(f"{checkpoint}: expected a SCALE checkpoint, found {type(config).__name__}")
    return config


def _set_layout(config: Any) -> None:
    """Choose what belongs to a run and not to a network: the layout of this run, torch's layers, full precision."""
    config.tensor_model_parallel_size = _world("tensor")
    config.pipeline_model_parallel_size = _world("pipeline")
    config.num_layers_in_first_pipeline_stage = config.num_layers_in_last_pipeline_stage = None
    config.layer_spec, config.fp8, config.bf16 = "local", None, False
    config.params_dtype = config.pipeline_dtype = config.autocast_dtype = torch.float32


def _world(kind: str) -> int:
    from megatron.core import parallel_state

    sizes = {
        "tensor": parallel_state.get_tensor_model_parallel_world_size,
        "pipeline": parallel_state.get_pipeline_model_parallel_world_size,
    }
    return sizes[kind]()
