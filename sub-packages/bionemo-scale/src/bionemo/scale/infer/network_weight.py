# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How much the network's mean is worth beside the classical estimate, measured on groups that neither has seen.

With e the estimate, n the network's mean and y the measured mean of a (context, perturbation) that was held out, the
weight that predicts best in squared error over all of them and all genes is

    w = sum (n - e)(y - e) / sum (n - e)^2,    kept between 0 and 1.

The sampling error of y is in neither e nor n, so that it does not bias w.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bionemo.scale.data.store.reader import Store
from bionemo.scale.infer.parts import cut
from bionemo.scale.infer.plan import SplitPlan
from bionemo.scale.infer.predict import predict_part
from bionemo.scale.infer.run_estimate import RunEstimate, read_estimate
from bionemo.scale.infer.trained_model import LoadedModel, load_model
from bionemo.scale.megatron.layout import model_parallel
from bionemo.scale.types import Group, InputError, Split


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was found."""

    network_weight: float
    num_pairs: int
    """(Context, perturbation) pairs that were held out."""
    error_of_estimate: float
    """Mean squared error over pairs and genes."""
    error_of_network: float
    error_of_both: float
    """With the weight."""


def measure(checkpoint: Path, store_path: Path, *, blind: bool) -> Measured:
    """Measure the weight on the validation groups of a store.

    Args:
        checkpoint: Run folder or checkpoint.
        store_path: The run's store.
        blind: Whether the run was kept from a part of the training groups, which take the validation groups' place.

    Raises:
        InputError: There are no such groups, or the run has no estimate.
    """
    with model_parallel(), Store.open(store_path, blind=blind) as store:
        loaded = load_model(checkpoint, additive_share=0.0)
        estimate = read_estimate(loaded.path, loaded.model.config, loaded.card, network_weight=0.0)
        if estimate is None:
            raise InputError(f"{checkpoint}: expected a run with an estimate, found none")
        plan = SplitPlan(store, Split.VAL, set_size=loaded.model.config.set_size, seed=0)
        chosen = store.groups.perturbed_in(Split.VAL)
        truth = store.pseudobulks(chosen)
        network = _network_means(loaded, plan, truth.groups)
        return _weigh(_by_pair(truth.groups, truth.counts, (truth.means, network, _estimated(estimate, truth.groups))))


def _network_means(loaded: LoadedModel, plan: SplitPlan, groups: tuple[Group, ...]) -> np.ndarray:
    """Return [groups, G] the network's mean of each group."""
    row = {group: number for number, group in enumerate(groups)}
    sums, counts = np.zeros((len(groups), len(loaded.card.genes))), np.zeros(len(groups))
    for part in cut(plan.sizes, plan.population):
        cells = predict_part(loaded, plan, part)
        for number, first, size in zip(part.sets.tolist(), part.first_rows, part.sizes, strict=True):
            group = row[plan.group(number)]
            sums[group] += cells[first : first + size].sum(axis=0, dtype=np.float64)
            counts[group] += size
    return sums / np.maximum(counts, 1)[:, None]


def _estimated(estimate: RunEstimate, groups: tuple[Group, ...]) -> np.ndarray:
    return np.maximum(estimate.model.predict(groups).mean, 0.0)


def _by_pair(groups: tuple[Group, ...], counts: np.ndarray, tables: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return [tables, pairs, G] means over the batches of each (context, perturbation), by their numbers of cells."""
    pairs: dict[tuple[str, str, str], list[int]] = {}
    for row, group in enumerate(groups):
        pairs.setdefault((group.dataset, group.cell_type, group.perturbation), []).append(row)
    return np.array(
        [[np.average(table[rows], axis=0, weights=counts[rows]) for rows in pairs.values()] for table in tables]
    )


def _weigh(means: np.ndarray) -> Measured:
    truth, network, estimate = means
    difference = network - estimate
    size = float((difference**2).sum())
    weight = float(np.clip((difference * (truth - estimate)).sum() / size, 0.0, 1.0)) if size > 0 else 0.0

    def error(predicted: np.ndarray) -> float:
        return float(((predicted - truth) ** 2).mean())

    return Measured(
        network_weight=weight,
        num_pairs=truth.shape[0],
        error_of_estimate=error(estimate),
        error_of_network=error(network),
        error_of_both=error(estimate + weight * difference),
    )
