# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Random numbers of dropout, as a function of the step."""

import zlib
from typing import Any

import lightning.pytorch as pl
from megatron.core import parallel_state
from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed


class DropoutSeed(pl.Callback):
    """Seeds the random states before every step, so that a run that was stopped drops what it would have dropped.

    NeMo's checkpoints hold no random states, and it seeds them once, the same for every run. Tensor parallel ranks
    share the state of what they all hold and have one each for what is split, as Megatron does it; pipeline stages
    differ.
    """

    def __init__(self, seed: int):
        super().__init__()
        self._seed = seed

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """Seed the step that begins."""
        stage = parallel_state.get_pipeline_model_parallel_rank()
        model_parallel_cuda_manual_seed(zlib.crc32(f"{self._seed}:{trainer.global_step}:{stage}".encode()))
