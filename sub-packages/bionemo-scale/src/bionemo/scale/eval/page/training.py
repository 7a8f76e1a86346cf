# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The report of a training run without scores: losses, the network's weight, split and settings."""

from collections.abc import Sequence
from typing import Any

from bionemo.scale.eval.page.page import MOST_CONDITIONS, render_template, run_facts
from bionemo.scale.eval.page.sources import RunFiles, data_sets
from bionemo.scale.files.network_weight import WEIGHT_NAME, MeasuredWeight, measured_weight
from bionemo.scale.files.provenance import versions_of


def render_training(run: RunFiles, commands: Sequence[str]) -> str:
    """Return the page as text.

    Args:
        run: The run folder.
        commands: How to make the run again.

    Raises:
        InputError: A file of the run is damaged.
    """
    weight = measured_weight(run.path)
    data = data_sets(run)
    return render_template(
        "training.html",
        {"models": [], "genes": {"names": [], "entries": [], "pairs": 0}, "clouds": [], "curves": run.metrics},
        title=f"Training on {data}" if data else f"Training {run.path.resolve().name}",
        subtitle="A run without scores. It says how the training went, not how well the model predicts.",
        version=versions_of(("bionemo-scale",))["bionemo-scale"],
        lines=[*_losses(run.metrics), _weight(weight)],
        cautions=_cautions(run),
        facts=run_facts(run),
        split=run.split,
        most_conditions=MOST_CONDITIONS,
        commands=commands,
    )


def _losses(metrics: dict[str, list[float | None]]) -> list[str]:
    training, validation = (_points(metrics, name) for name in ("loss", "val_loss"))
    lines = []
    if training:
        (first, begin), (last, end) = training[0], training[-1]
        lines.append(f"The training loss went from {begin:.4g} at step {first:,.0f} to {end:.4g} at step {last:,.0f}.")
    if validation:
        step, lowest = min(validation, key=lambda point: point[1])
        lines.append(f"The lowest validation loss is {lowest:.4g}, at step {step:,.0f}.")
        if step == validation[-1][0]:
            lines.append("That is the last validation, so more steps may lower it further.")
    elif training:
        lines.append("There are no validation losses, because no cells were held out for validation.")
    return lines


def _points(metrics: dict[str, list[float | None]], name: str) -> list[tuple[float, float]]:
    pairs = zip(metrics.get("step", []), metrics.get(name, []), strict=True) if name in metrics else ()
    return [(step, value) for step, value in pairs if step is not None and value is not None]


def _weight(weight: MeasuredWeight | None) -> str:
    if weight is None:
        return f"The network's weight was not measured (no {WEIGHT_NAME})."
    return (
        f"The network's weight is {weight.network_weight:.2f}. Predicted means start at the classical estimate and go "
        "this share of the way to the network's means. It was measured on groups of cells that neither had seen."
    )


def _cautions(run: RunFiles) -> list[str]:
    lines = [
        "A low loss is no proof of good predictions. bionemo-scale-infer --split test and bionemo-scale-evaluate "
        "score them beside simple methods. Then make this page again."
    ]
    if not run.metrics:
        lines.append("The run folder has no metrics.csv, so training curves are missing.")
    if run.split is not None and not _held_out(run.split):
        lines.append("No cells are held out for a test, so this run cannot be scored.")
    return lines


def _held_out(split: dict[str, Any]) -> int:
    return int(split["counts"].get("test", {}).get("cells", 0))
