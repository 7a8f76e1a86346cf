# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Maximum mean discrepancy between two populations (paper, equation 16).

Distances come from inner products, so a pair of populations costs B x N x N numbers and never B x N x N x G.
"""

import math
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


Estimator = Literal["biased", "unbiased"]
BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Kernel widths as multiples of the median squared distance between the pooled cells of a set."""


class Comparison(NamedTuple):
    """How far cells are from measured ones."""

    mmd_squared: Float[Tensor, " B"]
    """Between the populations of each set."""
    squared_error: Float[Tensor, " B"]
    """Between cells at the same place, mean over cells and genes."""


def mmd_squared(
    a: Float[Tensor, "B N F"],
    b: Float[Tensor, "B M F"],
    *,
    bandwidths: tuple[float, ...] = BANDWIDTHS,
    estimator: Estimator = "biased",
    share: Float[Tensor, "B N"] | None = None,
) -> Float[Tensor, " B"]:
    """Return MMD^2 of each set, with the mean of Gaussian kernels ``exp(-|x - y|^2 / (multiple * median))``.

    Args:
        a: Cells of one population.
        b: Measured cells of the other; no gradient flows to them.
        bandwidths: Multiples of the median squared distance (the median heuristic; no gradient flows through it).
        estimator: "biased" keeps the pairs of a cell with itself and is never negative; "unbiased" drops them.
        share: Of each cell in its population, 0 of one that is not looked at; the same in both, which are then of one
            size. Without it all cells count alike.

    Returns:
        One number a set.
    """
    return compare(a, b, bandwidths=bandwidths, estimator=estimator, share=share).mmd_squared


def compare(
    a: Float[Tensor, "B N F"],
    b: Float[Tensor, "B M F"],
    *,
    bandwidths: tuple[float, ...] = BANDWIDTHS,
    estimator: Estimator = "biased",
    share: Float[Tensor, "B N"] | None = None,
) -> Comparison:
    """Return :func:`mmd_squared` and the squared error; one pair of matrix products is the gradient of both."""
    return Comparison(*_Compare.apply(a.float(), b.detach().float(), bandwidths, estimator, share))


def squared_distances(cells: Float[Tensor, "B N F"]) -> Float[Tensor, "B N N"]:
    """Return |x_i - x_j|^2 within each set, zero on the diagonal and never negative."""
    # Centred first: the inner products of far-away points would lose the digits that their difference needs.
    cells = cells - cells.mean(dim=1, keepdim=True)
    return _within(torch.bmm(cells, cells.transpose(1, 2)))


def _within(products: Float[Tensor, "B N N"]) -> Float[Tensor, "B N N"]:
    """Return squared distances between the cells whose inner products are given."""
    distances = _between(products, products, products)
    distances.diagonal(dim1=1, dim2=2).zero_()
    return distances


def _between(
    products: Float[Tensor, "B N M"], of_rows: Float[Tensor, "B N N"], of_columns: Float[Tensor, "B M M"]
) -> Float[Tensor, "B N M"]:
    """Return squared distances from the inner products of rows with columns, and of both among themselves."""
    rows, columns = (each.diagonal(dim1=1, dim2=2) for each in (of_rows, of_columns))
    return (rows[:, :, None] + columns[:, None, :]).sub_(products, alpha=2).clamp_min_(0)


class _Compare(torch.autograd.Function):
    """:class:`Comparison`, with a gradient to ``a`` that takes two matrix products.

    Both terms are functions of distances, and the gradient of ``|a_i - c_j|^2`` is ``2 (a_i - c_j)``: weights between
    cells times the cells. Written out, no array of cells is read or written more often than that needs.
    """

    @staticmethod
    def forward(
        ctx: Any,
        a: Tensor,
        b: Tensor,
        bandwidths: tuple[float, ...],
        estimator: Estimator,
        share: Tensor | None,
    ) -> tuple:
        shift = b.mean(dim=1, keepdim=True)
        a, b = a - shift, b - shift
        of_a, of_pairs, of_b = (torch.bmm(x, y.transpose(1, 2)) for x, y in ((a, a), (a, b), (b, b)))
        within_a, between, within_b = _within(of_a), _between(of_pairs, of_a, of_b), _within(of_b)
        median = _median(within_a, between, within_b, counts=None if share is None else share > 0)
        widths = [multiple * median[:, None, None] for multiple in bandwidths]
        (of_a, slope_a), (of_pairs, slope), (of_b, _) = (
            _kernel(distances, widths) for distances in (within_a, between, within_b)
        )
        if share is None:
            ctx.shares = _share_of_a_pair(a.shape[1], estimator), 1 / of_pairs[0].numel(), 1 / min(of_pairs.shape[1:])
            mmd = _mean_of_pairs(of_a, estimator) + _mean_of_pairs(of_b, estimator) - 2 * of_pairs.mean(dim=(1, 2))
            error = _squared_error(a, b)
        else:
            inner, across = _shares_of_pairs(share, estimator)
            ctx.shares = inner, across, share
            mmd = ((of_a + of_b) * inner - 2 * of_pairs * across).sum(dim=(1, 2))
            error = ((a - b).square().mean(dim=2) * share).sum(dim=1)
        ctx.save_for_backward(a, b, slope_a, slope)
        return mmd, error

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_mmd: Tensor, of_error: Tensor) -> tuple:
        a, b, slope_a, slope = ctx.saved_tensors
        inner, across, of_cell = ctx.shares
        # Each pair within a population counts twice, as (i, j) and as (j, i).
        within = slope_a * (4 * inner * of_mmd[:, None, None])
        between = slope * (-4 * across * of_mmd[:, None, None])
        same = between.diagonal(dim1=1, dim2=2)
        same.add_(2 / a.shape[2] * of_cell * of_error[:, None])
        own = torch.diag_embed(within.sum(2) + between.sum(2)) - within
        return torch.baddbmm(torch.bmm(own, a), between, b, alpha=-1), None, None, None, None


def _squared_error(a: Float[Tensor, "B N F"], b: Float[Tensor, "B M F"]) -> Float[Tensor, " B"]:
    # From differences, and not among the distances: those have lost its digits where cells nearly agree.
    size = min(a.shape[1], b.shape[1])
    return torch.linalg.vector_norm(a[:, :size] - b[:, :size], dim=(1, 2)).square() / (size * a.shape[2])


def _median(within_a: Tensor, between: Tensor, within_b: Tensor, *, counts: Tensor | None) -> Float[Tensor, " B"]:
    """Return the median over the different pairs of all cells of a set, or of those that count, [B, N] bool."""
    if counts is not None:
        left_out = ~(counts[:, :, None] & counts[:, None, :])
        within_a, between, within_b = (each.masked_fill(left_out, math.nan) for each in (within_a, between, within_b))
    halves = [
        distances[:, *torch.triu_indices(*distances.shape[1:], offset=1, device=distances.device)]
        for distances in (within_a, within_b)
    ]
    everything = torch.cat([*halves, between.flatten(1)], dim=1)
    median = everything.median(dim=1) if counts is None else everything.nanmedian(dim=1)
    return median.values.clamp_min(1e-12)


def _kernel(distances: Float[Tensor, "B N M"], widths: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the mean of the kernels and its slope over a distance."""
    values = [torch.exp(-distances / width) for width in widths]
    slope = sum(value / -width for value, width in zip(values, widths, strict=True))
    return sum(values) / len(widths), slope / len(widths)


def _share_of_a_pair(size: int, estimator: Estimator) -> float:
    pairs = size * size if estimator == "biased" else size * (size - 1)
    return 1 / pairs if pairs else math.nan


def _shares_of_pairs(share: Float[Tensor, "B N"], estimator: Estimator) -> tuple[Tensor, Tensor]:
    """Return the share of each pair of cells of one population, and of two."""
    across = share[:, :, None] * share[:, None, :]
    if estimator == "biased":
        return across, across
    inner = across - torch.diag_embed(across.diagonal(dim1=1, dim2=2))
    # A population of one cell has no pairs.
    return inner / inner.sum(dim=(1, 2), keepdim=True).clamp_min(1e-12), across


def _mean_of_pairs(kernel: Float[Tensor, "B N N"], estimator: Estimator) -> Float[Tensor, " B"]:
    total = kernel.sum(dim=(1, 2))
    if estimator == "unbiased":
        total = total - kernel.diagonal(dim1=1, dim2=2).sum(-1)
    return total * _share_of_a_pair(kernel.shape[1], estimator)
