# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from bionemo.scale.eval.output.plot import MAX_PANELS, plot_changes, strongest
from bionemo.scale.eval.scores.scoring import Shift


def shifts(num):
    rng = np.random.default_rng(0)
    genes, effect = tuple(f"G{i}" for i in range(30)), rng.normal(size=30)
    return [
        Shift(
            model="m",
            context="T",
            perturbation=f"p{i}",
            genes=genes,
            pred=rng.normal(size=30),
            real=(i + 1) * effect,
            fdr_pred=np.ones(30),
            fdr_real=np.ones(30),
        )
        for i in range(num)
    ]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures = []
    save = Figure.savefig

    def keep(figure, *args, **kwargs):
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_strongest_effects_first():
    assert [shift.perturbation for shift in strongest(shifts(9), 3)] == ["p8", "p7", "p6"]


@pytest.mark.parametrize("num", [1, 2, 4, 9])
def test_panels(tmp_path, drawn, num):
    items = strongest(shifts(num + 1))
    plot_changes(items, model="m", path=tmp_path / "delta.png")
    assert (tmp_path / "delta.png").read_bytes().startswith(b"\x89PNG")
    panels = [axis for axis in drawn[0].axes if axis.get_visible()]
    assert len(panels) == min(num + 1, MAX_PANELS)
    for axis, shift in zip(panels, items, strict=False):
        correlation = np.corrcoef(shift.pred, shift.real)[0, 1]
        assert axis.get_title() == f"T, {shift.perturbation}\nPDCorr {correlation:.3f}"
        top = {shift.genes[i] for i in np.argsort(-np.abs(shift.real))[:6]}
        assert {text.get_text() for text in axis.texts} == top
        assert axis.get_xlim() == axis.get_ylim()


def test_titles_are_as_wide_as_the_figure(tmp_path, drawn):
    """A single panel is narrow; a long name is broken into lines, not cut."""
    (item,) = strongest(shifts(1))
    item = replace(item, context="a cell type with a rather long name", perturbation="a perturbation with another one")
    plot_changes([item], model="a model with a long name", path=tmp_path / "delta.png")
    figure = drawn[0]
    renderer, width = figure.canvas.get_renderer(), figure.bbox.width
    for text in (figure._suptitle, figure.axes[0].title):
        box = text.get_window_extent(renderer)
        assert 0 <= box.x0 and box.x1 <= width, text.get_text()
