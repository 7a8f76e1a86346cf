# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From a predicted mean and real control cells to a population that could have been measured.

A network that is trained on randomly paired cells knows the mean of a population better than its cells. So cells are
taken from the controls, moved until their mean is the predicted one, and given back the zeros that counting makes.
Baselines that predict a mean change go the same way, so that a comparison with them is one of the means.
"""

import torch
from jaxtyping import Float
from torch import Tensor


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


def with_counted_zeros(
    cells: Float[Tensor, "B N G"], *, measured: Float[Tensor, "B N G"], offset: Float[Tensor, "B G"]
) -> Float[Tensor, "B N G"]:
    """Replace values that no count can have by zero or by one count, keeping the mean of each gene in a set.

    The smallest positive value of a measured cell is what one count is worth in it. A value below that becomes one
    count with probability value / count, else zero; the draws of a gene are spread evenly over the cells of a set
    (systematic sampling), so that the gene's sum over the set is off by less than one count. Rank tests see zeros as
    ties: without this, adding 0.001 to every cell makes any gene significant.

    Args:
        cells: Predicted log1p expression, not negative.
        measured: The control cells they were made of.
        offset: Uniform(0, 1), where the systematic sample of each gene of each set begins.
    """
    one_count = measured.masked_fill(measured <= 0, torch.inf).amin(dim=-1, keepdim=True)
    # A cell without any count does not say what one is worth; no value is below that of zero.
    one_count = one_count.masked_fill(one_count.isinf(), 0.0)
    below = cells < one_count
    total = torch.where(below, cells / one_count, 0.0)
    total[:, 0] += offset
    reached = total.cumsum_(dim=1).floor_()
    counted = reached.diff(dim=1, prepend=torch.zeros_like(reached[:, :1]))
    return torch.where(below, one_count * counted, cells)
