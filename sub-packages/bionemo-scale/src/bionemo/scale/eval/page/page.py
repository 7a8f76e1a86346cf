# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page of a run: it needs no network and no other file, and scripts for figures only."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from plotly.offline import get_plotlyjs

from bionemo.scale.eval.metrics.catalogue import FURTHER, HEADLINE, PAPER_METRICS, Metric
from bionemo.scale.eval.metrics.intervals import Difference
from bionemo.scale.eval.metrics.ranking import BEST, marks
from bionemo.scale.eval.output.summary import MetricSummary, Summary
from bionemo.scale.eval.output.table import legend, newest_columns
from bionemo.scale.eval.page.cautions import cautions
from bionemo.scale.eval.page.embedding import Clouds
from bionemo.scale.eval.page.payload import figures
from bionemo.scale.eval.page.provenance import file_notes
from bionemo.scale.eval.page.sources import RunFiles, ScoreFiles
from bionemo.scale.eval.scores.task import CEILING
from bionemo.scale.files.writing.atomic import write_text


_HERE = Path(__file__).parent
_SECTIONS = {
    "run": "Run",
    "scores": "Scores beside baselines",
    "perturbations": "Perturbation by perturbation",
    "chosen": "One perturbation",
    "sizes": "Effect sizes",
    "training": "Training",
    "split": "Split",
    "methods": "Metrics and conventions",
    "provenance": "Provenance",
}


def write_page(
    out: Path,
    *,
    run: RunFiles | None,
    scores: ScoreFiles,
    pred: Path | None,
    clouds: list[Clouds],
    commands: Sequence[str],
) -> None:
    """Write the page; it appears under its name when it is complete.

    Args:
        out: HTML file.
        run: The training run; ``None`` for models of other tools.
        scores: What bionemo-scale-evaluate left.
        pred: h5ad of the first model, for its provenance.
        clouds: Embedded populations; empty where the cells are not at hand.
        commands: How to make the run and the scores again.
    """
    page = render(run=run, scores=scores, pred=pred, clouds=clouds, commands=commands)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, page)


def render(
    *,
    run: RunFiles | None,
    scores: ScoreFiles,
    pred: Path | None,
    clouds: list[Clouds],
    commands: Sequence[str] = (),
) -> str:
    """Return the page as text."""
    summary = scores.summary
    models = ", ".join(summary.names.models)
    bodies = {
        "run": _facts(_run_facts(run, summary)) + _warnings(cautions(run, summary)),
        "scores": _scores(summary),
        "perturbations": _read("perturbations.html"),
        "chosen": _read("chosen.html"),
        "sizes": _read("sizes.html"),
        "training": _read("training.html"),
        "split": _split(run),
        "methods": _methods(summary),
        "provenance": _provenance(scores, pred, commands),
    }
    sections = [f'<section id="{key}"><h2>{name}</h2>{bodies[key]}</section>' for key, name in _SECTIONS.items()]
    links = [f'<a href="#{key}">{name}</a>' for key, name in _SECTIONS.items()]
    # "</" inside a script element would end it.
    data = json.dumps(figures(run, scores, clouds), allow_nan=False).replace("</", "<\\/")
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(models)}: report</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<style>{_read('report.css')}</style>\n</head>\n<body>\n<header><h1>{escape(models)}</h1>"
        f'<p class="note">{escape(_subtitle(summary))}</p><nav>{"".join(links)}</nav></header>\n'
        f"<main>{''.join(sections)}</main>\n<footer>Written by bionemo-scale-report "
        f"{escape(summary.evaluator.versions['bionemo-scale'])}; everything it shows is inside this file.</footer>\n"
        f'<script type="application/json" id="data">{data}</script>\n<script>{get_plotlyjs()}</script>\n'
        f"<script>{_read('report.js')}</script>\n</body>\n</html>\n"
    )


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _subtitle(summary: Summary) -> str:
    contexts = len(summary.contexts)
    return (
        f"{summary.pairs} (cell type, perturbation) pairs in {contexts} context{'s' if contexts != 1 else ''}; "
        f"controls: {summary.control_policy}; cell-eval {summary.evaluator.versions['cell-eval']}"
    )


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f'<table class="facts"><tbody>{lines}</tbody></table>'


def _run_facts(run: RunFiles | None, summary: Summary) -> list[tuple[str, str]]:
    facts = [
        ("Models", ", ".join(summary.names.models)),
        ("Held-out cells", f"{summary.baselines.cells:,}"),
    ]
    if run is None:
        return [*facts, ("Training", "no run folder: the prediction is another tool's, or the run is elsewhere")]
    settings, model = run.config["run"], run.config["model"]
    named = (
        "num_genes",
        "num_cell_types",
        "num_perturbations",
        "num_batches",
        "set_size",
        "hidden_size",
        "num_layers",
    )
    facts += [
        ("Trained on", str(settings.get("store", "not recorded"))),
        ("Size and steps", f"{settings.get('size')}, {settings.get('max_steps')} steps, seed {settings.get('seed')}"),
        ("Network", ", ".join(f"{name} {model[name]}" for name in named if name in model)),
    ]
    if run.split is not None:
        counts = run.split["counts"]
        parts = [f"{name}: {item['conditions']} conditions, {item['cells']:,} cells" for name, item in counts.items()]
        facts.append(("Split", "; ".join(parts)))
    return facts


def _warnings(lines: list[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<div class="warnings" id="warnings"><strong>Read first</strong><ul>{items}</ul></div>'


def _scores(summary: Summary) -> str:
    parts = [
        '<p class="note">Large: mean over (cell type, perturbation) pairs. Small: 95 % confidence interval, (p) '
        "resampling perturbations (contexts if fewer than three) and (b) leaving out one batch at a time; "
        '"without" counts the pairs where the metric is undefined. The ceiling scores real cells against real cells '
        "and is not ranked.</p>",
        _table(summary, HEADLINE),
        "<h3>Beyond the headline</h3>",
        _table(summary, FURTHER),
    ]
    against = summary.against_best_baseline
    if against:
        parts += ["<h3>Against the best baseline of each metric</h3>", _against(against)]
    current = summary.current_evaluator
    if current is not None:
        columns = newest_columns()
        parts += [f"<h3>The same cells, cell-eval {escape(current.versions['cell-eval'])}</h3>"]
        parts += [_table(summary, columns)]
    return "".join(parts)


def _table(summary: Summary, columns: tuple[Metric, ...]) -> str:
    heads = "".join(f'<th title="{escape(column.formula)}">{escape(column.name)}</th>' for column in columns)
    marked = {metric.column: _marks(summary, metric) for metric in columns}
    rows, before, unranked = [], "", summary.unranked_baselines
    for name, scores in summary.models.items():
        kind = "model" if name in summary.names.models else "ceiling" if name == CEILING else "baseline"
        cells = "".join(_cell(scores.get(c.column), c, marked[c.column].get(name, "")) for c in columns)
        style = kind + (" first" if kind != before and before else "")
        remark = "<small>not ranked</small>" if name in unranked else ""
        rows.append(f'<tr class="{style}"><th>{escape(name)}{remark}</th>{cells}</tr>')
        before = kind
    body = "".join(rows)
    notes = "".join(f'<p class="note">{escape(line)}</p>' for line in legend(columns, _used(marked)))
    table = f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>{notes}'


def _used(marked: dict[str, dict[str, str]]) -> set[str]:
    return {mark for marks in marked.values() for mark in marks.values()}


def _marks(summary: Summary, metric: Metric) -> dict[str, str]:
    unranked = (CEILING, *summary.unranked_baselines)
    return marks([n for n in summary.models if n not in unranked], metric, summary.means, ceiling=CEILING)


def _cell(item: MetricSummary | None, column: Metric, mark: str) -> str:
    if item is None or item.mean is None:
        why = "; ".join(() if item is None else item.why) or "no value"
        return f'<td title="{escape(why)}">-</td>'
    lines = []
    digits = min(column.digits, 3 if column.digits < 5 else 4)
    for interval, unit in ((item.interval, "p"), (item.batch_interval, "b")):
        if interval is not None:
            lines.append(f"{interval.low:.{digits}f}, {interval.high:.{digits}f} {unit}")
    if item.undefined:
        lines.append(f"{item.undefined} without")
    why = "; ".join(f"{count}: {reason}" for reason, count in item.why.items())
    small = "".join(f"<small>{line}</small>" for line in lines)
    style = ' class="best"' if mark == BEST else ""
    return f'<td{style} title="{escape(why)}">{item.mean:.{column.digits}f}{mark}{small}</td>'


def _against(against: dict[str, dict[str, Difference]]) -> str:
    rows = []
    for model, differences in against.items():
        for column in (*HEADLINE, *FURTHER):
            if (item := differences.get(column.column)) is not None:
                digits = column.digits
                interval = f"{item.low:+.{digits}f} to {item.high:+.{digits}f}"
                verdict = {"open": "cannot be told"}.get(item.verdict, item.verdict)
                cells = [column.name, item.baseline, f"{item.difference:+.{digits}f}", interval, verdict]
                rows.append(
                    f"<tr><th>{escape(model)}</th>" + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>"
                )
    heads = "".join(
        f"<th>{h}</th>" for h in ("model", "metric", "best baseline", "difference", "95 % interval", "model is")
    )
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return (
        '<p class="note">Paired by perturbation. The best baseline is picked on the same pairs, which is hard on the '
        f'model.</p><details open><summary>Differences</summary><div class="scroll">{table}</div></details>'
    )


def _split(run: RunFiles | None) -> str:
    if run is None or run.split is None:
        return '<p class="empty">No split.json of a training run was found.</p>'
    columns, rows = run.split["columns"], run.split["conditions"]
    heads = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(value))}</td>" for value in row) + "</tr>" for row in rows[:2000]
    )
    more = f'<p class="note">The first 2,000 of {len(rows):,} conditions.</p>' if len(rows) > 2000 else ""
    return (
        f'<p class="note">Split {escape(run.split["sha256"][:12])}; {run.split.get("control_cells", 0):,} control '
        "cells."
        f"</p><details><summary>{len(rows):,} conditions and their part</summary>{more}"
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div></details>'
    )


def _methods(summary: Summary) -> str:
    heads = "".join(f"<th>{h}</th>" for h in ("paper", "column", "as appendix A writes it", "equals cell-eval"))
    rows = "".join(
        f"<tr><th>{escape(m.name)}</th><td>{escape(m.column)}</td><td>{escape(m.equation)}</td>"
        f"<td>{escape(summary.paper_metrics[m.name]['equals cell-eval'])}</td></tr>"
        for m in PAPER_METRICS
    )
    parts = [
        "<details><summary>Metrics of the paper, and where cell-eval differs</summary>"
        f'<div class="scroll"><table class="facts"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
        "</details>",
        "<details><summary>Conventions behind the numbers</summary>"
        + _facts(summary.evaluator.conventions.items())
        + "</details>",
    ]
    if summary.current_evaluator is not None:
        conventions = summary.current_evaluator.conventions.items()
        parts.append(f"<details><summary>Conventions of the newest cell-eval</summary>{_facts(conventions)}</details>")
    return "".join(parts)


def _provenance(scores: ScoreFiles, pred: Path | None, commands: Sequence[str]) -> str:
    summary = scores.summary
    inputs = summary.inputs
    facts = [(f"Prediction {name}", f"{f.path} sha256 {f.sha256[:16]}") for name, f in inputs.pred.items()]
    facts.append(("Real cells", f"{inputs.real.path} sha256 {inputs.real.sha256[:16]}"))
    if inputs.store is not None:
        facts.append(("Store", f"{inputs.store.path}, split {(inputs.store.split_sha256 or 'none')[:12]}"))
    if pred is not None:
        facts += [(f"Prediction file: {name}", value) for name, value in file_notes(pred).items()]
    facts.append(("Evaluated with", ", ".join(f"{n} {v}" for n, v in summary.evaluator.versions.items())))
    lines = escape("\n\n".join(commands))
    notes = "".join(f"<li>{escape(note)}</li>" for note in summary.notes)
    return (
        f"{_facts(facts)}<h3>How to rerun</h3><pre>{lines}</pre>"
        f"<details><summary>Notes of the evaluation</summary><ul>{notes}</ul></details>"
    )
