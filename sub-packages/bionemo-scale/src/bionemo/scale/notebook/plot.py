# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Figures for notebooks. Each function draws into matplotlib axes and returns them.

They draw what the report draws, from the same numbers. Colours differ for every kind of colour vision, and marks
differ too.
"""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from bionemo.scale.eval.metrics.formulas import FDR
from bionemo.scale.eval.output.plot import BLUE, GREY, ORANGE, draw_change
from bionemo.scale.eval.page.embedding import CellFiles, embed_populations
from bionemo.scale.eval.page.sources import find_run
from bionemo.scale.eval.scores.scoring import Shift
from bionemo.scale.files.suggest import suggest
from bionemo.scale.infer.trained_run import Run
from bionemo.scale.notebook.cells import CellsLike, PathLike, given_files
from bionemo.scale.notebook.drawn import Drawn, changes, chosen_pair
from bionemo.scale.types import Z_OF_INTERVAL, FileLabels, InputError


__all__ = ("delta", "genes", "history", "populations", "volcano")

_LABELLED = 10
"""Genes that are named in a volcano."""
_APART = 0.03
"""Share of the height between two names."""
_FEW_POINTS = 30
"""Fewer steps are marked one by one."""
_LOOKS: dict[str, dict[str, Any]] = {
    "control": {"edgecolors": GREY, "facecolors": "none", "marker": "o", "label": "control"},
    "observed": {"color": BLUE, "marker": "o", "label": "measured"},
    "predicted": {"color": ORANGE, "marker": "x", "label": "predicted"},
}


def delta(
    found: Drawn,
    *,
    model: str | None = None,
    context: str | None = None,
    perturbation: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw predicted against measured change of mean log1p expression: a point for each gene.

    On the dashed line the prediction is exact. Triangles are the genes with the largest measured change.

    Args:
        found: What :func:`bionemo.scale.api.evaluate` returns, or its folder.
        model: Name of a model, if several were scored; ``None`` is the first.
        context: Cell type; ``None`` and no perturbation is the pair with the largest measured change.
        perturbation: Perturbation.
        ax: Axes to draw into; ``None`` makes a figure.

    Raises:
        InputError: There is no such pair, or nothing was measured.

    Example:
        ```python
        api.plot.delta("scores", context="NK", perturbation="IFN-beta")
        ```
    """
    pair = changes(found, model=model, context=context, perturbation=perturbation)
    if pair.real is None:
        raise InputError("expected scores, found a prediction: without measured cells there is nothing to compare")
    unused = np.zeros(0)
    shift = Shift(
        model=pair.model, context=pair.context, perturbation=pair.perturbation, genes=pair.genes,
        pred=pair.pred, real=pair.real, fdr_pred=unused, fdr_real=unused,
    )  # fmt: skip
    ax = _axes(ax, 4.6, 4.8)
    draw_change(ax, shift)
    ax.set(xlabel="measured change", ylabel=f"change predicted by {pair.model}")
    return ax


def volcano(
    found: Drawn,
    *,
    side: str = "predicted",
    model: str | None = None,
    context: str | None = None,
    perturbation: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the change of each gene against its certainty.

    The certainty of a prediction is the size of the change divided by its standard deviation. Above the dashed line
    the 90 % interval does not include 0. The certainty of measured cells is the adjusted p-value of a rank test.

    Args:
        found: Predictions (AnnData or h5ad), or what :func:`bionemo.scale.api.evaluate` returns, or its folder.
        side: "predicted" or "measured" changes.
        model: Name of a model, if several were scored; ``None`` is the first.
        context: Cell type; ``None`` and no perturbation is the pair with the largest change.
        perturbation: Perturbation.
        ax: Axes to draw into; ``None`` makes a figure.

    Raises:
        InputError: There is no such pair, the prediction does not say how sure it is, or nothing was measured.

    Example:
        ```python
        api.plot.volcano("predicted/adata_pred.h5ad", context="NK", perturbation="IFN-beta")
        ```
    """
    if side not in ("predicted", "measured"):
        raise InputError(f"side must be predicted or measured, found {side!r}")
    pair = changes(found, model=model, context=context, perturbation=perturbation)
    if side == "predicted":
        if pair.sd is None:
            raise InputError("expected predictions with intervals, found none: they do not say how sure they are")
        change, line = pair.pred, Z_OF_INTERVAL
        height = np.abs(change) / np.maximum(pair.sd, np.finfo(np.float32).tiny)
        height[change == 0] = 0
    else:
        if pair.real is None or pair.fdr is None:
            raise InputError("expected scores, found a prediction: nothing was measured")
        change, line = pair.real, -float(np.log10(FDR))
        height = -np.log10(np.maximum(pair.fdr, 1e-300))
    ax = _axes(ax, 5.4, 4.4)
    _volcano(ax, change, height, line=line, names=pair.genes)
    ylabel = "size in standard deviations" if side == "predicted" else "-log10 adjusted p-value"
    ax.set(xlabel=f"{side} change of mean log1p expression", ylabel=ylabel)
    ax.set_title(_title(pair.context, pair.perturbation))
    return ax


def genes(
    found: Drawn,
    *,
    number: int = 20,
    model: str | None = None,
    context: str | None = None,
    perturbation: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the genes that change most: predictions with 90 % intervals, and measured changes where there are any.

    Args:
        found: Predictions (AnnData or h5ad), or what :func:`bionemo.scale.api.evaluate` returns, or its folder.
        number: Genes to show, those with the largest measured change, or predicted where nothing was measured.
        model: Name of a model, if several were scored; ``None`` is the first.
        context: Cell type; ``None`` and no perturbation is the pair with the largest change.
        perturbation: Perturbation.
        ax: Axes to draw into; ``None`` makes a figure.

    Raises:
        InputError: There is no such pair.

    Example:
        ```python
        api.plot.genes("scores", number=15, context="NK", perturbation="IFN-beta")
        ```
    """
    pair = changes(found, model=model, context=context, perturbation=perturbation)
    leading = pair.pred if pair.real is None else pair.real
    rows = np.argsort(-np.abs(leading))[: max(1, number)][::-1]
    ax = _axes(ax, 5.4, 0.9 + 0.24 * len(rows))
    places = np.arange(len(rows))
    ax.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    reach = None
    if pair.low is not None and pair.high is not None:
        reach = np.stack([pair.pred[rows] - pair.low[rows], pair.high[rows] - pair.pred[rows]])
    label = "predicted" if reach is None else "predicted, 90 % interval"
    ax.errorbar(pair.pred[rows], places, xerr=reach, fmt="x", color=ORANGE, label=label, linewidth=1.2, capsize=2)
    if pair.real is not None:
        error = None if pair.error is None else Z_OF_INTERVAL * pair.error[rows]
        ax.errorbar(pair.real[rows], places - 0.25, xerr=error, fmt="o", color=BLUE, label="measured", markersize=4)
    ax.set_yticks(places, [pair.genes[row] for row in rows], fontsize=8)
    ax.set(xlabel="change of mean log1p expression", title=_title(pair.context, pair.perturbation))
    ax.legend(loc="best", fontsize=8, frameon=False)
    return ax


def populations(
    pred: CellsLike,
    real: CellsLike,
    *,
    context: str | None = None,
    perturbation: str | None = None,
    labels: FileLabels | None = None,
    umap: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw control, measured and predicted cells of one pair in a plane.

    Args:
        pred: Predicted cells, AnnData or h5ad.
        real: Measured cells and their controls, AnnData or h5ad.
        context: Cell type; ``None`` is the first by name.
        perturbation: ``None`` is the first by name in that cell type.
        labels: Columns, control label and scale of cells that do not name their own.
        umap: Use UMAP in the place of the two first principal components of the measured cells; takes a minute.
        ax: Axes to draw into; ``None`` makes a figure.

    Raises:
        InputError: The cells cannot be compared, or there is no such pair.

    Example:
        ```python
        api.plot.populations("predicted/adata_pred.h5ad", "predicted/adata_real.h5ad", context="NK")
        ```
    """
    with given_files() as given:
        paths = [given.path(cells, name, matrix="X") for cells, name in ((pred, "pred"), (real, "real"))]
        given_labels: Any = labels
        files = CellFiles(pred={"": paths[0]}, real=paths[1], labels={"": given_labels}, real_labels=given_labels)
        drawn = embed_populations(files, umap=umap)[-1]
    pairs = sorted({(cloud.context, cloud.perturbation) for cloud in drawn.clouds if cloud.kind == "observed"})

    context, perturbation = chosen_pair(pairs, context, perturbation)
    ax = _axes(ax, 5.4, 4.6)
    for cloud in drawn.clouds:
        if cloud.context == context and (cloud.kind == "control" or cloud.perturbation == perturbation):
            ax.scatter(*cloud.points.T, s=16, alpha=0.75, linewidths=0.9, **_LOOKS[cloud.kind])
    share = drawn.explained.get(context)
    names = [f"{drawn.method} {axis}" for axis in (1, 2)]
    if share:
        names = [f"{name} ({part:.1%} of variance)" for name, part in zip(names, share, strict=True)]
    ax.set(xlabel=names[0], ylabel=names[1], title=_title(context, perturbation))
    ax.legend(loc="best", fontsize=8)
    return ax


def history(run: Run | PathLike, *, term: str = "loss", ax: Axes | None = None) -> Axes:
    """Draw a loss of a training by step, of training and of validation sets.

    Args:
        run: A run, or its folder.
        term: Column of ``metrics.csv``.
        ax: Axes to draw into; ``None`` makes a figure.

    Raises:
        InputError: There is no such column.

    Example:
        ```python
        api.plot.history("run", term="loss")
        ```
    """
    folder = run.path if isinstance(run, Run) else Path(run)
    found = find_run(folder)
    curves = {} if found is None else found.metrics
    if term not in curves:
        known = [name for name in curves if name != "step" and not name.startswith("val_")]
        raise InputError(f"{folder}: no losses {term!r} are here; {suggest(term, known)}")
    ax = _axes(ax, 5.4, 3.6)
    looks = {term: (BLUE, "-", "training"), f"val_{term}": (ORANGE, "--", "validation")}
    for name, (color, line, label) in looks.items():
        values = curves.get(name, [])
        points = [(step, value) for step, value in zip(curves["step"], values, strict=False) if value is not None]
        if points:
            marker = "." if len(points) < _FEW_POINTS else ""
            ax.plot(*zip(*points, strict=True), color=color, linestyle=line, marker=marker, label=label)
    ax.set(xlabel="step", ylabel=term)
    if all(value > 0 for name in looks for value in curves.get(name, []) if value is not None):
        ax.set_yscale("log")
        for axis in ("set_major_formatter", "set_minor_formatter"):
            getattr(ax.yaxis, axis)(FuncFormatter(lambda value, place: f"{value:g}"))
    ax.legend(fontsize=8)
    return ax


def _volcano(ax: Axes, change: np.ndarray, height: np.ndarray, *, line: float, names: tuple[str, ...]) -> None:
    above = height > line
    ax.scatter(change[~above], height[~above], s=9, color=GREY, alpha=0.6, linewidths=0)
    ax.scatter(change[above], height[above], s=18, color=ORANGE, marker="^", alpha=0.8, linewidths=0)
    ax.axhline(line, color=GREY, linewidth=0.8, linestyle="--")
    ax.margins(x=0.15, y=0.08)
    # Each axis in its own unit: genes far from the origin are named, but none close to a name that stands.
    places = np.stack([change / (np.abs(change).max() or 1), height / (height.max() or 1)], axis=1)
    named: list[int] = []
    for row in np.argsort(-np.abs(places).prod(axis=1)).tolist():
        far = all(abs(places[row, 1] - places[other, 1]) > _APART for other in named)
        if above[row] and far and len(named) < _LABELLED:
            named.append(row)
            side = "left" if change[row] > 0 else "right"
            ax.annotate(names[row], (change[row], height[row]), ha=side, va="bottom", fontsize=7)


def _axes(ax: Axes | None, width: float, height: float) -> Axes:
    return pyplot.subplots(figsize=(width, height), layout="constrained")[1] if ax is None else ax


def _title(context: str, perturbation: str) -> str:
    return textwrap.fill(f"{context}, {perturbation}", 46)
