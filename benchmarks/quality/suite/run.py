# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Score SCALE, its network alone and every classical method on the tasks of tasks.toml; see README.md."""

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import polars as pl
from scipy import stats

from bionemo.scale import api
from bionemo.scale.crossval.fold_run import MODEL, NETWORK
from bionemo.scale.crossval.pooled import Pooled, pool
from bionemo.scale.eval.metrics.catalogue import BY_COLUMN, loss
from bionemo.scale.eval.metrics.intervals import Difference
from bionemo.scale.eval.output.summarise import compare_with_baselines, metric_names
from bionemo.scale.eval.output.summary import MetricSummary
from bionemo.scale.eval.scores.task import CEILING
from bionemo.scale.files.provenance import versions_of
from bionemo.scale.types import InputError, ObsKeys


HERE = Path(__file__).parent
sys.path.append(str(HERE))
from state_row import STATE, StateRun, with_state  # noqa: E402
from vectors import SEPARATOR, described, make_vectors, new_gene_folds  # noqa: E402


COLUMNS = ("pearson_delta", "mse", "de_spearman_lfc_sig", "overlap_at_N", "discrimination_score_l1")
UNSEEN_COLUMNS = (*COLUMNS, "centroid_delta", "centroid_accuracy")
"""Where perturbations were never trained: they are compared with the other perturbations too."""
RANKED = ("pearson_delta", "mse", "discrimination_score_l1")
"""Columns whose ranks are averaged over tasks."""
VECTORS = "vectors.parquet"
"""In the folder of a task."""
PAPER = "paper's setting"
"""Row of `--preset paper`."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of the file."""

    name: str
    role: str
    file: str
    leave_out: str
    folds: list[list[str]] = field(default_factory=list)
    vectors: tuple[str, ...] = ()
    """Kinds of vectors that describe perturbations."""
    new_genes: str = ""
    """Half of the described genes that is left out, in place of ``folds``."""
    num_folds: int = 0
    """Of ``new_genes``."""
    genes: int = 0
    keep: tuple[str, ...] = ()
    context: str = "cell_type"
    perturbation: str = "perturbation"
    batch: str = "batch"
    control: str = "control"
    state: bool = True
    """Whether STATE can predict it: it knows no perturbation that was not trained."""


def read_tasks(path: Path) -> list[Task]:
    """Read the file of tasks."""
    return [Task(name=name, **fields) for name, fields in tomllib.loads(path.read_text()).items()]


def screen_of(task: Task, data: Path, out: Path) -> Path:
    """Return the task's file, cut to the cell types and to the described perturbations that it uses."""
    source = data / f"{task.file}.h5ad"
    if not source.is_file():
        raise InputError(f"{source}: expected the file of the task {task.name}, found none")
    screen = _cut(source, out / f"{task.name}.h5ad", "cell_type", task.keep) if task.keep else source
    if not task.vectors:
        return screen
    labels, path = _labels(task, ad.read_h5ad(screen, backed="r").obs), out / VECTORS
    make_vectors(task.vectors, labels, path, prepare={"inputs": screen, **prepare_options(task, screen)})
    kept = (task.control, *described(labels, path))
    return _cut(screen, out / f"{task.name}_described.h5ad", task.perturbation, kept)


def _cut(source: Path, path: Path, column: str, values: Sequence[str]) -> Path:
    """Write the cells that have one of some labels, once."""
    if not path.exists():
        cells = ad.read_h5ad(source)
        cells[cells.obs[column].isin(values)].copy().write_h5ad(path)
    return path


def _labels(task: Task, obs: Any) -> list[str]:
    return sorted(set(obs[task.perturbation].astype(str)) - {task.control})


def left_out(task: Task, obs: Any) -> list[list[str]]:
    """Return the names of what each fold leaves out, with words such as "even of rep_2" spelled out."""
    names = _labels(task, obs)
    if task.new_genes:
        return new_gene_folds(names, task.new_genes, task.num_folds)
    singles = {name for name in names if SEPARATOR not in name}
    pairs = [name for name in names if SEPARATOR in name and set(name.split(SEPARATOR)) <= singles]
    halves = {"even": names[0::2], "odd": names[1::2], "all": names}

    def spelled(word: str) -> list[str]:
        half, _, context = word.partition(" of ")
        if half in halves and context:
            return [f"{context} / {name}" for name in halves[half]]
        return pairs if word == "pairs" else [word]

    return [[name for word in fold for name in spelled(word)] for fold in task.folds]


def write_folds(task: Task, screen: Path, path: Path) -> None:
    """Write the file of folds."""
    folds = left_out(task, ad.read_h5ad(screen, backed="r").obs)
    text = "".join(
        f"{json.dumps(fold[0] if len(fold) == 1 else f'fold {number + 1}')} = {json.dumps(fold)}\n"
        for number, fold in enumerate(folds)
    )
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def run_task(task: Task, options: argparse.Namespace) -> Pooled:
    """Cross-validate; what is finished is read."""
    if options.no_network:
        return cross_validate(task, "methods", options, no_network=True)
    train = {"max_steps": options.max_steps, "seed": options.seed}
    kind = f"{options.size}-{options.max_steps}-seed{options.seed}"
    pooled = cross_validate(task, kind, options, size=options.size, network_alone=True, train=train)
    if options.state is not None and task.state:
        state = StateRun(env=options.state, steps=options.state_steps, seed=options.seed)
        folders = sorted((options.out / task.name / kind / "folds").iterdir())
        pooled = pool([with_state(*each, state) for each in zip(pooled.folds, folders, strict=True)])
    if not options.paper:
        return pooled
    paper = cross_validate(task, f"paper-{kind}", options, size=options.size, train=train | {"preset": "paper"})
    return replace(pooled, models=pooled.models | {PAPER: paper.models[MODEL]})


def cross_validate(task: Task, kind: str, options: argparse.Namespace, **network: Any) -> Pooled:
    """Leave out each of the task's folds in turn."""
    folder = options.out / task.name
    folder.mkdir(parents=True, exist_ok=True)
    screen, folds = screen_of(task, options.data, folder), folder / "folds.toml"
    write_folds(task, screen, folds)
    return api.crossval(
        folder / kind,
        inputs=screen,
        leave_out=task.leave_out,
        fold_file=folds,
        workers=options.workers,
        prepare=prepare_options(task, screen),
        perturbation_features=folder / VECTORS if task.vectors else None,
        **network,
    )


def prepare_options(task: Task, screen: Path) -> dict[str, Any]:
    """Return how a task's cells become a store."""
    columns = ad.read_h5ad(screen, backed="r").obs.columns
    return {
        "keys": ObsKeys(cell_type=task.context, perturbation=task.perturbation, batch=task.batch),
        "controls": (task.control,),
        "datasets": ("screen",),
        "num_hvg": task.genes,
        "library_size_key": "n_counts_full" if "n_counts_full" in columns else None,
        "combination_separator": SEPARATOR,
    }


def parts(task: Task, pooled: Pooled) -> dict[str, Pooled]:
    """Return what has a table of its own: all that a task scores, or genes and pairs where new genes have both."""
    if not task.new_genes:
        return {"": pooled}
    found = {"": only(pooled, pairs=False), ", pairs of a new gene": only(pooled, pairs=True)}
    return {what: part for what, part in found.items() if part is not None}


def only(pooled: Pooled, *, pairs: bool) -> Pooled | None:
    """Return the scores of pairs of genes, or of genes alone; ``None`` where there are none."""
    folds = []
    for fold in pooled.folds:
        chosen = fold.scores.filter(pl.col("perturbation").str.contains(SEPARATOR, literal=True) == pairs)
        if chosen.height:
            models = {name: _means(chosen.filter(pl.col("model") == name)) for name in fold.summary.models}
            scored = chosen.select("context", "perturbation").n_unique()
            folds.append(replace(fold, scores=chosen, summary=replace(fold.summary, models=models, pairs=scored)))
    return pool(folds) if folds else None


def _means(scores: pl.DataFrame) -> dict[str, MetricSummary]:
    values = {column: scores[column].drop_nulls() for column in metric_names(scores)}
    return {
        column: MetricSummary(mean=found.mean(), n=len(found), undefined=scores.height - len(found), why={})
        for column, found in values.items()
    }


def differences(task: Task, pooled: Pooled) -> dict[str, dict[str, Difference]]:
    """Return each model's difference from the best baseline.

    Over folds; over perturbations where folds are too few, or where each fold leaves out a few of many.
    """
    if pooled.against_best_baseline and not task.vectors:
        return pooled.against_best_baseline
    models = pooled.folds[0].summary.names.models or ["mixed_model"]
    return compare_with_baselines(pooled.scores.drop("fold"), models=models, baselines=pooled.rivals)


def rows_of(pooled: Pooled) -> list[str]:
    """Return the names of the rows of a table."""
    return [name for name in pooled.models if name not in pooled.unranked_baselines]


def task_lines(task: Task, pooled: Pooled, what: str = "") -> Iterator[str]:
    """Yield the table of a task, or of a part of it."""
    pairs = sum(fold.summary.pairs for fold in pooled.folds)
    columns = UNSEEN_COLUMNS if task.vectors else COLUMNS
    weights = [f"{fold.network_weight:.2f}" for fold in pooled.folds if fold.network_weight is not None]
    yield f"### {task.name}{what}: {len(pooled.folds)} folds, {pairs} (cell type, perturbation) pairs"
    yield ""
    if weights:
        yield f"Weight of the network in each fold: {', '.join(weights)}."
        yield ""
    yield f"| | {' | '.join(BY_COLUMN[column].name for column in columns)} | share of the ceiling's PDCorr |"
    yield "| --- " * (len(columns) + 2) + "|"
    ceiling = _mean(pooled, CEILING, "pearson_delta")
    for name in rows_of(pooled):
        corr = _mean(pooled, name, "pearson_delta")
        share = "-" if not ceiling or corr is None else f"{corr / ceiling:.0%}"
        yield f"| {name} | {' | '.join(_number(pooled, name, column) for column in columns)} | {share} |"
    yield ""
    yield from difference_lines(differences(task, pooled), "the best other", columns)
    if STATE in pooled.models:
        yield from difference_lines(differences(task, only_state(pooled)), STATE, columns)
    yield ""


def difference_lines(
    found: Mapping[str, Mapping[str, Any]], other: str, columns: Sequence[str] = COLUMNS
) -> Iterator[str]:
    """Yield a line for each model with its differences."""
    for model, of_column in found.items():
        shown = [
            f"{BY_COLUMN[column].name} {_difference(of_column[column])}" for column in columns if column in of_column
        ]
        if shown:
            yield f"{model} less {other}, 95 %: {'; '.join(shown)}."


def only_state(pooled: Pooled) -> Pooled:
    """Return the same scores with STATE as the only baseline."""
    folds = []
    for fold in pooled.folds:
        names = replace(fold.summary.names, baselines=[STATE])
        folds.append(replace(fold, summary=replace(fold.summary, names=names)))
    return pool(folds)


def _mean(pooled: Pooled, name: str, column: str) -> float | None:
    return pooled.models[name][column].mean if name in pooled.models else None


def _number(pooled: Pooled, name: str, column: str) -> str:
    mean = _mean(pooled, name, column)
    return "-" if mean is None else f"{mean:.4g}" if column == "mse" else f"{mean:.3f}"


def _difference(item: Difference) -> str:
    return f"{item.difference:+.3g} ({item.low:+.3g} to {item.high:+.3g}) of {item.baseline}{item.note}"


def rank_lines(role: str, found: Sequence[Pooled]) -> Iterator[str]:
    """Yield the mean ranks over tasks, the ceiling left out; methods that fell back count as what they predict."""
    rows = [name for name in found[0].models if name != CEILING]
    ranks = {column: mean_ranks(rows, column, found) for column in RANKED}
    yield f"### Mean ranks over {len(found)} tasks to {role}"
    yield ""
    yield f"| | {' | '.join(BY_COLUMN[column].name for column in RANKED)} | all |"
    yield "| --- " * (len(RANKED) + 2) + "|"
    # With one perturbation in each context PDS has no ranks.
    overall = {name: np.nanmean([each[name] for each in ranks.values()]) for name in rows}
    for name in sorted(rows, key=overall.__getitem__):
        yield f"| {name} | {' | '.join(_rank(ranks[column][name]) for column in RANKED)} | {overall[name]:.1f} |"
    yield ""


def _rank(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.1f}"


def mean_ranks(rows: Sequence[str], column: str, found: Sequence[Pooled]) -> dict[str, float]:
    """Return the mean rank of each row over tasks; ties share the mean of their ranks, no value is the last place."""
    given = []
    for pooled in found:
        means = [_mean(pooled, name, column) for name in rows]
        if any(mean is not None for mean in means):
            losses = [np.inf if mean is None else loss(mean, BY_COLUMN[column].best) for mean in means]
            given.append(stats.rankdata(losses))
    return dict(zip(rows, np.mean(given, axis=0).tolist(), strict=True)) if given else dict.fromkeys(rows, np.nan)


def table(tasks: Sequence[Task], found: Sequence[Pooled], options: argparse.Namespace) -> str:
    """Return the page of results."""
    versions = versions_of(("bionemo-scale", "cell-eval", "numpy", "scipy", "torch", "megatron-core"))
    what = "classical methods" if options.no_network else f"{MODEL}, {NETWORK} and classical methods"
    paper = " --paper" if options.paper else ""
    paper += "" if options.state is None else f" --state ENV --state-steps {options.state_steps}"
    training = f" --size {options.size} --max-steps {options.max_steps} --seed {options.seed}{paper}"
    lines = [
        f"# Results: {what}",
        "",
        f"`run.py --data DATA --out OUT --tasks {','.join(task.name for task in tasks)}"
        f"{' --no-network' if options.no_network else training}`",
        "",
        f"Commit {_commit()}; {', '.join(f'{name} {version}' for name, version in versions.items())}.",
        "",
    ]
    for role in ("confirm", "choose"):
        chosen = [(task, pooled) for task, pooled in zip(tasks, found, strict=True) if task.role == role]
        if chosen:
            lines += [f"## Tasks to {role}", "", *rank_lines(role, [pooled for _, pooled in chosen])]
            for task, pooled in chosen:
                lines += [line for what, part in parts(task, pooled).items() for line in task_lines(task, part, what)]
    return "\n".join(lines).rstrip() + "\n"


def _commit() -> str:
    return subprocess.run(
        ["git", "-C", HERE, "describe", "--always", "--dirty", "--exclude", "*"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True, help="folder of the h5ad files that tasks.toml names")
    options.add_argument("--out", type=Path, required=True, help="folder of the runs; the same command continues")
    options.add_argument("--tasks", default="", help="names, with commas (default: all)")
    options.add_argument("--no-network", action="store_true", help="classical methods alone")
    options.add_argument("--size", default="small")
    options.add_argument("--max-steps", type=int, default=400)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--paper", action="store_true", help="train the paper's setting too, as a row of its own")
    options.add_argument("--state", type=Path, help="environment with arc-state: adds STATE as a row")
    options.add_argument("--state-steps", type=int, default=1200, help="training steps of STATE")
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--write", type=Path, help="file of the results (default: they are printed)")
    return options.parse_args()


def main() -> None:
    """Run the tasks one after the other, and write what is there after each."""
    options = _options()
    tasks = {task.name: task for task in read_tasks(HERE / "tasks.toml")}
    chosen = [tasks[name] for name in options.tasks.split(",") if name] or list(tasks.values())
    found: list[Pooled] = []
    for task in chosen:
        found.append(run_task(task, options))
        text = table(chosen[: len(found)], found, options)
        if options.write is not None:
            options.write.write_text(text)
    if options.write is None:
        print(text)


if __name__ == "__main__":
    try:
        main()
    except InputError as refusal:
        sys.exit(f"error: {refusal}")
