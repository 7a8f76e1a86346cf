# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Score estimators of perturbations that no training cell has, by vectors of their genes; see features.md."""

import argparse
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from run import CONTROL, HERE, Round, behind, kept, moved, pairs, parse, pseudobulks

from bionemo.scale.data.features.build import make_features
from bionemo.scale.data.features.settings import FeaturesSettings
from bionemo.scale.data.labels.agents import feature_names, read_features
from bionemo.scale.data.prepare.preprocess import prepare
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.estimate.features import AgentFeatures
from bionemo.scale.estimate.mixed_model import fit as fit_mixed_model
from bionemo.scale.eval.baselines.training_means import fit
from bionemo.scale.types import Group, GroupMeans, ObsKeys


GENE_SETS = HERE.parents[1] / "examples" / "data" / "wikipathways_human_subset.gmt"


def by_features(name: str) -> Callable[[Round], np.ndarray]:
    """Return an estimator of eval/baselines/by_features.py."""

    def change(asked: Round, group: Group) -> np.ndarray:
        model = asked.training.by_features
        return getattr(model, name)(group.perturbation) if model.describes(group.perturbation) else model.mean

    return moved(change)


def without_features(asked: Round) -> np.ndarray:
    """Return what the mixed model predicts that is told of no vectors."""
    return fit_mixed_model(asked.training.groups, control=CONTROL, parse=parse).predict(asked.targets).mean


ESTIMATORS: dict[str, Callable[[Round], np.ndarray]] = {
    "no change": moved(lambda asked, group: None),
    "mean_of_trained": moved(lambda asked, group: np.mean(list(asked.training.changes.values()), axis=0)),
    "nearest_neighbour": by_features("nearest_neighbour"),
    "kernel_ridge": by_features("kernel_ridge"),
    "bilinear": by_features("bilinear"),
    "mixed_model without vectors": without_features,
    "mixed_model": lambda asked: asked.training.mixed_model.predict(asked.targets).mean,
}


def vectors(task: dict[str, Any], data: Path, names: list[str]) -> AgentFeatures:
    """Return the vectors of a task's genes, as bionemo-scale-features makes them."""
    with tempfile.TemporaryDirectory() as folder:
        store, out = Path(folder) / "store", Path(folder) / "features.parquet"
        options: dict[str, Any] = {"gene_sets": GENE_SETS} if "gene_sets" in task["features"] else {}
        if "coexpression" in task["features"]:
            keys = ObsKeys(cell_type=task.get("context", "cell_type"))
            prepare(PrepareSettings.make(inputs=data / f"{task['file']}.h5ad", out=store, keys=keys, num_hvg=0))
            options["from_store"] = store
        make_features(FeaturesSettings.make(out=out, names=names, leave_out=True, **options))
        there = set(feature_names(out))
        described = [name for name in names if name in there]
        return AgentFeatures.of(described, read_features(out, described))


def rounds(
    task: dict[str, Any], groups: GroupMeans, features: AgentFeatures
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each left-out gene which groups are held out, and which of those are scored."""
    labels = [tuple(name for name, _ in parse(group.perturbation)) for group in groups.groups]
    singles = sorted({agents[0] for agents in labels if len(agents) == 1} - {CONTROL})
    chosen = [name for name in singles if name in features.names][0 if task["left_out"] == "even" else 1 :: 2]
    for gene in chosen:
        out = np.array([gene in agents for agents in labels])
        size = 2 if task.get("scored") == "pairs" else 1
        scored = np.array([len(agents) == size and inside for agents, inside in zip(labels, out, strict=True)])
        if scored.any():
            yield out, scored


def scores(task: dict[str, Any], data: Path) -> dict[str, np.ndarray]:
    """Return for each estimator [held-out (cell type, perturbation), 2] PDCorr and mean squared error."""
    groups = pseudobulks(data / f"{task['file']}.h5ad", task.get("context", "cell_type"), task.get("keep_cell_types"))
    agents = sorted({name for group in groups.groups for name, _ in parse(group.perturbation)} - {CONTROL})
    features = vectors(task, data, agents)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ESTIMATORS}
    for out, scored in rounds(task, groups, features):
        training = kept(groups, ~out)
        trained = {name for group in training.groups for name, _ in parse(group.perturbation)}
        told = features.fitted_to(trained)
        asked = Round(
            training=fit(training, control=CONTROL, parse=parse, features=told), targets=kept(groups, scored).groups
        )
        for name, estimate in ESTIMATORS.items():
            found[name] += list(pairs(asked, kept(groups, scored), estimate(asked)))
    return {name: np.array(rows) for name, rows in found.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--role", choices=("choose", "confirm"), help="these tasks only")
    asked = parser.parse_args()
    tasks = tomllib.loads((HERE / "features.toml").read_text())
    print(f"| task | scored | {' | '.join(ESTIMATORS)} | MSE of the best other less the mixed model's, 95 % |")
    print("| --- " * (len(ESTIMATORS) + 3) + "|")
    for name, task in tasks.items():
        if asked.role not in (None, task["role"]):
            continue
        found = scores(task, asked.data)
        cells = [f"{rows[:, 0].mean():.3f} / {rows[:, 1].mean():.4g}" for rows in found.values()]
        own = found.pop("mixed_model")
        best = min(found, key=lambda other: found[other][:, 1].mean())
        line = f"{best}: {behind(own, found[best], 1)}"
        print(f"| {name} | {len(own)} | {' | '.join(cells)} | {line} |", flush=True)


if __name__ == "__main__":
    main()
