# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""(cell type, perturbation) pairs with few measured cells, which count as much as others in means over pairs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bionemo.scale.eval.cells.population_file import PopulationFile
from bionemo.scale.files.suggest import some
from bionemo.scale.types import InputError


_ENOUGH = 10
"""With fewer cells the error of a measured mean is a third or more of what single cells vary by."""

Pair = tuple[str, str]


def without_small_pairs(
    real: PopulationFile, predictions: Mapping[str, PopulationFile], min_cells: int
) -> tuple[PopulationFile, dict[str, PopulationFile]]:
    """Leave out the pairs with fewer measured cells, of every file.

    Args:
        real: Measured cells; a note says what was left out.
        predictions: By name.
        min_cells: Fewest measured cells of a pair that is scored.

    Raises:
        InputError: No pair, or none of a prediction, has so many.
    """
    if min_cells == 1:
        return real, dict(predictions)
    sizes = _sizes(real)
    small = {pair for pair, size in sizes.items() if size < min_cells}
    if not small:
        return real, dict(predictions)
    if len(small) == len(sizes):
        raise InputError(
            f"{real.path}: --min-cells {min_cells} leaves no (cell type, perturbation) pair; the largest has "
            f"{max(sizes.values())} cells"
        )
    for file in predictions.values():
        if not file.is_control.all() and small.issuperset(_sizes(file)):
            raise InputError(
                f"{file.path}: --min-cells {min_cells} leaves none of its (cell type, perturbation) pairs, which all "
                "have fewer measured cells"
            )
    note = f"--min-cells {min_cells}: {len(small)} of {len(sizes)} pairs have fewer measured cells and no score"
    cut = {name: _without(file, small) for name, file in predictions.items()}
    return replace(_without(real, small), notes=(*real.notes, note)), cut


def note_small_pairs(real: PopulationFile) -> tuple[str, ...]:
    """Warn of pairs with few measured cells."""
    sizes = _sizes(real)
    small = {pair: size for pair, size in sizes.items() if size < _ENOUGH}
    if not small:
        return ()
    shown = [f"{' x '.join(pair)} ({size})" for pair, size in sorted(small.items(), key=lambda item: item[1])]
    return (
        f"warning: {len(small)} of {len(sizes)} (cell type x perturbation) pairs have fewer than {_ENOUGH} "
        f"measured cells: {some(shown)}; their scores are noisy and count as much as others in means; "
        f"bionemo-scale-evaluate --min-cells {_ENOUGH} leaves them out",
    )


def _sizes(real: PopulationFile) -> Counter[Pair]:
    labels = (real.population.cell_type, real.population.perturbation)
    return Counter(zip(*(values[~real.is_control].tolist() for values in labels), strict=True))


def _without(file: PopulationFile, small: set[Pair]) -> PopulationFile:
    """Return a file without some pairs, and with its controls."""
    population = file.population
    pairs = zip(population.cell_type.tolist(), population.perturbation.tolist(), strict=True)
    kept = np.array([pair not in small for pair in pairs]) | file.is_control
    return replace(file, population=population.select(kept), row_sums=file.row_sums[kept])
