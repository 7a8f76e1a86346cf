# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Control, observed and predicted cells on two axes (PCA, UMAP), for the plots of a report."""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bionemo.scale.eval.cells.alignment import align
from bionemo.scale.eval.cells.populations import Population
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


def embed_populations(files: CellFiles, *, umap: bool, seed: int = 0) -> list[Clouds]:
    """Embed some cells of each population, context by context.

    The principal axes are those of the real cells; predicted cells are put onto them and cannot turn them.

    Args:
        files: Real cells, and those of each model.
        umap: Also embed by UMAP, which takes a minute.
        seed: Of the choice of cells, and of UMAP.

    Raises:
        InputError: The files cannot be read or compared.
    """
    truth = read_population(files.real, labels=files.real_labels).with_shared_controls()
    contexts = sorted(set(truth.population.cell_type[~truth.is_control].tolist()))[:MAX_CONTEXTS]
    kinds: list[_Kind] = [
        (("control", ""), truth.population.select(truth.is_control), MAX_CONTROLS),
        (("observed", ""), truth.population.select(~truth.is_control), MAX_CELLS),
    ]
    for name, path in files.pred.items():
        predicted = align(read_population(path, labels=files.labels[name]), truth)
        cells = predicted.population.select(~predicted.is_control)
        kinds.append((("predicted", name), cells, MAX_CELLS))
    chosen = {context: list(_choose(kinds, context, seed)) for context in contexts}
    axes, explained = [], {}
    for context, parts in chosen.items():
        points, explained[context] = _principal(parts)
        axes.append(points)
    embeddings = [_clouds("PCA", chosen, [_planes(points) for points in axes], explained=explained)]
    if umap:
        embeddings.append(_clouds("UMAP", chosen, [_umap(points, seed) for points in axes], explained={}))
    return embeddings


_Kind = tuple[tuple[str, str], Population, int]
"""Kind and model, cells, most of a perturbation."""
_Part = tuple[tuple[str, str], str, np.ndarray]
"""Kind and model, perturbation, [cells, G]."""


def _choose(kinds: list[_Kind], context: str, seed: int) -> Iterator[_Part]:
    for kind, cells, most in kinds:
        here = cells.select(cells.cell_type == context)
        for name in sorted(set(here.perturbation.tolist())):
            rows = np.flatnonzero(here.perturbation == name)
            rng = np.random.default_rng([seed, zlib.crc32(f"{context} {kind[0]} {name}".encode())])
            picked = np.sort(rng.permutation(rows)[:most])
            yield kind, name, here.select(picked).dense().astype(np.float64)


def _principal(parts: list[_Part]) -> tuple[list[np.ndarray], list[float]]:
    real = np.concatenate([cells for kind, _, cells in parts if kind[0] != "predicted"])
    step = -(-len(real) // MAX_FITTED)
    mean = real[::step].mean(axis=0)
    _, values, axes = np.linalg.svd(real[::step] - mean, full_matrices=False)
    axes = axes[:_AXES]
    # The sign of an axis is arbitrary; the largest gene points up.
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    share = (values**2 / (values**2).sum())[:2].tolist()
    return [(cells - mean) @ (axes * signs[:, None]).T for _, _, cells in parts], share


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
