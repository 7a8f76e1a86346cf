# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Compares a network and a classical estimate on groups that neither has seen."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from bionemo.scale.data.store.blind import Fold
from bionemo.scale.data.store.reader import Store
from bionemo.scale.estimate.mixed_model import Conditional
from bionemo.scale.estimate.weight import PairErrors, squared_scales
from bionemo.scale.eval.metrics.spread import MIN_DETECTION
from bionemo.scale.files.labels.grammar import grammar_of
from bionemo.scale.infer.plans.parts import cut
from bionemo.scale.infer.plans.split_plan import SplitPlan
from bionemo.scale.infer.predict import predict_part
from bionemo.scale.infer.run_estimate import read_estimate
from bionemo.scale.infer.trained_model import LoadedModel, load_model
from bionemo.scale.megatron.layout import model_parallel
from bionemo.scale.types import Group, GroupMeans, InputError, Split


def errors_of_pairs(
    checkpoint: Path, store_path: Path, *, blind: Fold | None, seen: Collection[Group] = ()
) -> tuple[PairErrors, ...]:
    """Predict the validation groups of a store by network and by estimate, and compare with the measured means.

    Args:
        checkpoint: Run folder or checkpoint.
        store_path: The run's store.
        blind: Part of the training groups that the run was kept from, which takes the validation groups' place.
        seen: Groups to leave out, for the network began with weights that had learned from them.

    Raises:
        InputError: There are no such groups, or the run has no estimate.
    """
    with model_parallel(), Store.open(store_path) as store:
        loaded = load_model(checkpoint, additive_share=0.0)
        config = loaded.model.config
        estimate = read_estimate(loaded.path, config, loaded.card, network_weight=0.0)
        if estimate is None:
            raise InputError(f"{checkpoint}: expected a run with an estimate, found none")
        if blind is not None:
            separators = {"combination": config.combination_separator, "dose": config.dose_separator}
            store.hold_out(blind.read_by(grammar_of(loaded.card, **separators)))
        store.leave_out_seen(seen)
        plan = SplitPlan(store, Split.VAL, set_size=config.set_size, seed=0, sets=config.sets)
        chosen = store.groups.perturbed_in(Split.VAL)
        truth = store.pseudobulks(chosen)
        network = _network_means(loaded, plan, truth.groups)
        pairs = _rows_of_pairs(truth.groups)
        conditional = Conditional(estimate.model, plan.control_groups())
        estimated = np.maximum(conditional.predict(truth.groups).mean, 0.0)
        return _errors(
            [(pair[1], pair[2]) for pair in pairs],
            _by_pair(truth.means, truth.counts, pairs),
            _by_pair(network, truth.counts, pairs),
            estimate=_by_pair(estimated, truth.counts, pairs),
            deviations=_deviations(conditional, truth, pairs),
            expressed=_expressed(plan, chosen, list(pairs.values())),
        )


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


def _rows_of_pairs(groups: tuple[Group, ...]) -> dict[tuple[str, str, str], list[int]]:
    """Return the groups of each (dataset, context, perturbation), which differ in their batches."""
    pairs: dict[tuple[str, str, str], list[int]] = {}
    for row, group in enumerate(groups):
        pairs.setdefault((group.dataset, group.context, group.perturbation), []).append(row)
    return pairs


def _by_pair(table: np.ndarray, counts: np.ndarray, pairs: dict[tuple[str, str, str], list[int]]) -> np.ndarray:
    """Return [pairs, G] means over the batches of each pair, by their numbers of cells."""
    return np.array([np.average(table[rows], axis=0, weights=counts[rows]) for rows in pairs.values()])


def _deviations(
    conditional: Conditional, truth: GroupMeans, pairs: dict[tuple[str, str, str], list[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return [pairs, G] standard deviations: of what the estimate does not know, of the sampling of measured cells."""
    rows = list(pairs.values())
    members = [{truth.groups[row]: float(truth.counts[row]) for row in pair} for pair in rows]
    cells = np.array([truth.counts[pair].sum() for pair in rows])
    assert truth.cell_sd is not None, "pseudobulks of a store have the spread of cells"
    return conditional.predict_averages(members).sd, truth.cell_sd / np.sqrt(cells)[:, None]


def _expressed(plan: SplitPlan, groups: np.ndarray, pairs: Sequence[list[int]]) -> np.ndarray:
    """Return [pairs, G] which genes enough controls express, by the evaluator's rule (``coverage_expressed``).

    Controls are those that a pair was predicted from: of its batches, where these have any.

    Args:
        plan: What was predicted.
        groups: Indices of the predicted groups in the store.
        pairs: The groups of each pair, places in ``groups``.
    """
    return np.array([plan.control_detection(groups[pair].tolist()) for pair in pairs]) >= MIN_DETECTION


def _errors(
    labels: Sequence[tuple[str, str]],
    truth: np.ndarray,
    network: np.ndarray,
    *,
    estimate: np.ndarray,
    deviations: tuple[np.ndarray, np.ndarray],
    expressed: np.ndarray,
) -> tuple[PairErrors, ...]:
    """Compare [pairs, G] means; the width of intervals is measured on the expressed genes."""
    sd, sampling = deviations
    missing, difference = truth - estimate, network - estimate
    return tuple(
        PairErrors(
            cell_type=cell_type,
            perturbation=perturbation,
            estimate=float((missing[row] ** 2).mean()),
            cross=float((difference[row] * missing[row]).mean()),
            difference=float((difference[row] ** 2).mean()),
            squared_scales=squared_scales(
                missing[row, shown], difference[row, shown], sd=sd[row, shown], sampling=sampling[row, shown]
            ),
        )
        for row, ((cell_type, perturbation), shown) in enumerate(zip(labels, expressed, strict=True))
    )
