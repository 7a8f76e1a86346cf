# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The classical estimate of a run, and how much of the network's mean is added to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from bionemo.scale.estimate.mixed_model import Conditional, Estimate, MixedModel
from bionemo.scale.estimate.storage import ESTIMATE_NAME, load
from bionemo.scale.files.labels.grammar import grammar_of
from bionemo.scale.files.network_weight import measured_weight
from bionemo.scale.infer.plans.plan import Plan
from bionemo.scale.model.checkpoint import run_folder
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.types import DataCard, Group, GroupMeans, InputError


_KEPT_VALUES = 1 << 25
"""About how many means of genes are kept, 128 MiB."""


@dataclass(frozen=True, kw_only=True)
class RunEstimate:
    """The predicted mean is ``estimate + network_weight * (network - estimate)``."""

    model: MixedModel
    network_weight: float
    measured_weight: float = 0.0
    """The weight that training measured; another one can be chosen for a prediction."""
    interval_scale: float = 1.0
    """How much wider intervals are with the measured weight than the estimate's alone."""

    def of_plan(self, plan: Plan) -> "PlannedMeans":
        """Return the estimates of a plan's populations."""
        controls = plan.control_groups()
        if controls is not None:
            controls = replace(controls, groups=tuple(self.with_dataset(group) for group in controls.groups))
        return PlannedMeans(self, controls, plan)

    def described(self, agents: Sequence[str], vectors: np.ndarray) -> "RunEstimate":
        """Return an estimate that also knows the vectors of new agents; the same where it was fitted without vectors.

        Args:
            agents: Names.
            vectors: [agents, F], as they stand in the user's file.
        """
        if self.model.features is None:
            return self
        return replace(self, model=replace(self.model, features=self.model.features.with_others(agents, vectors)))

    def with_dataset(self, group: Group, given: Sequence[Group] = ()) -> Group:
        """Return a group in the data set that has its cell type, where it names none.

        Args:
            group: Its labels.
            given: Groups beside those that the estimate was fitted to.
        """
        if group.dataset:
            return group
        others = chain(self.model.observed.groups, given)
        known = (other.dataset for other in others if other.cell_type == group.cell_type)
        return group._replace(dataset=next(known, ""))

    def sd(self, predicted: np.ndarray, estimate: Estimate) -> np.ndarray:
        """Return the standard deviation of what is not known of predicted means.

        With s the estimate's, w the weight of the prediction, v the measured weight and k its ``interval_scale``, it
        is s
        at w = 0, and otherwise ``sqrt((k s)^2 + (w - v)^2 (network - estimate)^2)``: at v the error does not depend on
        the network's difference from the estimate, or another weight would have predicted better.

        Args:
            predicted: [n, G] means of what was predicted.
            estimate: Of the same n populations.
        """
        if self.network_weight == 0:
            return estimate.sd
        difference = (predicted - np.maximum(estimate.mean, 0.0)) / self.network_weight
        moved = (self.network_weight - self.measured_weight) * difference
        return np.sqrt((self.interval_scale * estimate.sd) ** 2 + moved**2)


class PlannedMeans:
    """Estimated means of the populations of a plan."""

    def __init__(self, estimate: RunEstimate, controls: GroupMeans | None, plan: Plan):
        self._estimate, self._plan = estimate, plan
        self._given = () if controls is None else controls.groups
        self._conditional = Conditional(estimate.model, controls)
        # A screen comes back to the same populations with every block of control cells.
        self._means: dict[tuple[Group, ...], np.ndarray] = {}

    @property
    def network_weight(self) -> float:
        """Of the network's mean."""
        return self._estimate.network_weight

    def of_sets(self, sets: Sequence[int]) -> np.ndarray:
        """Return [sets, G] float32, the mean of the population that each set is part of; never negative."""
        groups = [self._plan.group(number) for number in sets]
        distinct = {group: row for row, group in enumerate(dict.fromkeys(groups))}
        return self._means_of(tuple(distinct))[[distinct[group] for group in groups]]

    def _means_of(self, groups: tuple[Group, ...]) -> np.ndarray:
        """Return [groups, G] float32; what is found can depend on which groups are asked for together."""
        if groups not in self._means:
            if sum(means.size for means in self._means.values()) > _KEPT_VALUES:
                self._means.clear()
            found = self.of_averages([{group: 1.0} for group in groups]).mean
            self._means[groups] = np.maximum(found, 0.0).astype(np.float32)
        return self._means[groups]

    def of_averages(self, averages: Sequence[Mapping[Group, float]]) -> Estimate:
        """Return the estimates of averages over the plan's groups, with their weights."""
        placed = [
            {self._estimate.with_dataset(group, self._given): weight for group, weight in members.items()}
            for members in averages
        ]
        return self._conditional.predict_averages(placed)

    def sd(self, predicted: np.ndarray, estimate: Estimate) -> np.ndarray:
        """Return the standard deviation of predicted means; see :meth:`RunEstimate.sd`."""
        return self._estimate.sd(predicted, estimate)


def read_estimate(
    checkpoint: Path, config: ScaleModelConfig, card: DataCard, *, network_weight: float | None
) -> RunEstimate | None:
    """Read the estimate of the run that a checkpoint belongs to.

    Args:
        checkpoint: From :func:`bionemo.scale.model.checkpoint.find_checkpoint`.
        config: How predictions are generated.
        card: How labels are read.
        network_weight: In place of the measured one.

    Returns:
        ``None`` where the run has none or does not predict means by it: the network predicts alone or with the
        additive share.

    Raises:
        InputError: If a file is damaged, or a weight is asked for where there is no estimate.
    """
    run = run_folder(checkpoint)
    measured = measured_weight(run)
    weight = network_weight
    if weight is None and measured is not None:
        weight = measured.network_weight
    if weight is None or config.generation != "contrast" or not (run / ESTIMATE_NAME).is_file():
        if network_weight is not None:
            raise InputError(
                f"{run / ESTIMATE_NAME}: --network-weight needs the estimate of a run that generates by contrast, "
                "found none"
            )
        return None
    grammar = grammar_of(card, combination=config.combination_separator, dose=config.dose_separator)
    return RunEstimate(
        model=load(run / ESTIMATE_NAME, parse=grammar.parse),
        network_weight=weight,
        measured_weight=measured.network_weight if measured else 0.0,
        interval_scale=measured.interval_scale if measured else 1.0,
    )
