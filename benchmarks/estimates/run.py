# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Score classical estimators of a population's mean on held-out groups of small screens; see README.md."""

import argparse
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np

from bionemo.scale.eval.baselines.training_means import TrainingMeans, fit
from bionemo.scale.types import Group, GroupMeans


HERE = Path(__file__).parent
CONTROL = "control"


def parse(label: str) -> tuple[tuple[str, float], ...]:
    """Read "A+B" as A with B."""
    return tuple((name, -1.0) for name in label.split("+"))


def pseudobulks(path: Path, context: str, keep: list[str] | None) -> GroupMeans:
    """Return the pseudobulks of a screen in log1p of counts scaled to 10,000."""
    adata = ad.read_h5ad(path)
    if keep is not None:
        adata = adata[adata.obs["cell_type"].isin(keep)]
    counts, obs = adata.X.toarray().astype(np.float64), adata.obs
    size = obs["n_counts_full"].to_numpy(float) if "n_counts_full" in obs else counts.sum(axis=1)
    cells = np.log1p(counts * 1e4 / np.maximum(size, 1)[:, None])
    labels = [Group("d", *row) for row in obs[[context, "perturbation", "batch"]].astype(str).itertuples(index=False)]
    members: dict[Group, list[int]] = {}
    for row, group in enumerate(labels):
        members.setdefault(group, []).append(row)
    means = np.stack([cells[rows].mean(axis=0) for rows in members.values()])
    squares = sum(((cells[rows] - mean) ** 2).sum(axis=0) for rows, mean in zip(members.values(), means, strict=True))
    return GroupMeans(
        groups=tuple(members),
        means=means,
        counts=np.array([len(rows) for rows in members.values()]),
        cell_sd=np.sqrt(squares / (len(cells) - len(members))),
    )


def held_out(groups: tuple[Group, ...], round_: dict[str, str]) -> np.ndarray:
    """Return [groups] bool, what a round holds out."""
    names = sorted({group.perturbation for group in groups} - {CONTROL})
    singles = {name for name in names if "+" not in name}
    sets = {
        "even": set(names[0::2]),
        "odd": set(names[1::2]),
        "pairs of singles": {name for name in names if "+" in name and set(name.split("+")) <= singles},
    }
    chosen = sets[round_["perturbations"]] if "perturbations" in round_ else set(names)
    fields = {name: value for name, value in round_.items() if name != "perturbations"}
    return np.array(
        [
            group.perturbation in chosen and all(getattr(group, name) == value for name, value in fields.items())
            for group in groups
        ]
    )


@dataclass(frozen=True, kw_only=True)
class Round:
    """What an estimator sees, and what it is asked for."""

    training: TrainingMeans
    targets: list[Group]

    def control(self, group: Group) -> np.ndarray:
        """Return the mean of the controls of a group's batch, or of its cell type where the batch has none."""
        pool = [g.perturbation == CONTROL and g.cell_type == group.cell_type for g in self.training.groups.groups]
        same = [inside and g.batch == group.batch for inside, g in zip(pool, self.training.groups.groups, strict=True)]
        rows = np.flatnonzero(same) if any(same) else np.flatnonzero(pool)
        return np.average(self.training.groups.means[rows], axis=0, weights=self.training.groups.counts[rows])


def moved(change: Callable[[Round, Group], np.ndarray | None]) -> Callable[[Round], np.ndarray]:
    """Return the estimator that adds a change to the control mean, 0 where there is none."""

    def estimate(asked: Round) -> np.ndarray:
        found = ((asked.control(group), change(asked, group)) for group in asked.targets)
        return np.stack([control if value is None else control + value for control, value in found])

    return estimate


def sum_of_singles(asked: Round, group: Group) -> np.ndarray | None:
    """Return the sum of the changes of the agents alone."""
    singles = [asked.training.singles.get(name) for name, _ in parse(group.perturbation)]
    return None if any(change is None for change in singles) else sum(singles)


def nearest(asked: Round, group: Group) -> np.ndarray | None:
    """Return the change in the context whose controls are nearest."""
    contexts, control = asked.training.by_context.get(group.perturbation, ()), asked.control(group)
    return min(contexts, key=lambda c: np.linalg.norm(c.control - control)).change if contexts else None


def persistence(by_gene: bool) -> Callable[[Round], np.ndarray]:
    """Return persistence with one rho, or one for each gene."""

    def change(asked: Round, group: Group) -> np.ndarray | None:
        model, control = asked.training.persistence, asked.control(group)
        mean = None if model is None else model.predict(group.perturbation, control, by_gene=by_gene)
        return None if mean is None else mean - control

    return moved(change)


def same_type_mean(asked: Round, group: Group) -> np.ndarray | None:
    """Return what leads to the perturbation's mean in the same cell type, or over contexts."""
    training = asked.training
    mean = training.same_type_means.get((group.cell_type, group.perturbation), training.means.get(group.perturbation))
    return None if mean is None else mean - asked.control(group)


ESTIMATORS: dict[str, Callable[[Round], np.ndarray]] = {
    "no change": moved(lambda asked, group: None),
    "additive": moved(lambda asked, group: asked.training.changes.get(group.perturbation)),
    "same_type_mean": moved(same_type_mean),
    "nearest_context": moved(nearest),
    "persistence": persistence(by_gene=False),
    "persistence_by_gene": persistence(by_gene=True),
    "sum_of_singles": moved(sum_of_singles),
    "mixed_model": lambda asked: asked.training.mixed_model.predict(asked.targets).mean,
}


def scores(groups: GroupMeans, rounds: list[dict[str, str]]) -> dict[str, np.ndarray]:
    """Return for each estimator [held-out (cell type, perturbation), 2] PDCorr and mean squared error."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ESTIMATORS}
    for round_ in rounds:
        out = held_out(groups.groups, round_)
        asked = Round(training=fit(kept(groups, ~out), control=CONTROL, parse=parse), targets=kept(groups, out).groups)
        for name, estimate in ESTIMATORS.items():
            found[name] += list(pairs(asked, kept(groups, out), estimate(asked)))
    return {name: np.array(rows) for name, rows in found.items()}


def coverage(groups: GroupMeans, rounds: list[dict[str, str]]) -> float:
    """Return the share of measured pseudobulks inside the mixed model's 90 % interval, sampling error included."""
    inside = []
    for round_ in rounds:
        out = held_out(groups.groups, round_)
        truth = kept(groups, out)
        found = fit(kept(groups, ~out), control=CONTROL, parse=parse).mixed_model.predict(truth.groups)
        sd = np.sqrt(found.sd**2 + groups.cell_sd**2 / truth.counts[:, None])
        inside.append((np.abs(found.mean - truth.means) < 1.645 * sd).mean(axis=1))
    return float(np.concatenate(inside).mean())


def kept(groups: GroupMeans, rows: np.ndarray) -> GroupMeans:
    """Return some of the groups."""
    return GroupMeans(
        groups=tuple(group for group, inside in zip(groups.groups, rows, strict=True) if inside),
        means=groups.means[rows],
        counts=groups.counts[rows],
        cell_sd=groups.cell_sd,
    )


def pairs(asked: Round, truth: GroupMeans, predicted: np.ndarray) -> Iterator[tuple[float, float]]:
    """Yield PDCorr and squared error of each (cell type, perturbation), batches weighed by their cells."""
    controls = np.stack([asked.control(group) for group in truth.groups])
    for cell_type, perturbation in dict.fromkeys((g.cell_type, g.perturbation) for g in truth.groups):
        rows = np.flatnonzero([g.cell_type == cell_type and g.perturbation == perturbation for g in truth.groups])
        mean = [
            np.average(table[rows], axis=0, weights=truth.counts[rows]) for table in (predicted, truth.means, controls)
        ]
        change, observed = mean[0] - mean[2], mean[1] - mean[2]
        corr = float(np.corrcoef(change, observed)[0, 1]) if change.std() > 1e-9 else 0.0
        yield corr, float(((mean[0] - mean[1]) ** 2).mean())


def behind(best: np.ndarray, other: np.ndarray, column: int) -> str:
    """Return how far another estimator is behind, with the 95 % bootstrap interval over pairs."""
    difference = (best - other)[:, column] * (1 if column == 0 else -1)
    draws = np.random.default_rng(0).integers(len(difference), size=(2000, len(difference)))
    low, high = np.quantile(difference[draws].mean(axis=1), (0.025, 0.975))
    return f"{low:+.3g} to {high:+.3g}"


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("data", type=Path, help="folder of the h5ad files")
    folder = options.parse_args().data
    tasks: dict[str, dict[str, Any]] = tomllib.loads((HERE / "tasks.toml").read_text())
    ranks: dict[str, list[np.ndarray]] = {"choose": [], "confirm": []}
    print(
        "| task | pairs | "
        + " | ".join(ESTIMATORS)
        + " | MSE of the best other less the mixed model's, 95 % | coverage of its 90 % intervals |"
    )
    print("| --- " * (len(ESTIMATORS) + 4) + "|")
    for name, task in tasks.items():
        path = folder / f"{task['file']}.h5ad"
        groups = pseudobulks(path, task.get("context", "cell_type"), task.get("keep_cell_types"))
        found = scores(groups, task["rounds"])
        means = np.array([rows.mean(axis=0) for rows in found.values()])
        ranks[task["role"]].append(means[:, 1].argsort().argsort() + 1)
        best = min(
            (other for other in ESTIMATORS if other != "mixed_model"), key=lambda other: found[other][:, 1].mean()
        )
        cells = " | ".join(f"{corr:.3f} / {mse:.4g}" for corr, mse in means)
        interval = f"{best}: {behind(found['mixed_model'], found[best], 1)}"
        print(
            f"| {name} | {len(found[best])} | {cells} | {interval} | {coverage(groups, task['rounds']):.3f} |",
            flush=True,
        )
    for role, rows in ranks.items():
        print(
            f"| mean rank in MSE, {role} | | " + " | ".join(f"{rank:.1f}" for rank in np.mean(rows, axis=0)) + " | | |"
        )


if __name__ == "__main__":
    main()
