# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How a loss leaves a pipeline stage: Megatron's and NeMo's contract for it."""

from collections.abc import Sequence

import torch
from megatron.core import parallel_state
from nemo.lightning.megatron_parallel import MegatronLossReduction
from torch import Tensor

from bionemo.scale.train.objective import stack_terms
from bionemo.scale.types import CellBatch


class ScaleLoss(MegatronLossReduction):
    """Hands the loss to the schedule and its terms, averaged over data parallel ranks, to whoever logs them."""

    def __init__(self, validation_step: bool = False):
        super().__init__()
        self.validation_step = validation_step

    def forward(self, batch: CellBatch, forward_out: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (loss, {"avg": loss, "terms": all terms}) of one micro-batch."""
        terms = stack_terms(forward_out)
        size = parallel_state.get_data_parallel_world_size()
        if size > 1:
            torch.distributed.all_reduce(terms, group=parallel_state.get_data_parallel_group())
            terms = terms / size
        # The schedule divides the loss in place after this returns: what is logged must not share its memory.
        return forward_out["loss"], {"avg": terms[0].clone(), "terms": terms}

    def reduce(self, losses_reduced_per_micro_batch: Sequence[dict[str, Tensor]]) -> Tensor:
        """Average the loss over micro-batches."""
        return torch.stack([entry["avg"] for entry in losses_reduced_per_micro_batch]).mean()
