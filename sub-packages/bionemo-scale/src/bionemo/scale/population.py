# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From a predicted mean and real control cells to a population that could have been measured.

A network that is trained on randomly paired cells knows the mean of a population better than its cells. So cells are
taken from the controls, moved until their mean is the predicted one, and given back the zeros that counting makes.
Baselines that predict a mean change go the same way, so that a comparison with them is one of the means.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix
from torch import Tensor


_SILENT_MEAN = 5e-4
"""A gene with a smaller mean need not be expressed in any cell of a population."""
_MOST_COUNTS = 4
"""Most counts that the smallest value of a cell is taken for."""
_WHOLE, _LARGEST_RATIO = 0.05, 64
"""How near a ratio of two values must be to a whole number; larger ratios are not exact enough to tell."""
ENOUGH_CONTROLS = 50
"""Fewer cells have a mean whose sampling error is as large as many effects."""
_MOST_NAMED = 5


def with_mean(cells: Float[Tensor, "B N G"], mean: Float[Tensor, "B G"]) -> Float[Tensor, "B N G"]:
    """Move the cells of each set so that their mean is the given one, none below zero.

    Every gene is shifted; where the shift takes a gene of some cells below zero, the others give way in proportion.

    Args:
        cells: log1p expression, possibly negative.
        mean: What it should be on average over a set; below zero counts as zero.
    """
    mean = mean.clamp_min(0.0)
    shifted = (cells + (mean - cells.mean(dim=1))[:, None, :]).clamp_min_(0.0)
    # Clipping has only added: the factor is at most 1.
    factor = mean / shifted.mean(dim=1).clamp_min(torch.finfo(cells.dtype).tiny)
    return shifted.mul_(factor.clamp_max(1.0)[:, None, :])


def one_count(measured: Float[Tensor, "*cells G"]) -> Float[Tensor, " *cells"]:
    """Return what one count is worth in each measured cell, as log1p expression.

    Before the logarithm the values of a cell are whole multiples of that. The smallest is one count, unless none of
    the cell's genes has a single count: the values are then multiples of a half, a third or a quarter of the smallest.

    Args:
        measured: log1p expression of cells whose fits were scaled to a library size.

    Returns:
        0 for a cell without any count, which does not say what one is worth. The smallest value of a cell that holds
        no scaled fits.
    """
    linear = torch.expm1(measured)
    smallest = linear.masked_fill(linear <= 0, torch.inf).amin(dim=-1)
    divisor, known = torch.ones_like(smallest), smallest.isinf()
    for parts in range(1, _MOST_COUNTS + 1):
        if known.all():
            break
        ratio = linear[~known] * parts / smallest[~known][:, None]
        is_whole = ((ratio - ratio.round()).abs() < _WHOLE) | (ratio > _LARGEST_RATIO)
        fits = torch.zeros_like(known).masked_scatter(~known, is_whole.all(dim=-1))
        divisor = divisor.masked_fill(fits, parts)
        known = known | fits
    return torch.log1p((smallest / divisor).masked_fill(smallest.isinf(), 0.0))


def one_count_of_sparse(measured: csr_matrix) -> Float[Tensor, " cells"]:
    """Return what :func:`one_count` does, by the values that are not zero."""
    sizes = np.diff(measured.indptr)
    values = np.zeros((len(sizes), max(1, int(sizes.max(initial=0)))), dtype=measured.dtype)
    row = np.repeat(np.arange(len(sizes)), sizes)
    values[row, np.arange(measured.nnz) - measured.indptr[row]] = measured.data
    return one_count(torch.from_numpy(values))


def with_counted_zeros(
    cells: Float[Tensor, "B N G"], *, one_count: Float[Tensor, "B N"], offset: Float[Tensor, "B G"]
) -> Float[Tensor, "B N G"]:
    """Give populations the zeros that counting makes, and keep the mean of each gene.

    A value below one count becomes one count with probability value / count, else zero; the draws of a gene are spread
    evenly over the cells of a population (systematic sampling). Rank tests see zeros as ties: without this, adding
    0.001 to every cell makes any gene significant.

    Then the mean of each gene is made what it was; zeros stay zeros. What the draw took is added to all values that
    are not zero, in proportion. What it added is taken from what lies above one count. Where nothing does, or the
    whole sum of a gene is less than one count, one cell gets a value below one count: the mean could not be exact
    without.

    Args:
        cells: Predicted log1p expression, not negative.
        one_count: What one count is worth in each cell (:func:`one_count`).
        offset: Uniform(0, 1), where the systematic sample of each gene of each population begins.

    Returns:
        log1p expression, not negative. Means are those of ``cells``, but for genes with a mean below 0.0005, which may
        become silent.
    """
    wanted, threshold = cells.sum(dim=1), one_count[..., None]
    counted = _counted(cells, threshold, offset, wanted=wanted)
    excess = (counted - threshold).clamp_min_(0.0)
    surplus, room = counted.sum(dim=1) - wanted, excess.sum(dim=1)
    share = torch.where(room > 0, surplus / room, 0.0).clamp_(0.0, 1.0)
    counted.addcmul_(excess, share[:, None], value=-1.0)
    _lower_one(counted, surplus - room)
    total = counted.sum(dim=1)
    return counted.mul_(torch.where(total > 0, wanted / total, 1.0)[:, None])


def _counted(
    cells: Float[Tensor, "B N G"],
    threshold: Float[Tensor, "B N 1"],
    offset: Float[Tensor, "B G"],
    *,
    wanted: Float[Tensor, "B G"],
) -> Float[Tensor, "B N G"]:
    """Draw the values below one count; a gene whose mean matters gets at least one value."""
    below = cells < threshold
    counts = torch.where(below, cells / threshold, 0.0).cumsum_(dim=1)
    reached = (counts + offset[:, None]).floor_()
    drawn = reached.diff(dim=1, prepend=torch.zeros_like(reached[:, :1])).mul_(threshold)
    counted = torch.where(below, drawn, cells)
    # Less than one count in all, and the draw missed it: offset / (1 - counts) is uniform there.
    is_lost = (wanted > _SILENT_MEAN * cells.shape[1]) & (counted.amax(dim=1) == 0)
    which, gene = is_lost.nonzero(as_tuple=True)
    counts = counts[which, :, gene]
    begin = counts[:, -1:] * (offset[which, gene] / (1 - counts[:, -1]))[:, None]
    holder = (counts <= begin).sum(dim=1).clamp_max_(cells.shape[1] - 1)
    counted[which, holder, gene] = wanted[which, gene]
    return counted


def _lower_one(counted: Float[Tensor, "B N G"], surplus: Float[Tensor, "B G"]) -> None:
    """Take what is too much of a gene from its largest value, in place."""
    which, gene = (surplus > 0).nonzero(as_tuple=True)
    largest, holder = counted[which, :, gene].max(dim=1)
    counted[which, holder, gene] -= torch.minimum(surplus[which, gene], largest)


def note_few_controls(counts: Mapping[tuple[str, str], int]) -> str | None:
    """Return a line that names groups with few control cells; ``None`` where all have enough.

    Args:
        counts: Control cells of each (cell type, batch) whose mean predictions are counted from.
    """
    few = sorted((count, group) for group, count in counts.items() if count < ENOUGH_CONTROLS)
    if not few:
        return None
    named = ", ".join(f"{' / '.join(dict.fromkeys(group))} ({count})" for count, group in few[:_MOST_NAMED])
    rest = f" and {len(few) - _MOST_NAMED} more" if len(few) > _MOST_NAMED else ""
    return (
        f"control means of fewer than {ENOUGH_CONTROLS} cells in {len(few)} of {len(counts)} groups (cell type / "
        "batch): "
        f"{named}{rest}; these means are noisy, and so are predictions from them"
    )
