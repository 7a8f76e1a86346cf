# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Chooses what to predict: a split of the store, or control cells under the perturbations that were asked for."""

from pathlib import Path

from bionemo.scale.data.store.reader import Store
from bionemo.scale.infer.controls.control_cells import CellSource, ControlCells, controls_of_store, read_controls
from bionemo.scale.infer.controls.more_cells import with_number
from bionemo.scale.infer.labels import with_unknown_contexts
from bionemo.scale.infer.plans.controls_plan import ControlsPlan
from bionemo.scale.infer.plans.plan import Plan
from bionemo.scale.infer.plans.split_plan import SplitPlan
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.infer.trained_model import LoadedModel
from bionemo.scale.types import DataCard, InputError, Split


SCREEN_CELLS = 256
"""Control cells of a context of a store that a screen carries to each perturbation, where the user does not say."""


def make_plan(settings: InferSettings, loaded: LoadedModel, store: Store | None) -> tuple[LoadedModel, Plan]:
    """Return the sets to predict, and the model with the unknown labels that --allow-unknown lets it predict.

    Raises:
        InputError: Labels or the store do not fit the model, or there are no such controls.
    """
    set_size = settings.set_size or loaded.model.config.set_size
    if store is not None:
        _check_same_data(store, loaded, settings.checkpoint, split_matters=not settings.is_screen)
        if not settings.is_screen:
            sets = loaded.model.config.sets
            return loaded, SplitPlan(store, Split(settings.split), set_size=set_size, seed=settings.seed, sets=sets)
        limit = settings.cells_per_condition or SCREEN_CELLS
        cells = controls_of_store(store, settings.cell_types, limit=limit, seed=settings.seed)
    else:
        cells = read_controls(cell_source(settings), loaded.card, cell_types=settings.cell_types)
    cells = cells.with_covariates(settings.covariate, loaded.card)
    if store is None:
        if settings.allow_unknown:
            loaded = with_unknown_contexts(
                loaded, cell_types=cells.cell_type, batches=cells.batch, covariates=cells.covariates
            )
    if settings.cells_per_condition is not None:
        cells = _of_number(cells, settings.cells_per_condition, settings, card=loaded.card)
    source = settings.adata or settings.store
    assert source is not None, "checked by the settings"
    plan = ControlsPlan(
        cells,
        loaded.card,
        settings.perturbations or loaded.card.perturbations,
        source=source,
        set_size=set_size,
        seed=settings.seed,
        store=store,
        sets=loaded.model.config.sets,
    )
    return loaded, plan


def _of_number(cells: ControlCells, number: int, settings: InferSettings, *, card: DataCard) -> ControlCells:
    """Return so many cells of each condition; means alone gain nothing from cells that are drawn again."""
    if settings.output == "pseudobulk":
        return cells.thin_out(number, seed=settings.seed)
    return with_number(cells, number, target_sum=card.scale.target_sum, seed=settings.seed)


def cell_source(settings: InferSettings) -> CellSource:
    """Return the file of the controls, and how it is read."""
    assert settings.adata is not None, "checked by the settings"
    return CellSource(
        path=settings.adata,
        given=settings,
        matrix=settings.matrix,
        gene_key=settings.gene_key,
        stated=settings.covariate,
    )


def _check_same_data(store: Store, loaded: LoadedModel, checkpoint: Path, *, split_matters: bool) -> None:
    """A split may only be predicted by a model that was kept from it."""
    names = [
        "genes",
        "cell_types",
        "perturbations",
        "batches",
        "covariates",
        "scale",
        *(["split_sha256"] if split_matters else []),
    ]
    for name in names:
        expected, found = getattr(loaded.card, name), getattr(store.card, name)
        if name == "perturbations":
            # New ones follow those of the training data.
            expected = expected[: loaded.model.config.num_perturbations]
        if expected != found:
            raise InputError(
                f"{store.path}: expected the {name} that {checkpoint} was trained on ({_short(expected)}), found "
                f"{_short(found)}; use the store of that run, or --adata"
            )


def _short(value: object) -> str:
    return f"{len(value)} entries" if isinstance(value, tuple) else str(value)
