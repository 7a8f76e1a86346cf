# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Control cells of a notebook, with every check that those of a file meet."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import anndata

from bionemo.scale.infer.controls.control_cells import CellSource, ControlCells, read_controls
from bionemo.scale.infer.labels import with_unknown_contexts
from bionemo.scale.infer.plans.controls_plan import ControlsPlan
from bionemo.scale.infer.settings import GivenScale
from bionemo.scale.infer.trained_model import LoadedModel
from bionemo.scale.notebook.cells import given_files
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
    keys, sizes = card.keys, (card.scale.library_size_key, given.library_size_key)
    columns = [keys.perturbation, keys.cell_type, keys.batch, *keys.covariates, *sizes]
    with given_files() as files:
        path = files.path(adata, "adata", columns=columns, matrix=matrix, gene_key=gene_key or card.gene_key)
        source = CellSource(path=path, given=given, matrix=matrix, gene_key=gene_key, stated=stated)
        cells = read_controls(source, card)
        return replace(cells, notes=tuple(files.named(note) for note in cells.notes))


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
