# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The model card of an export: README.md as the Hugging Face hub shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from bionemo.scale.eval.output.table import comparisons, headline_of, tables
from bionemo.scale.eval.page.cautions import cautions
from bionemo.scale.export.scores import OwnScores
from bionemo.scale.export.settings import ExportSettings
from bionemo.scale.export.training import SETTINGS
from bionemo.scale.files.network_weight import MeasuredWeight
from bionemo.scale.files.provenance import version_of
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.types import DataCard


_TAGS = ["biology", "single-cell", "perturbation-prediction", "virtual-cell", "flow-matching", "megatron"]
_TASK = {"type": "other", "name": "Perturbation prediction"}
_NAMES = 20
"""Labels of a kind that are listed."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What a model card is written from."""

    settings: ExportSettings
    config: ScaleModelConfig
    card: DataCard
    num_weights: int
    training: Mapping[str, Any]
    """From :func:`bionemo.scale.export.training.training_of`."""
    scores: OwnScores | None
    """Of the run, on its own split; ``None`` where it was not scored."""
    weight: MeasuredWeight | None


def model_card(exported: Exported) -> str:
    """Return the card: front matter, and sections on use, data, scores and limits."""
    front = yaml.safe_dump(_front_matter(exported), sort_keys=False, allow_unicode=True)
    sections = (
        f"# {exported.settings.title}",
        "A SCALE network that predicts how a population of single cells responds to a perturbation: it takes control "
        "cells and the label of a perturbation, and returns the cells after it, with intervals of their mean change.",
        _use(exported),
        _intended(exported),
        _data(exported),
        _network(exported),
        _scores(exported),
        _limits(exported),
    )
    return f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n"


def _front_matter(exported: Exported) -> dict[str, Any]:
    chosen = exported.settings
    front: dict[str, Any] = {} if chosen.license is None else {"license": chosen.license}
    front |= {"library_name": "bionemo-scale", "tags": _TAGS}
    if exported.scores is not None:
        front["model-index"] = [_results(exported, exported.scores)]
    return front


def _results(exported: Exported, scores: OwnScores) -> dict[str, Any]:
    """Return the scores as the hub reads them; those of baselines stand in the text."""
    summary = scores.files.summary
    own = summary.models[scores.model]
    metrics = [
        {"type": metric.column, "name": metric.name, "value": round(float(mean), 4)}
        for metric in headline_of(summary)
        if (mean := own[metric.column].mean) is not None
    ]
    name = exported.training.get("data_sets", "held-out cells")
    return {
        "name": exported.settings.title,
        "results": [{"task": _TASK, "dataset": {"type": "other", "name": name}, "metrics": metrics}],
    }


def _use(exported: Exported) -> str:
    name = exported.settings.out.resolve().name
    asked = exported.card.perturbations[0] if exported.card.perturbations else "LABEL"
    return f"""## Use

```python
from bionemo.scale import api

predictor = api.Predictor.from_pretrained({name!r})   # this folder
predicted = predictor.predict(controls, [{asked!r}])   # AnnData of control cells -> AnnData of predicted cells
```

```bash
bionemo-scale-infer --checkpoint {name} --adata CONTROLS.h5ad --perturbations '{asked}' --out PREDICTED.h5ad
```

Nothing in the folder is executed when it is opened: weights are numbers, everything else is text."""


def _intended(exported: Exported) -> str:
    return f"""## Intended use

Research: to rank perturbations before an experiment, and to compare methods. Control cells should be of the genes
below and of contexts like those of training. Not for decisions on the treatment of patients.

Licence of the weights: {exported.settings.license or "not stated"}. Terms of the training data: \
{exported.settings.data_license or "not stated by who exported the model"}."""


def _data(exported: Exported) -> str:
    card, training = exported.card, exported.training
    lines = [
        f"- {len(card.genes):,} genes; log1p of counts scaled to {card.scale.target_sum:g} per cell",
        _labels("cell types", card.cell_types),
        _labels("perturbations", card.perturbations),
        f"- batches: {len(card.batches)}; control label: `{card.control}`",
        f"- split, sha256: `{card.split_sha256 or 'none: every cell was trained on'}`",
    ]
    for key, values in zip(card.keys.covariates, card.covariates, strict=True):
        lines.append(_labels(f"covariate {key}", values))
    if card.untrained_cell_types:
        lines.append(_labels("cell types without perturbed training cells", card.untrained_cell_types))
    if "split" in training:
        counts = training["split"].items()
        parts = [f"{name} {item['conditions']} conditions, {item['cells']:,} cells" for name, item in counts]
        lines.append(f"- {'; '.join(parts)}")
    if "data_sets" in training:
        lines.insert(0, f"- data sets: {training['data_sets']}")
    return "## Training data\n\n" + "\n".join(lines)


def _labels(kind: str, names: Sequence[str]) -> str:
    more = f", and {len(names) - _NAMES} more in data_card.json" if len(names) > _NAMES else ""
    return f"- {kind} ({len(names)}): {', '.join(f'`{name}`' for name in names[:_NAMES])}{more}"


def _network(exported: Exported) -> str:
    config, training, weight = exported.config, exported.training, exported.weight
    lines = [f"- {exported.num_weights:,} weights, {config.num_layers} transport blocks of width {config.hidden_size}"]
    if config.ema_decay:
        lines.append("- the weights are the running average of training, which is what predicts")
    said = [f"{name.replace('_', ' ')} {training[name]}" for name in SETTINGS if name in training]
    lines += [f"- {', '.join(said)}"] if said else []
    lines.append(_weight_line(weight))
    lines.append(f"- exported by bionemo-scale {version_of('bionemo-scale')}")
    return "## Network\n\n" + "\n".join(lines)


def _weight_line(weight: MeasuredWeight | None) -> str:
    if weight is None:
        return "- predicted means are the network's: its weight against the classical estimate was not measured"
    return (
        f"- predicted means are the run's classical estimate and {weight.network_weight:.2f} of the network's "
        "difference from it, as measured on groups that neither had seen"
    )


def _scores(exported: Exported) -> str:
    scores = exported.scores
    if scores is None:
        return (
            "## Scores\n\nThe run was not scored before the export. `bionemo-scale-evaluate` compares it with simple "
            "methods on data that were held out."
        )
    summary = scores.files.summary
    lines = [
        "## Scores",
        "",
        f"On held-out cells of the split above, {summary.pairs} (cell type, perturbation) pairs, beside simple "
        f"methods. This model is the row `{scores.model}`.",
        "",
        "```",
        *tables(summary).splitlines(),
        *comparisons(summary.against_best_baseline, interval="95 % bootstrap intervals"),
        "```",
    ]
    return "\n".join([*lines, "", *(f"- {text}" for text in cautions(None, summary))]).rstrip()


def _limits(exported: Exported) -> str:
    card = exported.card
    return f"""## Limits

- Simple statistics are hard to beat. What the network adds is said above, or was not measured.
- The further control cells are from the {len(card.cell_types)} cell types of training, the less is known; predictions
  carry distances to training and warnings in `uns["conditions"]`.
- Intervals are about the mean of a population, from the control cells that were given.
- Genes that are not in the list of training are not predicted."""
