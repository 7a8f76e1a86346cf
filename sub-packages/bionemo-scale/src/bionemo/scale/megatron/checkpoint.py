# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How the tensors of a network are described to Megatron's distributed checkpoints."""

from typing import Any

from megatron.core.dist_checkpointing.mapping import ShardedStateDict
from megatron.core.transformer.utils import make_sharded_tensors_for_checkpoint
from torch import nn


def sharded_tensors(
    module: nn.Module,
    *,
    prefix: str = "",
    sharded_offsets: tuple[Any, ...] = (),
    metadata: dict[str, Any] | None = None,
) -> ShardedStateDict:
    """Describe every tensor of a module: its name and place in the whole network, and what of it is held here.

    Megatron's own default stops at the first submodule that is not one of Megatron's: it takes everything below it for
    replicated. A tensor parallel slice would then be saved as if it were the whole tensor, and the first block of
    every pipeline stage under the same name. This walks on until it meets Megatron's modules.

    Args:
        module: Any module; its own tensors are replicated.
        prefix: Name of the module, with a dot at its end.
        sharded_offsets: What modules above have split.
        metadata: Passed on to Megatron's modules.
    """
    own: dict[str, Any] = {}
    module._save_to_state_dict(own, "", keep_vars=True)
    tensors = make_sharded_tensors_for_checkpoint(own, prefix, sharded_offsets=sharded_offsets)
    for name, child in module.named_children():
        describe = getattr(child, "sharded_state_dict", None)
        location: dict[str, Any] = dict(prefix=f"{prefix}{name}.", sharded_offsets=sharded_offsets, metadata=metadata)
        tensors.update(describe(**location) if describe is not None else sharded_tensors(child, **location))
    return tensors
