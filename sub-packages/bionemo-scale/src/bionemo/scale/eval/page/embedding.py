# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Control, observed and predicted cells on two axes (PCA, UMAP), for the plots of a report."""

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bionemo.scale.eval.cells.alignment import align
from bionemo.scale.eval.cells.populations import Population, rows_by_label
from bionemo.scale.eval.cells.read_population import read_population
from bionemo.scale.types import FileLabels


MAX_CONTEXTS = 12
MAX_CONTROLS = 300
MAX_CELLS = 150
"""Observed, and predicted, cells of one perturbation."""
MAX_FITTED = 2000
_AXES = 20


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """One population in the plane."""

    context: str
    kind: str
    """control, observed or predicted."""
    model: str
    """Which model predicted it; empty for real cells."""
    perturbation: str
    points: np.ndarray
    """[cells, 2] float32."""


@dataclass(frozen=True, kw_only=True)
class Clouds:
    """Populations of one embedding."""

    method: str
    clouds: tuple[Cloud, ...]
    explained: dict[str, list[float]]
    """Context to the share of variance on each axis; empty for UMAP."""


@dataclass(frozen=True, kw_only=True)
class CellFiles:
    """The h5ad files of an evaluation that are at hand."""

    pred: dict[str, Path]
    """By the name of the model."""
    real: Path
    labels: Mapping[str, FileLabels | None]
    """How the predicted files are read, where they do not say it themselves."""
    real_labels: FileLabels | None


def embed_populations(
    files: CellFiles, *, umap: bool, seed: int = 0, shown: Collection[tuple[str, str]] | None = None
) -> list[Clouds]:
    """Embed some cells of each population, context by context.

    The principal axes are those of the real cells; predicted cells are put onto them and cannot turn them.

    Args:
        files: Real cells, and those of each model.
        umap: Also embed by UMAP, which takes a minute.
        seed: Of the choice of cells, and of UMAP.
        shown: The (cell type, perturbation) pairs that are embedded; all by default. The axes are those of all.

    Raises:
        InputError: The files cannot be read or compared.
    """
    truth = read_population(files.real, labels=files.real_labels).with_shared_controls()
    contexts = _contexts(truth.population.cell_type[~truth.is_control], shown)
    kinds: list[_Kind] = [
        (("control", ""), truth.population.select(truth.is_control), MAX_CONTROLS),
        (("observed", ""), truth.population.select(~truth.is_control), MAX_CELLS),
    ]
    for name, path in files.pred.items():
        predicted = align(read_population(path, labels=files.labels[name]), truth)
        cells = predicted.population.select(~predicted.is_control)
        kinds.append((("predicted", name), cells, MAX_CELLS))
    chosen: dict[str, list[_Part]] = {}
    explained = {}
    for context in contexts:
        picked = [_pick(kind, context, seed) for kind in kinds]
        chosen[context], explained[context] = _principal(picked, context, shown)
    axes = [[points for _, _, points in parts] for parts in chosen.values()]
    embeddings = [_clouds("PCA", chosen, [_planes(points) for points in axes], explained=explained)]
    if umap:
        embeddings.append(_clouds("UMAP", chosen, [_umap(points, seed) for points in axes], explained={}))
    return embeddings


def _contexts(cell_types: np.ndarray, shown: Collection[tuple[str, str]] | None) -> list[str]:
    """Return the contexts that have something to show, at most :data:`MAX_CONTEXTS`."""
    names = set(cell_types.tolist()) if shown is None else {context for context, _ in shown} & set(cell_types.tolist())
    return sorted(names)[:MAX_CONTEXTS]


_Kind = tuple[tuple[str, str], Population, int]
"""Kind and model, cells, most of a perturbation."""
_Part = tuple[tuple[str, str], str, np.ndarray]
"""Kind and model, perturbation, [cells, axes]."""


class _Picked(NamedTuple):
    """Some cells of one kind in a context."""

    kind: tuple[str, str]
    cells: Population
    rows: dict[str, np.ndarray]
    """Those of each perturbation."""

    def expression(self, rows: np.ndarray) -> np.ndarray:
        """Return [rows, G] float64."""
        return self.cells.select(rows).dense().astype(np.float64)


def _pick(kind: _Kind, context: str, seed: int) -> _Picked:
    (name, model), cells, most = kind
    here = cells.select(cells.cell_type == context)
    rows = {}
    for perturbation, members in rows_by_label(here.perturbation).items():
        rng = np.random.default_rng([seed, zlib.crc32(f"{context} {name} {perturbation}".encode())])
        rows[perturbation] = np.sort(rng.permutation(members)[:most])
    return _Picked((name, model), here, rows)


def _principal(
    picked: list[_Picked], context: str, shown: Collection[tuple[str, str]] | None
) -> tuple[list[_Part], list[float]]:
    """Return what is shown on the principal axes of the real cells, and the share of variance on the first two."""
    real = _fitted([kind for kind in picked if kind.kind[0] != "predicted"])
    mean = real.mean(axis=0)
    _, values, axes = np.linalg.svd(real - mean, full_matrices=False)
    axes = axes[:_AXES]
    # The sign of an axis is arbitrary; the largest gene points up.
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    turned = (axes * signs[:, None]).T
    share = (values**2 / (values**2).sum())[:2].tolist()
    parts = [
        (each.kind, name, (each.expression(rows) - mean) @ turned)
        for each in picked
        for name, rows in each.rows.items()
        if shown is None or each.kind[0] == "control" or (context, name) in shown
    ]
    return parts, share


def _fitted(real: list[_Picked]) -> np.ndarray:
    """Return every n-th of the picked real cells, [cells, G] with at most :data:`MAX_FITTED` cells."""
    rows = [np.concatenate(list(each.rows.values())) for each in real if each.rows]
    step = -(-sum(map(len, rows)) // MAX_FITTED)
    found, first = [], 0
    for each, members in zip((each for each in real if each.rows), rows, strict=True):
        found.append(each.expression(members[-first % step :: step]))
        first += len(members)
    return np.concatenate(found)


def _planes(points: list[np.ndarray]) -> list[np.ndarray]:
    return [np.pad(part, ((0, 0), (0, 2)))[:, :2] for part in points]


def _umap(points: list[np.ndarray], seed: int) -> list[np.ndarray]:
    from umap import UMAP

    everything = np.concatenate(points)
    neighbours = min(15, len(everything) - 1)
    coordinates = UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(everything)
    return np.split(coordinates, np.cumsum([len(part) for part in points])[:-1])


def _clouds(
    method: str, chosen: dict[str, list[_Part]], planes: list[list[np.ndarray]], *, explained: dict[str, list[float]]
) -> Clouds:
    clouds = [
        Cloud(context=context, kind=kind[0], model=kind[1], perturbation=name, points=points.astype(np.float32))
        for (context, parts), coordinates in zip(chosen.items(), planes, strict=True)
        for (kind, name, _), points in zip(parts, coordinates, strict=True)
    ]
    return Clouds(method=method, clouds=tuple(clouds), explained=explained)
