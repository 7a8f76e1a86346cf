# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Refuses files whose scale of expression is unknown, is not what they say, or differs."""

import numpy as np

from bionemo.scale.eval.cells.population_file import PopulationFile
from bionemo.scale.files.expression_scale import StatedScale, find_scale
from bionemo.scale.types import InputError


_TENTHS = (8.0, 12.5)
"""Ratios of mean expression that a division by 10 explains."""
_MOST_RATIO = 1.4
"""A logarithm to base 2 is 1.44 times the natural one. Perturbations hardly change the expression of all genes
together so much; what a model predicts may."""
_SAME_RATIO, _MOST_GENES = 1.5, 0.8
"""In a division every gene has one ratio: as good as all expressed genes are this near to the ratio of the means. A
model that predicts too little of everything has other ratios in other genes."""
_CELLS, _EXPRESSED, _ENOUGH_GENES = 2000, 0.05, 10
"""Cells that means of genes are taken over, from which mean on a gene counts as expressed, and how many such genes
tell."""


def check_scale(file: PopulationFile, *, is_measured: bool = True) -> None:
    """Refuse values of an unknown scale, or of another than is said of them.

    Args:
        file: The file.
        is_measured: Whether its cells were measured, so that their values show how they were scaled; predictions do
            not.

    Raises:
        InputError: Naming the option that says it, or what was found.
    """
    if file.target_sum is None:
        raise InputError(
            f"{file.path}: scale unknown: no card in uns['bionemo_scale'] says which library size its counts were "
            "scaled to before log1p; expected --target-sum, such as 10000"
        )
    if is_measured and file.evidence is not None:
        stated = StatedScale(
            # A file with a card was judged when its store was made.
            values=file.labels.values if file.card is None else "log1p",
            target_sum=file.target_sum,
            takes_counts=False,
            way_out="; give --target-sum {found} if all files have it",
        )
        find_scale(file.evidence, str(file.path), stated)


def check_same_scale(pred: PopulationFile, real: PopulationFile) -> None:
    """Refuse a prediction on another scale than the real cells.

    Raises:
        InputError: One of the scales is unknown or not what the values show, or they differ.
    """
    check_scale(pred, is_measured=False)
    check_scale(real)
    if pred.target_sum != real.target_sum:
        raise InputError(f"{_scale(pred)} is not that of {_scale(real)}")
    if pred.card is not None and real.card is not None and pred.card.scale.source != real.card.scale.source:
        raise InputError(f"{_scale(pred)} is not that of {_scale(real)}")


def check_magnitude(pred: PopulationFile, real: PopulationFile) -> tuple[str, ...]:
    """Refuse a division by 10, which no check of single values can see, and warn of other factors.

    Raises:
        InputError: The prediction is ten times, or a tenth of, the real cells in as good as every gene.
    """
    sums = [float(file.row_sums[~file.is_control].mean()) for file in (pred, real)]
    ratio = sums[0] / sums[1] if sums[1] > 0 else float("inf")
    line = f"mean expression is {ratio:.3g} times that of {real.path.name}"
    # Cells of this package are below what a cell can hold, which ten times log1p is not: too much is a bad prediction.
    is_far_above = pred.card is not None and ratio > 1
    is_tenth = _TENTHS[0] < max(ratio, 1 / ratio if ratio else 0.0) < _TENTHS[1]
    if is_tenth and not is_far_above and _has_one_ratio(pred, real, ratio):
        mend = "multiply" if ratio < 1 else "divide"
        raise InputError(
            f"{pred.path}: {line}, in nearly every gene alike: expected one scale, found what a division by 10 looks "
            f"like; {mend} its X by 10, or predict log1p values of the scale of {real.path.name}"
        )
    if 1 / _MOST_RATIO < ratio < _MOST_RATIO:
        return ()
    return (f"warning: {pred.path.name}: {line}: on the same scale?",)


def _has_one_ratio(pred: PopulationFile, real: PopulationFile, ratio: float) -> bool:
    """Whether the means of expressed genes all have about the ratio of the means over genes."""
    means = []
    for file in (pred, real):
        cells = np.flatnonzero(~file.is_control)
        chosen = cells[np.linspace(0, len(cells) - 1, min(_CELLS, len(cells))).astype(np.int64)]
        means.append(file.population.select(chosen).dense().mean(axis=0, dtype=np.float64))
    is_expressed = means[1] > _EXPRESSED
    near = abs(np.log(np.maximum(means[0][is_expressed] / means[1][is_expressed], 1e-9) / ratio)) < np.log(_SAME_RATIO)
    return len(near) >= _ENOUGH_GENES and bool(near.mean() > _MOST_GENES)


def _scale(file: PopulationFile) -> str:
    source = "" if file.card is None else f", from {file.card.scale.source}"
    return f"{file.path}: expression scale (target_sum {file.target_sum:g}{source})"
