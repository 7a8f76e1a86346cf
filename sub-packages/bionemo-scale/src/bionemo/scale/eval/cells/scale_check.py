# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Refuses files whose scale of expression is unknown, is not what they say, or differs."""

from bionemo.scale.eval.cells.population_file import PopulationFile
from bionemo.scale.files.expression_scale import StatedScale, find_scale
from bionemo.scale.types import InputError


_TENTHS = (8.0, 12.5)
"""Ratios of mean expression that a division by 10 explains, and next to nothing else does."""


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
    """Refuse a division by 10, which no check of single values can see, and warn of other constant factors."""
    sums = [float(file.row_sums[~file.is_control].mean()) for file in (pred, real)]
    ratio = sums[0] / sums[1] if sums[1] > 0 else float("inf")
    line = f"mean expression is {ratio:.3g} times that of {real.path.name}"
    # Cells of this package are below what a cell can hold, which ten times log1p is not: too much is a bad prediction.
    is_far_above = pred.card is not None and ratio > 1
    if not is_far_above and _TENTHS[0] < max(ratio, 1 / ratio if ratio else 0.0) < _TENTHS[1]:
        raise InputError(f"{pred.path}: {line}: expected one scale, found what a division by 10 looks like")
    if 1 / 3 < ratio < 3:
        return ()
    return (f"warning: {pred.path.name}: {line}: on the same scale?",)


def _scale(file: PopulationFile) -> str:
    source = "" if file.card is None else f", from {file.card.scale.source}"
    return f"{file.path}: expression scale (target_sum {file.target_sum:g}{source})"
