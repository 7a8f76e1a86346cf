# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a user decides about a run; everything else follows from it and from the store."""

import importlib.util
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from bionemo.scale.types import InputError


Weighting = Literal["proportional", "uniform", "tempered"]
PrecisionName = Literal["fp32", "bf16", "fp8", "fp8-current", "mxfp8"]
AsyncCheckpoints = Literal["auto", "on", "off"]
SpecName = Literal["auto", "local", "te"]

FREEZABLE = {
    "encoder": ("gene_encoder", "set_fusion"),
    "conditions": ("condition_encoder",),
    "transport": ("transport_input", "transport_blocks", "head"),
    "decoder": ("expression_decoder",),
}
"""Parts of the network that fine-tuning can leave as they are, and the modules they are made of."""

_COUNTS = (
    "max_steps",
    "set_size",
    "micro_batch_size",
    "accumulate",
    "val_interval",
    "log_interval",
    "keep_best",
    "devices",
    "num_nodes",
    "tensor_parallel",
    "pipeline_parallel",
)


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """One training run."""

    store: Path
    """Store that bionemo-scale-prepare wrote."""
    out: Path
    """Run folder."""
    size: str | None = "small"
    """A name in bionemo.scale.model.sizes; ``None`` is the network of ``from_checkpoint``."""
    max_steps: int = 500
    """Optimizer steps."""
    seed: int = 0
    """Seed of weights and of the order of sets."""
    set_size: int = 32
    """Cells of a set, N."""
    micro_batch_size: int = 8
    """Sets that one process takes at once, B."""
    accumulate: int = 1
    """Micro-batches of an optimizer step."""
    lr: float = 1e-3
    """Highest learning rate."""
    warmup_steps: int = 50
    """Steps to reach it; at most a tenth of the run is used."""
    weight_decay: float = 0.01
    """AdamW's weight decay."""
    val_interval: int = 100
    """Steps between validations and checkpoints."""
    log_interval: int = 10
    """Steps between rows of metrics.csv."""
    keep_best: int = 1
    """Checkpoints of the lowest validation loss that are kept beside the last one."""
    keep_last: int = 0
    """Keep so many of the newest checkpoints instead of the best; 0 keeps the best."""
    async_checkpoints: AsyncCheckpoints = "auto"
    """Whether training goes on while a checkpoint is written: on, off, or on where there is a GPU (auto)."""
    wandb: str = ""
    """Weights & Biases project to log to, beside metrics.csv and TensorBoard; empty logs to none."""
    weighting: Weighting = "tempered"
    """How often a group of cells is drawn."""
    control_share: float = 0.4
    """Share of the training sets that go from controls to other controls of their context."""
    perturbation_features: Path | None = None
    """One vector per perturbation (.csv, .tsv, .parquet); see :func:`bionemo.scale.data.labels.agents.read_features`."""
    from_checkpoint: Path | None = None
    """Run folder or checkpoint of another run to start from; see bionemo.scale.train.finetune.start."""
    freeze: tuple[str, ...] = ()
    """Parts of the network that keep the checkpoint's weights: names in :data:`FREEZABLE`."""
    lora: int = 0
    """Train the blocks by adapters of this rank instead of their own weights; 0 trains the weights."""
    num_workers: int = 0
    """Data loading processes beside each training process."""
    devices: int = 1
    """Processes on this machine."""
    num_nodes: int = 1
    """Machines."""
    tensor_parallel: int = 1
    """Processes that share every layer."""
    pipeline_parallel: int = 1
    """Processes that share the stack of blocks."""
    precision: PrecisionName = "fp32"
    """How numbers are kept and multiplied; see bionemo.scale.megatron.kernels."""
    spec: SpecName = "auto"
    """Layers of the blocks: torch's (local), Transformer Engine's (te), or the latter where they run (auto)."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Model configuration fields by name."""

    def __post_init__(self):
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} must be at least 1, found {getattr(self, name)}")
        if not 0 <= self.control_share < 1:
            raise InputError(f"--control-share must be at least 0 and below 1, found {self.control_share}")
        for name, choices in (
            ("weighting", Weighting),
            ("precision", PrecisionName),
            ("spec", SpecName),
            ("async_checkpoints", AsyncCheckpoints),
        ):
            if getattr(self, name) not in get_args(choices):
                raise InputError(
                    f"--{name} must be one of {', '.join(get_args(choices))}, found {getattr(self, name)!r}"
                )
        self._check_start()
        self._check_records()
        model_parallel = self.tensor_parallel * self.pipeline_parallel
        if (self.devices * self.num_nodes) % model_parallel:
            raise InputError(
                f"--devices times --num-nodes must be a multiple of tensor times pipeline parallel = {model_parallel}, "
                f"found {self.devices * self.num_nodes}"
            )

    def _check_start(self) -> None:
        if self.size is None and self.from_checkpoint is None:
            raise InputError("--size is required without --from-checkpoint")
        if self.freeze and self.from_checkpoint is None:
            raise InputError("--freeze keeps the weights of a checkpoint: expected --from-checkpoint too, found none")
        if self.lora < 0:
            raise InputError(f"--lora must be at least 0, found {self.lora}")
        if self.lora and self.from_checkpoint is None:
            raise InputError("--lora adapts the weights of a checkpoint: expected --from-checkpoint too, found none")
        if self.lora % self.tensor_parallel:
            raise InputError(
                f"--lora must be a multiple of --tensor-parallel {self.tensor_parallel}, found {self.lora}"
            )
        for name in self.freeze:
            if name not in FREEZABLE:
                raise InputError(f"--freeze: expected some of {', '.join(FREEZABLE)}, found {name!r}")
        if set(self.freeze) == set(FREEZABLE):
            raise InputError("--freeze: all parts are frozen, expected one to train")
        if "transport" in self.freeze and self.pipeline_parallel > 1:
            raise InputError(
                "--freeze transport: expected --pipeline-parallel 1, where no stage has frozen blocks alone and no "
                f"gradient, found {self.pipeline_parallel}"
            )

    def _check_records(self) -> None:
        if self.keep_last < 0:
            raise InputError(f"--keep-last must be at least 0, found {self.keep_last}")
        if self.keep_last and self.keep_best != 1:
            raise InputError(f"--keep-best {self.keep_best}, --keep-last {self.keep_last}: expected one of the two")
        if self.wandb and importlib.util.find_spec("wandb") is None:
            raise InputError("--wandb: expected the package wandb, found none; pip install wandb")
        if self.wandb and self.pipeline_parallel > 1:
            raise InputError(
                "--wandb: expected --pipeline-parallel 1, where the first process knows the losses, found "
                f"{self.pipeline_parallel}"
            )

    @property
    def data_parallel(self) -> int:
        """Copies of the model."""
        return self.devices * self.num_nodes // (self.tensor_parallel * self.pipeline_parallel)

    @property
    def global_batch_size(self) -> int:
        """Sets of one optimizer step, over all processes."""
        return self.micro_batch_size * self.accumulate * self.data_parallel

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for config.yaml."""
        return json.loads(json.dumps(asdict(self), default=str))
