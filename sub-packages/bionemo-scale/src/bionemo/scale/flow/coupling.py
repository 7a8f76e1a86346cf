# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which start belongs to which target within a set.

The paper pairs cells at random (section 3.1). Pairs of least total cost give straighter paths and an endpoint that
still depends on the cell.
"""

import torch
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def optimal_pairs(
    start: Float[Tensor, "B N F"], target: Float[Tensor, "B N F"], *, kinds: Int64[Tensor, "B N"] | None = None
) -> Int64[Tensor, "B N"]:
    """Return the order of the starts that makes ``sum_i |start[order[i]] - target[i]|^2`` of each set least.

    Between two sets of N cells of equal weight, optimal transport is an assignment, which scipy solves exactly
    (O(N^3): a millisecond for 64 cells, a tenth of a second for 512).

    Args:
        start: Starts.
        target: Targets.
        kinds: What the i-th start and the i-th target are alike in; only those of one kind are paired.
    """
    costs = torch.cdist(target.float(), start.float()).square()
    if kinds is not None:
        # No pairing within kinds costs as much as one pair of two kinds.
        forbidden = 1 + costs.amax(dim=(1, 2), keepdim=True) * costs.shape[1]
        costs = torch.where(kinds[:, :, None] == kinds[:, None, :], costs, forbidden)
    orders = [torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1]) for cost in costs.detach()]
    return torch.stack(orders).to(start.device)
