# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The SCALE configuration as BioNeMo saves it in a checkpoint's context and rebuilds a model from it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron.core import parallel_state
from megatron.core.tensor_parallel import get_cuda_rng_tracker, model_parallel_cuda_manual_seed

from bionemo.llm.model.config import OVERRIDE_BIONEMO_CONFIG_DEFAULTS, MegatronBioNeMoTrainableModelConfig
from bionemo.llm.utils import iomixin_utils as iom
from bionemo.scale.megatron import roles
from bionemo.scale.megatron.roles import Role
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.weights import init_weights
from bionemo.scale.train.averaged import AveragedModel
from bionemo.scale.train.finetune.lora import add_adapters
from bionemo.scale.train.finetune.transfer import freeze, start_from_checkpoint
from bionemo.scale.train.loss import ScaleLoss
from bionemo.scale.train.tables import load_tables, set_decoder_bias
from bionemo.scale.types import DataCard


@dataclass
class ScaleConfig(
    ScaleModelConfig, MegatronBioNeMoTrainableModelConfig[AveragedModel, ScaleLoss], iom.IOMixinWithGettersSetters
):
    """Architecture, objective and data card of a SCALE model."""

    model_cls: type[AveragedModel] = AveragedModel
    loss_cls: type[ScaleLoss] = roles.layout(ScaleLoss)
    # BionemoLightningModule reads both.
    train_metric: Any = None
    valid_metric: Any = None
    data_card: str = roles.data("")
    """:class:`bionemo.scale.types.DataCard` as JSON: genes, labels and scale of the training data."""
    start_from: str = roles.layout("")
    """Checkpoint of another run whose weights a new network takes (:mod:`bionemo.scale.train.finetune.transfer`)."""
    frozen: str = roles.layout("")
    """Names in :data:`bionemo.scale.train.settings.FREEZABLE`, with commas between them."""
    lora: int = roles.layout(0)
    """Rank of the adapters on the blocks (:mod:`bionemo.scale.train.finetune.lora`); 0 trains the blocks
    themselves."""
    override_parent_fields: list[str] = field(default_factory=lambda: fields_of_the_run())

    def configure_model(self) -> AveragedModel:
        """Build this rank's stage of the network, from the initial checkpoint where one is named."""
        if not get_cuda_rng_tracker().is_initialized():
            # NeMo seeds Megatron's random states only when it counts a GPU.
            model_parallel_cuda_manual_seed(self.seed)
        if self.initial_ckpt_path:
            self.load_settings_from_checkpoint(self.initial_ckpt_path)
        model = self.model_cls(
            self,
            pre_process=parallel_state.is_pipeline_first_stage(),
            post_process=parallel_state.is_pipeline_last_stage(),
        )
        if self.initial_ckpt_path:
            self.update_model_from_checkpoint(model, self.initial_ckpt_path)
        else:
            init_weights(model, seed=self.seed)
            if self.tables_file and self.decoder_bias == "mean":
                set_decoder_bias(model, self.tables_file)
        if self.tables_file:
            # After a checkpoint too: labels and effects are those of this run's training data.
            load_tables(model, self.tables_file)
        model.update_average(step=0)
        if self.start_from:
            start_from_checkpoint(model, Path(self.start_from), DataCard.from_json(self.data_card))
        if self.lora:
            add_adapters(model, rank=self.lora, seed=self.seed)
        freeze(model, self.frozen.split(",") if self.frozen else ())
        return model

    def get_loss_reduction_class(self) -> type[ScaleLoss]:
        """Return the class that reduces the loss."""
        return self.loss_cls


def fields_of_the_run() -> list[str]:
    """Return what BioNeMo does not read from a checkpoint: layout and generation are the loading run's."""
    return [*OVERRIDE_BIONEMO_CONFIG_DEFAULTS, *sorted(roles.names_of(ScaleConfig, Role.GENERATION, Role.LAYOUT))]
