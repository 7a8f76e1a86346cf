# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import itertools

import torch

from bionemo.scale.flow.coupling import optimal_pairs


def test_no_other_order_costs_less():
    generator = torch.Generator().manual_seed(0)
    start, target = (torch.randn(3, 5, 7, generator=generator) for _ in range(2))
    for order, starts, targets in zip(optimal_pairs(start, target), start, target, strict=True):
        costs = {p: float((starts[list(p)] - targets).square().sum()) for p in itertools.permutations(range(5))}
        assert tuple(order.tolist()) == min(costs, key=costs.__getitem__)


def test_a_shuffled_copy_is_put_back():
    target = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(0))
    shuffle = torch.tensor([4, 2, 0, 5, 1, 3])
    order = optimal_pairs(target[:, shuffle], target)[0]
    assert torch.equal(target[:, shuffle][:, order], target)


def test_cells_of_two_kinds_are_never_paired():
    generator = torch.Generator().manual_seed(0)
    start, target = torch.randn(3, 12, 4, generator=generator), torch.randn(3, 12, 4, generator=generator)
    kinds = torch.randint(3, (3, 12), generator=generator)
    order = optimal_pairs(start, target, kinds=kinds)
    assert torch.equal(kinds.gather(1, order), kinds)
    # Within a kind it is the best order, as if the others were not there.
    for number in range(3):
        for kind in range(3):
            own = torch.nonzero(kinds[number] == kind)[:, 0]
            (alone,) = optimal_pairs(start[number, own][None], target[number, own][None])
            assert torch.equal(own[alone], order[number, own])
