# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The same cells at the start of the path, asked for under one condition after another.

A condition is added to every cell before the first transport block. The norm of this block takes away the mean of each
sum and divides by its standard deviation; the map after it is linear. So the map of the cells and the map of the
condition can be added, and only the standard deviation needs both: ``W norm(u + c) = (W u' + W c') / sd(u' + c')``,
where u' and c' are u and c less their means. The map of the cells is made once: a fifth of a question's products.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from bionemo.scale.model.layer_specs import TransportLayer
from bionemo.scale.model.transport import TransportBlocks


@dataclass(frozen=True, kw_only=True)
class AskedCells:
    """Sets of cells at the start of the path, as far as they go before a condition is named."""

    start: Float[Tensor, "B N D"]
    """Where the path starts."""
    rows: Float[Tensor, "S B D"]
    """What enters the first block, before the condition is added: N cells, and a row of zeros that becomes the
    condition token."""
    mapped: Float[Tensor, "S B M"]
    """What the first block maps the rows to, each less its mean, before they are divided by a deviation."""
    blocks: TransportBlocks
    merged: tuple[tuple[Float[Tensor, "M D"], Float[Tensor, " M"]], ...]
    """Of each block, :meth:`bionemo.scale.model.layer_specs.TransportLayer.merged`."""

    def take(self, sets: Int64[Tensor, " P"], start: Float[Tensor, "P N D"]) -> "AskedCells":
        """Return some of the sets, which start there, each as often as it is named."""
        return replace(self, start=start, rows=self.rows[:, sets], mapped=self.mapped[:, sets])

    def ask(self, condition: Float[Tensor, "B D"]) -> Float[Tensor, "S B D"]:
        """Return what the blocks make of the cells under a condition, and of its token."""
        first, *others = self.blocks.blocks.layers
        joint = first.finish(self.rows + condition, self._map(condition, first.input_layernorm.eps))
        for layer, merged in zip(others, self.merged[1:], strict=True):
            joint = layer.finish_merged(joint, merged)
        norm = self.blocks.blocks.final_layernorm
        return joint if norm is None else norm(joint)

    def _map(self, condition: Float[Tensor, "B D"], eps: float) -> Float[Tensor, "S B M"]:
        weight, bias = self.merged[0]
        centred = _centred(condition)
        square = _centred(self.rows).add_(centred).square_().mean(dim=-1, keepdim=True)
        return torch.addcmul(bias, self.mapped + centred @ weight.T, square.add_(eps).rsqrt_())


def asked_cells(
    blocks: TransportBlocks, start: Float[Tensor, "B N D"], entering: Float[Tensor, "B N D"]
) -> AskedCells | None:
    """Prepare cells for questions; ``None`` where a block cannot be taken apart so.

    Args:
        blocks: All transport blocks.
        start: Where the path starts.
        entering: What enters the first block there, before the condition is added.
    """
    layers = list(blocks.blocks.layers)
    if not all(isinstance(layer, TransportLayer) and layer.is_merged(entering) for layer in layers):
        return None
    rows = nn.functional.pad(entering.transpose(0, 1), (0, 0, 0, 0, 0, 1))
    merged = tuple(layer.merged() for layer in layers)
    mapped = _centred(rows) @ merged[0][0].T
    return AskedCells(start=start, rows=rows, mapped=mapped, blocks=blocks, merged=merged)


def _centred(x: Float[Tensor, "*axes D"]) -> Float[Tensor, "*axes D"]:
    return x - x.mean(dim=-1, keepdim=True)
