# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Coverage of the mixed model's 90 % intervals, by which genes count: all, or those that some of the cells express."""

import argparse
import tomllib
from pathlib import Path

import anndata as ad
import numpy as np
from run import CONTROL, HERE, held_out, kept, parse, pseudobulks

from bionemo.scale.eval.baselines.training_means import fit
from bionemo.scale.eval.metrics.spread import MIN_DETECTION
from bionemo.scale.types import Z_OF_INTERVAL, Group


def detection(path: Path, context: str) -> dict[Group, tuple[np.ndarray, int]]:
    """Return of each group the share of its cells that have each gene, and how many cells it has."""
    adata = ad.read_h5ad(path)
    labels = [
        Group("d", *row) for row in adata.obs[[context, "perturbation", "batch"]].astype(str).itertuples(index=False)
    ]
    members: dict[Group, list[int]] = {}
    for row, group in enumerate(labels):
        members.setdefault(group, []).append(row)
    shares = {group: (adata.X[rows] > 0).mean(axis=0) for group, rows in members.items()}
    return {group: (np.asarray(share).ravel(), len(members[group])) for group, share in shares.items()}


def measure(path: Path, task: dict) -> list[str]:
    """Return the cells of a row of the table."""
    context = task.get("context", "cell_type")
    groups, shares = pseudobulks(path, context, task.get("keep_cell_types")), detection(path, context)
    found: dict[str, list[float]] = {"all": [], "controls": [], "observed": []}
    counts: list[int] = []
    for round_ in task["rounds"]:
        out = held_out(groups.groups, round_)
        truth = kept(groups, out)
        predicted = fit(kept(groups, ~out), control=CONTROL, parse=parse).mixed_model.predict(truth.groups)
        sd = np.sqrt(predicted.sd**2 + groups.cell_sd**2 / truth.counts[:, None])
        inside = np.abs(predicted.mean - truth.means) < Z_OF_INTERVAL * sd
        counts += truth.counts.tolist()
        for row, group in enumerate(truth.groups):
            controls = [
                each for at, each in shares.items() if (at.cell_type, at.perturbation) == (group.cell_type, CONTROL)
            ]
            of_controls = np.average([share for share, _ in controls], axis=0, weights=[num for _, num in controls])
            found["all"].append(inside[row].mean())
            for name, share in (("controls", of_controls), ("observed", shares[group][0])):
                found[name].append(inside[row, share >= MIN_DETECTION].mean())
    return [f"{np.median(counts):g}", *(f"{np.mean(values):.3f}" for values in found.values())]


def main() -> None:
    """Print the table of the tasks to choose by."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("data", type=Path, help="folder of the h5ad files")
    folder = options.parse_args().data
    heads = [f"{100 * MIN_DETECTION:g} % of {cells}" for cells in ("controls", "observed cells")]
    print(f"| {' | '.join(['task', 'cells of a group', 'all genes', *heads])} |")
    print("| --- | --- | --- | --- | --- |")
    for name, task in tomllib.loads((HERE / "tasks.toml").read_text()).items():
        if task["role"] == "choose":
            cells = measure((folder / task["file"]).with_suffix(".h5ad"), task)
            print(f"| {' | '.join([name, *cells])} |", flush=True)


if __name__ == "__main__":
    main()
