# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Rank sums of many perturbations with few cells each, compiled.

A few array operations for each perturbation take longer than the comparisons themselves when it has few cells. Here
one loop goes through all perturbations and genes. Zeros, most values of a screen, are looked up in the control once
for a gene. The sums are of whole and half numbers. They are exact, and so the same in any order, as long as they are
below 2^53. A term of the ties is, if at most 208,063 cells have one value; beyond, last digits may differ.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from jaxtyping import Float


MOST_CELLS = 64
"""Cells of a perturbation up to which sorting them by insertion is quick."""


def rank_sums(
    cells: Float[np.ndarray, "cells G"], members: Sequence[np.ndarray], control: Float[np.ndarray, "G controls"]
) -> tuple[Float[np.ndarray, "P G"], Float[np.ndarray, "P G"]]:
    """Compare perturbed cells with the control.

    Args:
        cells: Expression, float32.
        members: Rows of each perturbation, at most :data:`MOST_CELLS`.
        control: Expression, float32, ascending in each gene.

    Returns:
        U of the perturbed cells, and how much they add to the control's sum of t^3 - t over values that t cells have.
    """
    statistic, ties = (np.empty((len(members), cells.shape[1])) for _ in range(2))
    ends = np.cumsum([len(rows) for rows in members])
    _kernel()((cells, np.concatenate(members), ends), control, (statistic, ties))
    return statistic, ties


@cache
def _kernel() -> Callable[..., None]:
    """Return the loop over perturbations and genes, compiled. A decorator that checks types cannot be."""
    import numba

    others, place, compare = (numba.njit(inspect.unwrap(each)) for each in (_sort_others, _place, _compare))

    def loop(perturbed: tuple, control: np.ndarray, out: tuple) -> None:
        (cells, rows, ends), (statistic, ties) = perturbed, out
        (num_genes, size), values, start = control.shape, np.empty(MOST_CELLS, np.float32), 0
        zeros = [place(control[gene], np.float32(0), (0, size)) for gene in range(num_genes)]
        for target in range(len(ends)):
            members = rows[start : ends[target]]
            for gene in range(num_genes):
                num = others(cells[:, gene], members, values)
                below, not_above = zeros[gene]
                u, tied = compare(float(len(members) - num), below, not_above)
                index = 0
                while index < num:
                    last = index + 1
                    while last < num and values[last] == values[index]:
                        last += 1
                    part = (0, below) if values[index] < 0 else (not_above, size)
                    first, end = place(control[gene], values[index], part)
                    more = compare(float(last - index), first, end)
                    u += more[0]
                    tied += more[1]
                    index = last
                statistic[target, gene], ties[target, gene] = u, tied
            start = ends[target]

    return numba.njit(inspect.unwrap(loop))


def _sort_others(column: np.ndarray, rows: np.ndarray, out: np.ndarray) -> int:
    """Write the values of a gene in some cells that are not zero in ascending order; return how many there are."""
    num = 0
    for row in rows:
        value = column[row]
        if value != 0:
            place = num
            while place and out[place - 1] > value:
                out[place] = out[place - 1]
                place -= 1
            out[place] = value
            num += 1
    return num


def _place(control: np.ndarray, value: np.float32, part: tuple[int, int]) -> tuple[int, int]:
    """Return how many control values are below a value, and how many are at most as large.

    Args:
        control: Ascending.
        value: Of a perturbed cell.
        part: Where to look. Values before it are smaller, those from its end on are larger.
    """
    low, high = part
    while low < high:
        middle = (low + high) // 2
        if control[middle] < value:
            low = middle + 1
        else:
            high = middle
    first, high = low, part[1]
    if first == high or control[first] != value:
        return first, first
    while low < high:
        middle = (low + high) // 2
        if control[middle] == value:
            low = middle + 1
        else:
            high = middle
    return first, low


def _compare(count: float, low: int, high: int) -> tuple[float, float]:
    """Return what cells of one value add to U and to the ties.

    Args:
        count: Perturbed cells.
        low: Control cells below the value.
        high: Control cells of at most the value.
    """
    equal = float(high - low)
    both = count + equal
    return count * (low + 0.5 * equal), (both * both * both - both) - (equal * equal * equal - equal)
