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

_LEARNING = "how it learns"
_RECORDS = "checkpoints and logs"
_WEIGHT = "the weight of the network's means"
_TUNING = "fine-tuning"
_PROCESSES = "processes and precision"

FREEZABLE = {
    "encoder": ("gene_encoder", "set_fusion"),
    "conditions": ("condition_encoder",),
    "transport": ("transport_input", "transport_blocks", "head"),
    "decoder": ("expression_decoder",),
}
"""Parts of the network that fine-tuning can leave as they are, and the modules they are made of."""
BEFORE = {"sets": "batch", "share_controls": 1}
"""What runs did before there was an option for it."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
    """One training run."""

    store: Path = option(part="data")
    """Store that bionemo-scale-prepare wrote."""
    out: Path = option(part="experiment")
    """Run folder."""
    size: str | None = option("small", choices=SIZES, part="model")
    """Size of the network (with --from-checkpoint: the checkpoint's network)."""
    preset: str = option("default", choices=PRESETS, part="model")
    """Settings besides the size: those of the paper's equations (paper), or with this package's additions (default).
    Other options override a preset."""
    max_steps: int = option(500, limits=COUNT, part="training")
    """Optimizer steps."""
    seed: int = option(0, limits=SEED, part="training")
    """Seed of weights and of the order of sets."""
    set_size: int = option(32, limits=COUNT, part="data", group=_LEARNING)
    """Cells that the network processes together, as a set."""
    sets: SetKind = option("batch", part="data", group=_LEARNING)
    """Cells that share a set: those of one batch (batch), or of all batches of a perturbation, each matched with a
    control of its own batch (mixed). docs/model.md describes both."""
    micro_batch_size: int = option(8, limits=COUNT, part="data", group=_LEARNING)
    """Sets that one process computes at once; more where mixed sets are smaller."""
    accumulate: int = option(1, limits=COUNT, part="data", group=_LEARNING)
    """Micro-batches of an optimizer step."""
    lr: float = option(1e-3, limits=Limits(at_least=0), part="optim", group=_LEARNING)
    """Highest learning rate."""
    warmup_steps: int = option(50, limits=NOT_NEGATIVE, part="optim", group=_LEARNING)
    """Steps of linear warm-up to --lr, at most a tenth of the run."""
    weight_decay: float = option(0.01, limits=NOT_NEGATIVE, part="optim", group=_LEARNING)
    """Weight decay of AdamW."""
    val_interval: int = option(100, limits=COUNT, part="training", group=_RECORDS)
    """Steps between validations and checkpoints."""
    log_interval: int = option(10, limits=COUNT, part="experiment", group=_RECORDS)
    """Steps between rows of metrics.csv."""
    keep_best: int = option(1, limits=COUNT, part="experiment", group=_RECORDS)
    """Number of checkpoints to keep beside the last one, those with the lowest validation loss."""
    keep_last: int = option(0, limits=NOT_NEGATIVE, part="experiment", group=_RECORDS)
    """Keep this many of the newest checkpoints instead of the best ones; 0 keeps the best."""
    async_checkpoints: AsyncCheckpoints = option("auto", part="experiment", group=_RECORDS)
    """Continue training while a checkpoint is written: on, off, auto (on where there is a GPU)."""
    wandb: str = option("", metavar="PROJECT", part="experiment", group=_RECORDS)
    """Weights & Biases project to log to, beside metrics.csv and TensorBoard."""
    weighting: Weighting = option("tempered", part="data", group=_LEARNING)
    """How often a group of cells is drawn: in proportion to its number of cells (proportional) or to the square root
    of it (tempered), or equally often (uniform)."""
    control_share: float = option(0.4, limits=Limits(at_least=0, below=1), part="data", group=_LEARNING)
    """Share of the training sets whose targets are other controls instead of perturbed cells."""
    share_controls: int = option(1, limits=COUNT, metavar="K", part="data", group=_LEARNING)
    """Sets of one cell type and batch that start from the same control cells, which a step then computes once; 4 saves
    a third of the work in screens with many perturbations. Mixed sets always have their own controls."""
    folds: int | None = option(None, limits=Limits(at_least=2), metavar="K", part="training", group=_WEIGHT)
    """Measure the network's weight with K more networks, each trained without another of K parts of the training
    groups. By default it is measured on the validation groups or, if there are none, with one network trained
    without a third."""
    blind: bool = option(False, part="training", group=_WEIGHT)
    """Train without one of --folds (default: 3) parts of the training groups, and validate on that part. Batches are
    divided if all test conditions were trained in other batches, otherwise cell types, or perturbations if there are
    fewer than three cell types. Genes or drugs are divided if every test perturbation has one that was never
    trained."""
    fold: int = option(1, limits=NOT_NEGATIVE, metavar="I", part="training", group=_WEIGHT)
    """Which part --blind leaves out, counted from 0."""
    blind_share: float = option(0.5, limits=SHARE, part="training", group=_WEIGHT)
    """Steps of the networks that measure the weight, as a share of --max-steps; 0 trains none. The weight says how far
    predicted means follow the network instead of the classical estimate."""
    perturbation_features: Path | None = option(None, part="training")
    """File with one vector per perturbation (.csv, .tsv or .parquet; names in the first column)."""
    from_checkpoint: Path | None = option(None, metavar="RUN", part="training", group=_TUNING)
    """Fine-tune: start from the weights of this run, checkpoint or export. Genes and labels of the store are matched
    by name."""
    freeze: tuple[str, ...] = option((), form="commas", choices=FREEZABLE, part="training", group=_TUNING)
    """Parts of the network that keep the checkpoint's weights."""
    lora: int = option(0, limits=NOT_NEGATIVE, metavar="RANK", part="training", group=_TUNING)
    """Train low-rank adapters of this rank instead of the weights of the blocks; 0 trains the weights."""
    num_workers: int = option(0, limits=NOT_NEGATIVE, part="data", group=_PROCESSES)
    """Data loading processes beside each training process."""
    devices: int = option(1, limits=COUNT, part="parallel", group=_PROCESSES)
    """Processes on each machine."""
    num_nodes: int = option(1, limits=COUNT, part="parallel", group=_PROCESSES)
    """Machines."""
    tensor_parallel: int = option(1, limits=COUNT, part="parallel", group=_PROCESSES)
    """Processes that share every layer."""
    pipeline_parallel: int = option(1, limits=COUNT, part="parallel", group=_PROCESSES)
    """Processes that share the stack of blocks."""
    precision: PrecisionName = option("fp32", part="training", group=_PROCESSES)
    """Number format of weights and matrix products. bf16 is faster on CPUs with AVX512-BF16; fp8, fp8-current and
    mxfp8 need a GPU that has it."""
    spec: SpecName = option("auto", part="training", group=_PROCESSES)
    """Layers of the blocks: local (torch), te (Transformer Engine), or auto (te if it can run)."""
    overrides: dict[str, Any] = option({}, flag="--set", part="model", group=_LEARNING)
    """Set any field of ScaleModelConfig; may be repeated."""

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
