# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The report of a run as one HTML file. It loads nothing else, and without its script only figures are missing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, UndefinedError
from plotly.offline import get_plotlyjs

from bionemo.scale.eval.metrics.catalogue import (
    EXPRESSED_COVERAGE,
    FURTHER,
    GENE_SETS,
    HEADLINE,
    PAPER_METRICS,
    SCALED,
    SECOND_TABLE,
)
from bionemo.scale.eval.output.summary import Summary, controls_said
from bionemo.scale.eval.output.table import has_gene_sets, headline_of, newest_columns
from bionemo.scale.eval.page.cautions import cautions
from bionemo.scale.eval.page.embedding import CellFiles, Clouds
from bionemo.scale.eval.page.payload import figures
from bionemo.scale.eval.page.provenance import file_notes
from bionemo.scale.eval.page.set_tables import set_tables
from bionemo.scale.eval.page.sources import RunFiles, ScoreFiles, name_of_data
from bionemo.scale.eval.page.tables import against_table, score_table
from bionemo.scale.eval.page.verdict import verdicts
from bionemo.scale.files.writing.atomic import write_text
from bionemo.scale.types import InputError


_HERE = Path(__file__).parent
MOST_CONDITIONS = 2000
"""Rows of the split that are listed."""
_NETWORK = (
    "num_genes",
    "num_cell_types",
    "num_perturbations",
    "num_batches",
    "set_size",
    "hidden_size",
    "num_layers",
)
"""Fields of the network that are named."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything that a page is made of."""

    run: RunFiles | None
    """The training run; ``None`` for models of other tools."""
    scores: ScoreFiles
    """What bionemo-scale-evaluate left."""
    cells: CellFiles | None = None
    """Predicted and real cells, for their provenance."""
    clouds: Sequence[Clouds] = ()
    """Embedded populations; none where the cells are not at hand."""
    commands: Sequence[str] = ()
    """How to make the run and the scores again."""


def write_page(out: Path, page: Page) -> None:
    """Write the page to an HTML file; it appears under its name when it is complete.

    Raises:
        InputError: The scores lack something that a page shows.
    """
    try:
        text = render(page)
    except UndefinedError as error:
        # Mappings of the summary have keys of their own, which reading it does not know.
        path = page.scores.path / "summary.json"
        raise InputError(f"{path}: expected scores of bionemo-scale-evaluate, found that {error}") from error
    write_text(out, text)


def render(page: Page) -> str:
    """Return the page as text."""
    summary, run = page.scores.summary, page.run
    current = summary.current_evaluator
    further = tuple(metric for metric in FURTHER if metric.column != EXPRESSED_COVERAGE)
    return render_template(
        "report.html",
        figures(run, page.scores, list(page.clouds)),
        title=f"{', '.join(summary.names.models)} on {name_of_data(run, page.scores)}",
        subtitle=_subtitle(summary),
        version=summary.evaluator.versions.get("bionemo-scale", ""),
        summary=summary,
        verdicts=verdicts(summary, page.scores.genes),
        cautions=cautions(run, summary),
        facts=_facts(run, summary),
        headline=score_table(summary, headline_of(summary)),
        further=score_table(summary, further),
        against=against_table(summary),
        newest=None if current is None else score_table(summary, newest_columns()),
        second=_second_tables(summary),
        sets=_sets(page.scores),
        explained=[*HEADLINE, *FURTHER],
        split=None if run is None else run.split,
        most_conditions=MOST_CONDITIONS,
        paper_metrics=PAPER_METRICS,
        provenance=_provenance(page),
        commands=page.commands,
    )


def _second_tables(summary: Summary) -> list[Any]:
    """Return the tables of cell-eval2: on the scale of the challenge, and as they are; none where it was not asked."""
    if summary.second_evaluator is None:
        return []
    scaled = replace(summary, models=summary.second_evaluator.scaled)
    return [score_table(scaled, SCALED), score_table(summary, SECOND_TABLE)]


def _sets(scores: ScoreFiles) -> dict[str, Any] | None:
    """Return the table of how well sets are predicted, and one of each pair; ``None`` where none were scored."""
    if scores.gene_sets is None or not has_gene_sets(scores.summary):
        return None
    return {"scores": score_table(scores.summary, GENE_SETS), **set_tables(scores.gene_sets)}


def render_template(name: str, data: dict[str, Any], **values: Any) -> str:
    """Return a page of a template.

    Args:
        name: Of the template.
        data: What its script draws.
        values: What the template writes; all of it is escaped.
    """
    # "</" inside a script element would end it.
    text = json.dumps(data, allow_nan=False).replace("</", "<\\/")
    style, script = (_read(name) for name in ("report.css", "report.js"))
    return (
        _environment()
        .get_template(name)
        .render(data=text, style=style, script=script, plotly=get_plotlyjs(), **values)
    )


@cache
def _environment() -> Environment:
    loader = FileSystemLoader(_HERE / "templates")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["counted"] = _counted
    return made


def _counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _subtitle(summary: Summary) -> str:
    version = summary.evaluator.versions.get("cell-eval", "unknown")
    return (
        f"{_counted(summary.pairs, '(cell type, perturbation) pair')} in "
        f"{_counted(len(summary.contexts), 'cell type')}; "
        f"controls: {controls_said(summary.control_policy)}; cell-eval {version}"
    )


def _facts(run: RunFiles | None, summary: Summary) -> list[tuple[str, str]]:
    facts = [
        ("Models", ", ".join(summary.names.models)),
        ("Held-out cells", f"{summary.baselines.cells:,}"),
    ]
    if run is None:
        return [*facts, ("Training", "no run folder: the prediction is another tool's, or the run is elsewhere")]
    return [*facts, *run_facts(run)]


def run_facts(run: RunFiles) -> list[tuple[str, str]]:
    """Return what a page says of a training: its store, size, network and split."""
    settings, model = run.config["run"], run.config["model"]
    named = [f"{name} {model[name]}" for name in _NETWORK if name in model]
    facts = [
        ("Trained on", str(settings.get("store", "not recorded"))),
        ("Size and steps", f"{settings.get('size')}, {settings.get('max_steps')} steps, seed {settings.get('seed')}"),
        ("Network", ", ".join(named)),
    ]
    if run.split is not None:
        counts = run.split["counts"]
        parts = [
            f"{name}: {_counted(part['conditions'], 'condition')}, {_counted(part['cells'], 'cell')}"
            for name, part in counts.items()
        ]
        facts.append(("Split", "; ".join(parts)))
    return facts


def _provenance(page: Page) -> list[tuple[str, str]]:
    summary, cells = page.scores.summary, page.cells
    inputs = summary.inputs
    facts = [(f"Prediction {name}", f"{f.path} sha256 {f.sha256[:16]}") for name, f in inputs.pred.items()]
    facts.append(("Real cells", f"{inputs.real.path} sha256 {inputs.real.sha256[:16]}"))
    if inputs.store is not None:
        facts.append(("Store", f"{inputs.store.path}, split {(inputs.store.split_sha256 or 'none')[:12]}"))
    for name, path in ({} if cells is None else cells.pred).items():
        facts += [(f"{name}: {note}", value) for note, value in file_notes(path).items()]
    facts.append(("Evaluated with", ", ".join(f"{n} {v}" for n, v in summary.evaluator.versions.items())))
    return facts
