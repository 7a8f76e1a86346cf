# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Maximum mean discrepancy between two populations (paper, equation 16).

Distances come from inner products, so a pair of populations costs B x N x N numbers and never B x N x N x G.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Kernel widths as multiples of the median squared distance between the pooled cells of a set."""


def mmd_squared(
    a: Float[Tensor, "B N F"],
    b: Float[Tensor, "B M F"],
    *,
    bandwidths: tuple[float, ...] = BANDWIDTHS,
    estimator: Literal["biased", "unbiased"] = "biased",
) -> Float[Tensor, " B"]:
    """Return MMD^2 of each set, with the mean of Gaussian kernels ``exp(-|x - y|^2 / (multiple * median))``.

    Args:
        a: Cells of one population.
        b: Cells of the other.
        bandwidths: Multiples of the median squared distance (the median heuristic; no gradient flows through it).
        estimator: "biased" keeps the pairs of a cell with itself and is never negative; "unbiased" drops them.

    Returns:
        One number a set.
    """
    num_a = a.shape[1]
    cells = torch.cat([a, b], dim=1).float()
    distances = squared_distances(cells)
    kernel = _kernel(distances, bandwidths)
    within_a = _mean_of_pairs(kernel[:, :num_a, :num_a], estimator)
    within_b = _mean_of_pairs(kernel[:, num_a:, num_a:], estimator)
    return within_a + within_b - 2 * kernel[:, :num_a, num_a:].mean(dim=(1, 2))


def squared_distances(cells: Float[Tensor, "B N F"]) -> Float[Tensor, "B N N"]:
    """Return |x_i - x_j|^2 within each set, zero on the diagonal and never negative."""
    # Centred first: the inner products of far-away points would lose the digits that their difference needs.
    cells = cells - cells.mean(dim=1, keepdim=True)
    squares = cells.square().sum(-1)
    distances = squares[:, :, None] + squares[:, None, :] - 2 * torch.bmm(cells, cells.transpose(1, 2))
    diagonal = torch.eye(cells.shape[1], dtype=torch.bool, device=cells.device)
    return distances.clamp_min(0).masked_fill(diagonal, 0.0)


def _kernel(distances: Float[Tensor, "B N N"], bandwidths: tuple[float, ...]) -> Float[Tensor, "B N N"]:
    size = distances.shape[1]
    rows, columns = torch.triu_indices(size, size, offset=1, device=distances.device)
    median = distances.detach()[:, rows, columns].median(dim=1).values.clamp_min(1e-12)
    scaled = distances / median[:, None, None]
    return torch.stack([torch.exp(-scaled / multiple) for multiple in bandwidths]).mean(0)


def _mean_of_pairs(kernel: Float[Tensor, "B N N"], estimator: str) -> Float[Tensor, " B"]:
    size = kernel.shape[1]
    if estimator == "biased":
        return kernel.mean(dim=(1, 2))
    off_diagonal = kernel.sum(dim=(1, 2)) - kernel.diagonal(dim1=1, dim2=2).sum(-1)
    return off_diagonal / (size * (size - 1))
