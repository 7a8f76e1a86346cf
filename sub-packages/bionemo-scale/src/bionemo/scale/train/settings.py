# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a user decides about a run; everything else follows from it and from the store."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bionemo.scale.data.store.blind import A_THIRD, Fold
from bionemo.scale.model.size.sizes import SIZES
from bionemo.scale.options.fields import option
from bionemo.scale.options.limits import COUNT, NOT_NEGATIVE, SEED, SHARE, Limits
from bionemo.scale.options.settings import Settings
from bionemo.scale.train.presets import PRESETS
from bionemo.scale.types import InputError, SetKind


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


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
    """One training run."""

    store: Path = option(part="data")
    """Store that bionemo-scale-prepare wrote."""
    out: Path
    """Run folder."""
    size: str | None = option("small", choices=SIZES, part="model")
    """Size of the network (with --from-checkpoint: the checkpoint's network)."""
    preset: str = option("default", choices=PRESETS, part="model")
    """Settings besides the size: paper is the paper's equations as written, default what this package adds to them.
    Any other option goes before those of a preset."""
    max_steps: int = option(500, limits=COUNT)
    """Optimizer steps."""
    seed: int = option(0, limits=SEED)
    """Seed of weights and of the order of sets."""
    set_size: int = option(32, limits=COUNT, part="data")
    """Cells of a set."""
    sets: SetKind = option("batch", part="data")
    """Which cells share a set: those of one batch, or mixed, of all batches of a perturbation, each matched with a
    control of its own batch. Mixed sets are smaller where too few cells are left; fillers count in no loss."""
    micro_batch_size: int = option(8, limits=COUNT, part="data")
    """Sets that one process takes at once; as many more where mixed sets are smaller."""
    accumulate: int = option(1, limits=COUNT, part="data")
    """Micro-batches of an optimizer step."""
    lr: float = option(1e-3, limits=Limits(at_least=0), part="optim")
    """Highest learning rate."""
    warmup_steps: int = option(50, limits=NOT_NEGATIVE, part="optim")
    """Steps to reach it; at most a tenth of the run is used."""
    weight_decay: float = option(0.01, limits=NOT_NEGATIVE, part="optim")
    """Weight decay of AdamW."""
    val_interval: int = option(100, limits=COUNT)
    """Steps between validations and checkpoints."""
    log_interval: int = option(10, limits=COUNT)
    """Steps between rows of metrics.csv."""
    keep_best: int = option(1, limits=COUNT)
    """Checkpoints of the lowest validation loss that are kept beside the last one."""
    keep_last: int = option(0, limits=NOT_NEGATIVE)
    """Keep this many of the newest checkpoints instead of the best; 0 keeps the best."""
    async_checkpoints: AsyncCheckpoints = "auto"
    """Continue training while a checkpoint is written: on, off, auto (on where there is a GPU)."""
    wandb: str = option("", metavar="PROJECT")
    """Weights & Biases project to log to, beside metrics.csv and TensorBoard."""
    weighting: Weighting = option("tempered", part="data")
    """How often a group of cells is drawn."""
    control_share: float = option(0.4, limits=Limits(at_least=0, below=1), part="data")
    """Share of the training sets that go from controls to other controls of their context."""
    folds: int | None = option(None, limits=Limits(at_least=2), metavar="K")
    """Measure the network's weight by K more networks, each trained without one of K parts of the training groups
    (default: the validation groups measure it or, without any, one network trained without a third)."""
    blind: bool = False
    """Train without a part of the training groups, which then validate: one of --folds (default: 3) cell types, or
    perturbations where there are fewer than three cell types."""
    fold: int = option(1, limits=NOT_NEGATIVE, metavar="I")
    """Part that --blind leaves out, from 0."""
    blind_share: float = option(0.5, limits=SHARE)
    """Steps of the networks that measure the weight, as a share of --max-steps. The weight says how much of the
    network's mean is added to the classical estimate; 0 trains no such network."""
    perturbation_features: Path | None = None
    """One vector per perturbation: .csv, .tsv or .parquet, names first."""
    from_checkpoint: Path | None = option(None, metavar="RUN")
    """Fine-tune: start from the weights of this run, checkpoint or export; its network, with the store's genes and
    labels matched by name."""
    freeze: tuple[str, ...] = option((), form="commas", choices=FREEZABLE)
    """Parts of the network that keep the checkpoint's weights."""
    lora: int = option(0, limits=NOT_NEGATIVE, metavar="RANK")
    """Train the blocks by adapters of this rank instead of their own weights; 0 trains the weights."""
    num_workers: int = option(0, limits=NOT_NEGATIVE, part="data")
    """Data loading processes beside each training process."""
    devices: int = option(1, limits=COUNT)
    """Processes on each machine."""
    num_nodes: int = option(1, limits=COUNT)
    """Machines."""
    tensor_parallel: int = option(1, limits=COUNT)
    """Processes that share every layer."""
    pipeline_parallel: int = option(1, limits=COUNT)
    """Processes that share the stack of blocks."""
    precision: PrecisionName = "fp32"
    """How numbers are kept and multiplied; fp8, fp8-current and mxfp8 on GPUs that have it."""
    spec: SpecName = "auto"
    """Layers of the blocks: local (torch), te (Transformer Engine), auto (te where it runs)."""
    overrides: dict[str, Any] = option({}, flag="--set", part="model")
    """Any field of ScaleModelConfig; may be repeated."""

    @property
    def left_out(self) -> Fold | None:
        """Training groups that the network does not see."""
        return Fold(self.fold, self.folds or A_THIRD.of) if self.blind else None

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            InputError: Naming the options.
        """
        if self.left_out is not None and self.fold >= self.left_out.of:
            raise InputError(f"--fold: expected less than the {self.left_out.of} folds, found {self.fold}")
        self._check_start()
        self._check_records()
        model_parallel = self.tensor_parallel * self.pipeline_parallel
        if (self.devices * self.num_nodes) % model_parallel:
            raise InputError(
                f"--devices times --num-nodes must be a multiple of tensor times pipeline parallel = "
                f"{model_parallel}, "
                f"found {self.devices * self.num_nodes}"
            )

    def _check_start(self) -> None:
        if self.size is None and self.from_checkpoint is None:
            raise InputError("--size is required without --from-checkpoint")
        if self.freeze and self.from_checkpoint is None:
            raise InputError("--freeze keeps the weights of a checkpoint: expected --from-checkpoint too, found none")
        if self.lora and self.from_checkpoint is None:
            raise InputError("--lora adapts the weights of a checkpoint: expected --from-checkpoint too, found none")
        if self.lora % self.tensor_parallel:
            raise InputError(
                f"--lora must be a multiple of --tensor-parallel {self.tensor_parallel}, found {self.lora}"
            )
        if set(self.freeze) == set(FREEZABLE):
            raise InputError("--freeze: all parts are frozen, expected one to train")
        if "transport" in self.freeze and self.pipeline_parallel > 1:
            raise InputError(
                "--freeze transport: expected --pipeline-parallel 1, where no stage has frozen blocks alone and no "
                f"gradient, found {self.pipeline_parallel}"
            )

    def _check_records(self) -> None:
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
