# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which control cells the predicted side is compared with, and whether the real side has any."""

from typing import Literal

from bionemo.scale.eval.cells.population_file import PopulationFile
from bionemo.scale.eval.cells.populations import Population
from bionemo.scale.files.suggest import some, suggest
from bionemo.scale.types import InputError


ControlPolicy = Literal["same-real", "predicted"]


def check_controls(real: PopulationFile) -> None:
    """Refuse a real file without control cells, or with a context that lacks either kind of cell.

    Raises:
        InputError: Naming the control label and the labels that are there, or the model whose prediction it is.
    """
    if real.origin is not None:
        raise InputError(
            f"{real.path}: holds predicted cells (of {real.origin}, says uns['bionemo_scale']); expected measured "
            "cells "
            "and measured controls"
        )
    key, control = real.labels.keys.perturbation, real.labels.control
    is_control = real.is_control
    if not is_control.any():
        labels = sorted(set(real.population.perturbation.tolist()))
        raise InputError(f"{real.path}: obs[{key!r}] has no control cells {control!r}; {suggest(control, labels)}")
    if is_control.all():
        raise InputError(f"{real.path}: every cell is a control ({control!r}); expected perturbed cells too")
    bare = sorted(set(real.population.cell_type[~is_control]) - set(real.population.cell_type[is_control]))
    if bare:
        raise InputError(
            f"{real.path}: no control cells ({control!r}) in {real.labels.keys.cell_type} {some(bare)}; "
            "effects are measured against the controls of the same cell type"
        )


def choose_controls(pred: PopulationFile, real: PopulationFile, policy: ControlPolicy) -> tuple[Population, str]:
    """Return the control cells of the predicted side, and one line that says what was done.

    ``same-real`` uses the real controls on both sides, so that scores measure the perturbed cells alone (appendix A
    of the paper); ``predicted`` uses the controls in the prediction, as STATE does.

    Raises:
        InputError: ``predicted``, and a cell type of the prediction has no controls.
    """
    own = pred.population.select(pred.is_control)
    if policy == "same-real":
        real_controls = real.population.select(real.is_control)
        dropped = f"; {len(own)} control cells in {pred.path.name} dropped" if len(own) else ""
        return real_controls, f"real controls on both sides{dropped}"
    missing = sorted(set(pred.population.cell_type[~pred.is_control]) - set(own.cell_type))
    if missing:
        raise InputError(
            f"{pred.path}: control policy 'predicted' needs controls ({pred.labels.control!r}) of every cell type, "
            f"found none of {some(missing)}"
        )
    return own, f"{len(own)} control cells of {pred.path.name} on the predicted side"
