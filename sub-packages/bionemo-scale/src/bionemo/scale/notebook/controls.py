# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Control cells of a notebook, with every check that those of a file meet."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata

from bionemo.scale.infer.controls.control_cells import CellSource, ControlCells, read_controls
from bionemo.scale.infer.controls.more_cells import with_number
from bionemo.scale.infer.labels import with_unknown_contexts
from bionemo.scale.infer.plans.controls_plan import ControlsPlan
from bionemo.scale.infer.settings import GivenScale
from bionemo.scale.infer.trained_model import LoadedModel
from bionemo.scale.types import DataCard


def read_notebook_controls(
    adata: anndata.AnnData,
    card: DataCard,
    given: GivenScale,
    *,
    matrix: str,
    gene_key: str | None,
    stated: Collection[str] = (),
) -> ControlCells:
    """Read the control cells of an object.

    Args:
        adata: The cells.
        card: The model's genes, labels and scale.
        given: What the user says of the values.
        matrix: Where the expression is.
        gene_key: var column with the gene names; ``None`` is that of the training data.
        stated: Covariates that the user states, which the cells need not have.

    Raises:
        InputError: As :func:`bionemo.scale.infer.controls.control_cells.read_controls`.
    """
    source = CellSource(path=Path("adata"), held=adata, given=given, matrix=matrix, gene_key=gene_key, stated=stated)
    return read_controls(source, card)


def controls_to_predict(
    adata: anndata.AnnData,
    card: DataCard,
    given: GivenScale,
    *,
    asked: Mapping[str, Any],
    matrix: str,
    gene_key: str | None,
) -> ControlCells:
    """Read the control cells of an object, as many and under the covariates that are asked for.

    Args:
        adata: The cells.
        card: The model's genes, labels and scale.
        given: What the user says of the values.
        asked: Fields of :class:`bionemo.scale.infer.settings.InferSettings` by name: seed, covariate,
            cells_per_condition.
        matrix: Where the expression is.
        gene_key: As of :func:`read_notebook_controls`.

    Raises:
        InputError: As :func:`read_notebook_controls`, or the model has no such covariate.
    """
    stated, number = asked.get("covariate", {}), asked.get("cells_per_condition")
    cells = read_notebook_controls(adata, card, given, matrix=matrix, gene_key=gene_key, stated=stated)
    cells = cells.with_covariates(stated, card)
    if number is None:
        return cells
    return with_number(cells, number, target_sum=card.scale.target_sum, seed=asked["seed"])


def plan_controls(
    loaded: LoadedModel,
    cells: ControlCells,
    perturbations: Sequence[str],
    *,
    seed: int,
    set_size: int | None,
    allow_unknown: bool,
) -> tuple[LoadedModel, ControlsPlan]:
    """Plan the perturbations of some cells, and return the model that knows their labels.

    Args:
        loaded: The model.
        cells: The controls.
        perturbations: Labels that the model knows.
        seed: Of random numbers.
        set_size: Cells of a set; ``None`` as trained.
        allow_unknown: Whether other labels of the cells are predicted under the unknown label.

    Raises:
        InputError: A label is not one the model was trained on.
    """
    if allow_unknown:
        loaded = with_unknown_contexts(
            loaded, cell_types=cells.cell_type, batches=cells.batch, covariates=cells.covariates
        )
    config = loaded.model.config
    options = {"seed": seed, "set_size": set_size or config.set_size, "sets": config.sets}
    return loaded, ControlsPlan(cells, loaded.card, perturbations, source=Path("adata"), **options)
