# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What is gained by measuring what `bionemo-scale-rank --next` names, beside random choice; see README.md."""

import argparse
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import anndata as ad
import numpy as np


sys.path.insert(0, str(Path(__file__).parents[1] / "estimates"))
from run import CONTROL, held_out, kept, parse

from bionemo.scale.estimate.mixed_model import Conditional, MixedModel, fit
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.rank.choose import choose_next
from bionemo.scale.rank.screen import Screen
from bionemo.scale.types import Group, GroupMeans


TASKS = tomllib.loads((Path(__file__).parents[1] / "estimates" / "tasks.toml").read_text())
SHARES = (0.25, 0.5)
DRAWS = 50


def halves(path: Path, context: str, keep: list[str] | None) -> tuple[GroupMeans, GroupMeans]:
    """Return the pseudobulks of two random halves of the cells of each group, log1p of counts scaled to 10,000."""
    adata = ad.read_h5ad(path)
    if keep is not None:
        adata = adata[adata.obs["cell_type"].isin(keep)]
    counts, obs = adata.X.toarray().astype(np.float64), adata.obs
    size = obs["n_counts_full"].to_numpy(float) if "n_counts_full" in obs else counts.sum(axis=1)
    cells = np.log1p(counts * 1e4 / np.maximum(size, 1)[:, None])
    labels = [Group("d", *row) for row in obs[[context, "perturbation", "batch"]].astype(str).itertuples(index=False)]
    rng, members = np.random.default_rng(0), {}
    for row, group in enumerate(labels):
        members.setdefault(group, []).append(row)
    members = {group: np.array_split(rng.permutation(rows), 2) for group, rows in members.items() if len(rows) > 1}
    both = [np.concatenate(pair) for pair in members.values()]
    squares = sum(((cells[rows] - cells[rows].mean(axis=0)) ** 2).sum(axis=0) for rows in both)
    cell_sd = np.sqrt(squares / (sum(map(len, both)) - len(both)))
    parts = []
    for half in (0, 1):
        rows = [pair[half] for pair in members.values()]
        means, num = np.stack([cells[each].mean(axis=0) for each in rows]), np.array([len(each) for each in rows])
        parts.append(GroupMeans(groups=tuple(members), means=means, counts=num, cell_sd=cell_sd))
    return parts[0], parts[1]


def together(first: GroupMeans, second: GroupMeans) -> GroupMeans:
    """Return the pseudobulks of both halves of each group."""
    counts = first.counts + second.counts
    sums = first.means * first.counts[:, None] + second.means * second.counts[:, None]
    return replace(first, means=sums / counts[:, None], counts=counts)


def joined(first: GroupMeans, second: GroupMeans) -> GroupMeans:
    """Return the groups of both."""
    return GroupMeans(
        groups=(*first.groups, *second.groups),
        means=np.concatenate([first.means, second.means]),
        counts=np.concatenate([first.counts, second.counts]),
        cell_sd=first.cell_sd,
    )


@dataclass
class Experiment:
    """A screen before it is measured, and what measuring some of it would show."""

    model: MixedModel
    measured: GroupMeans
    """Half of the held-out cells, seen where a condition is chosen."""
    truth: GroupMeans
    """The other half."""

    def __post_init__(self) -> None:
        """Number the conditions, batches together."""
        keys = [(group.cell_type, group.perturbation) for group in self.truth.groups]
        self.conditions = list(dict.fromkeys(keys))
        self.condition = np.array([self.conditions.index(key) for key in keys])

    def error(self, chosen: np.ndarray) -> float:
        """Return the mean squared error over all conditions once some are measured."""
        seen = np.isin(self.condition, chosen)
        model = replace(self.model, observed=joined(self.model.observed, kept(self.measured, seen)))
        squared = (Conditional(model).predict(self.truth.groups).mean - self.truth.means) ** 2
        return float(
            np.mean(
                [np.average(squared[rows], axis=0, weights=self.truth.counts[rows]).mean() for rows in self._rows()]
            )
        )

    def screen(self) -> Screen:
        """Return the screen as it is predicted."""
        found = Conditional(self.model).predict(self.truth.groups)
        controls = Conditional(self.model).predict([g._replace(perturbation=CONTROL) for g in self.truth.groups]).mean
        tables = (found.mean - controls, found.sd)
        change, sd = (
            np.stack([np.average(t[r], axis=0, weights=self.truth.counts[r]) for r in self._rows()]) for t in tables
        )
        cell_types, perturbations = (np.array(names, dtype=object) for names in zip(*self.conditions, strict=True))
        genes = tuple(map(str, range(change.shape[1])))
        return Screen(
            path=Path("screen"),
            genes=genes,
            cell_types=cell_types,
            perturbations=perturbations,
            change=change,
            sd=sd,
            grammar=Grammar(),
        )

    def _rows(self) -> list[np.ndarray]:
        return [np.flatnonzero(self.condition == number) for number in range(len(self.conditions))]


def by_next(screen: Screen, number: int) -> np.ndarray:
    """Return what the command chooses."""
    table = choose_next(screen, number)
    position = {key: row for row, key in enumerate(zip(screen.cell_types, screen.perturbations, strict=True))}
    return np.array([position[key] for key in zip(table["cell_type"], table["perturbation"], strict=True)])


CHOICES: dict[str, Callable[[Screen, int], np.ndarray]] = {
    "next": by_next,
    "most uncertain": lambda screen, number: np.argsort(-(screen.sd**2).sum(axis=1), kind="stable")[:number],
    "largest effect": lambda screen, number: np.argsort(-(screen.change**2).sum(axis=1), kind="stable")[:number],
}


def experiments(folder: Path, task: dict) -> list[Experiment]:
    """Return the rounds of a task in which there is something to choose."""
    first, second = halves(
        folder / f"{task['file']}.h5ad", task.get("context", "cell_type"), task.get("keep_cell_types")
    )
    found = []
    for round_ in task["rounds"]:
        out = held_out(first.groups, round_)
        model = fit(kept(together(first, second), ~out), control=CONTROL, parse=parse)
        each = Experiment(model=model, measured=kept(first, out), truth=kept(second, out))
        if len(each.conditions) >= 4:
            found.append(each)
    return found


def line(name: str, share: float, rounds: list[Experiment]) -> str:
    """Return a row: what share of the error that measuring everything takes away each choice takes away."""
    gains: dict[str, list[float]] = {choice: [] for choice in CHOICES}
    random, better, sizes = [], [], []
    for each in rounds:
        screen, number = each.screen(), max(1, round(share * len(each.conditions)))
        before, after = each.error(np.array([], dtype=int)), each.error(np.arange(len(each.conditions)))
        rng = np.random.default_rng(0)
        draws = [rng.choice(len(each.conditions), number, replace=False) for _ in range(DRAWS)]
        found = np.array([(before - each.error(drawn)) / (before - after) for drawn in draws])
        random.append(found)
        sizes.append(f"{number} of {len(each.conditions)}")
        for choice, choose in CHOICES.items():
            gains[choice].append((before - each.error(choose(screen, number))) / (before - after))
        better.append(np.mean(found < gains["next"][-1]))
    shown = " | ".join(f"{np.mean(values):.2f}" for values in gains.values())
    drawn = np.mean(random, axis=0)
    low, high = np.quantile(drawn, (0.05, 0.95))
    by_chance = f"{drawn.mean():.2f} ({low:.2f} to {high:.2f})"
    return f"| {name} | {', '.join(sizes)} | {shown} | {by_chance} | {np.mean(better):.2f} |"


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("data", type=Path, help="folder of the h5ad files")
    folder = options.parse_args().data
    print("| task | measured | " + " | ".join(CHOICES) + " | random (5 to 95 %) | draws that next beats |")
    print("| --- |" + " --- |" * (len(CHOICES) + 3))
    for name, task in TASKS.items():
        rounds = experiments(folder, task)
        for share in SHARES if rounds else ():
            print(line(name, share, rounds), flush=True)


if __name__ == "__main__":
    main()
