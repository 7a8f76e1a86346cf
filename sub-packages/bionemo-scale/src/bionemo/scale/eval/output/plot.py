# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predicted against observed change, gene by gene: what PDCorr sums up."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bionemo.scale.eval.metrics.formulas import pearson_delta
from bionemo.scale.eval.scores.scoring import Shift


MAX_PANELS = 6
_LABELLED = 6
_LETTERS = 38
"""Of a line of text above a panel; longer ones would be cut off."""
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.55"
"""Okabe and Ito's blue and vermillion, which differ for every kind of colour vision, and what stands behind."""


def strongest(shifts: list[Shift], num: int = MAX_PANELS) -> list[Shift]:
    """Return the shifts with the largest observed effect (Euclidean norm over genes), strongest first."""
    return sorted(shifts, key=lambda shift: -float(np.linalg.norm(shift.real)))[:num]


def plot_changes(shifts: list[Shift], *, model: str, path: Path) -> None:
    """Draw one panel per shift, at most :data:`MAX_PANELS`, and write them as PNG.

    Args:
        shifts: What to draw, in order.
        model: Name of the model, for the title.
        path: File to write.
    """
    shown = shifts[:MAX_PANELS]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.2 * columns, 4.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axis, shift in zip(axes, shown, strict=False):
        draw_change(axis, shift)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    title = f"{model}: mean change from control, log1p expression"
    figure.suptitle("\n".join(textwrap.wrap(title, _LETTERS * columns)))
    figure.savefig(path, format="png", dpi=130)


def draw_change(axis: Axes, shift: Shift) -> None:
    """Draw one pair: a point for each gene, and the names of those that changed most."""
    correlation = float(pearson_delta(shift.pred[None], shift.real[None])[0])
    top = np.argsort(-np.abs(shift.real))[:_LABELLED]
    both = np.concatenate([shift.real, shift.pred])
    low, high = float(both.min()), float(both.max())
    margin = 0.08 * (high - low or 1.0)
    limits = (low - margin, high + margin)
    axis.plot(limits, limits, color="0.6", linewidth=1, linestyle="--", zorder=1)
    axis.scatter(shift.real, shift.pred, s=9, color=BLUE, alpha=0.5, linewidths=0, zorder=2)
    axis.scatter(shift.real[top], shift.pred[top], s=26, color=ORANGE, marker="^", linewidths=0, zorder=3)
    _label(axis, shift, top, span=limits[1] - limits[0])
    axis.set(xlim=limits, ylim=limits, xlabel="observed", ylabel="predicted", aspect="equal")
    label = "\n".join(textwrap.wrap(f"{shift.context}, {shift.perturbation}", _LETTERS))
    axis.set_title(f"{label}\nPDCorr {correlation:.3f}", fontsize=10)


def _label(axis: Axes, shift: Shift, top: np.ndarray, *, span: float) -> None:
    """Name genes beside their points, moved apart upwards where names would overlap."""
    gap, height = 0.05 * span, -np.inf
    for index in top[np.argsort(shift.pred[top])].tolist():
        x, y = float(shift.real[index]), float(shift.pred[index])
        height = max(y, height + gap)
        side = -1 if x > 0 else 1
        axis.annotate(
            shift.genes[index],
            xy=(x, y),
            xytext=(x + side * gap, height),
            ha="right" if side < 0 else "left",
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "0.5", "linewidth": 0.5},
        )
