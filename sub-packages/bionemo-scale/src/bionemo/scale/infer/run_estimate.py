# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The classical estimate of a run, and how much of the network's mean is added to it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bionemo.scale.estimate.mixed_model import Conditional, Estimate, MixedModel
from bionemo.scale.estimate.storage import ESTIMATE_NAME, load
from bionemo.scale.files.labels.grammar import grammar_of
from bionemo.scale.infer.plans.plan import Plan
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.types import DataCard, Group, InputError


WEIGHT_NAME = "network_weight.json"
"""In a run folder: what was measured of the network on groups that it had not seen."""


@dataclass(frozen=True, kw_only=True)
class RunEstimate:
    """The predicted mean is ``estimate + network_weight * (network - estimate)``."""

    model: MixedModel
    network_weight: float

    def of_plan(self, plan: Plan) -> "PlannedMeans":
        """Return the estimates of a plan's populations."""
        controls = plan.control_groups()
        if controls is not None:
            controls = replace(controls, groups=tuple(self.with_dataset(group) for group in controls.groups))
        return PlannedMeans(self, Conditional(self.model, controls), plan)

    def described(self, agents: Sequence[str], vectors: np.ndarray) -> "RunEstimate":
        """Return an estimate that also knows the vectors of new agents; the same where it was fitted without vectors.

        Args:
            agents: Names.
            vectors: [agents, F], as they stand in the user's file.
        """
        if self.model.features is None:
            return self
        return replace(self, model=replace(self.model, features=self.model.features.with_others(agents, vectors)))

    def with_dataset(self, group: Group) -> Group:
        """Return a group in the data set that has its cell type, where it names none."""
        if group.dataset:
            return group
        known = (other.dataset for other in self.model.observed.groups if other.cell_type == group.cell_type)
        return group._replace(dataset=next(known, ""))


class PlannedMeans:
    """Estimated means of the populations of a plan."""

    def __init__(self, estimate: RunEstimate, conditional: Conditional, plan: Plan):
        self._estimate, self._conditional, self._plan = estimate, conditional, plan

    @property
    def network_weight(self) -> float:
        """Of the network's mean."""
        return self._estimate.network_weight

    def of_sets(self, sets: Sequence[int]) -> np.ndarray:
        """Return [sets, G] float32, the mean of the population that each set is part of; never negative."""
        return np.maximum(self._estimates(sets).mean, 0.0).astype(np.float32)

    def sd_of_sets(self, sets: Sequence[int]) -> np.ndarray:
        """Return [sets, G] float32, the standard deviation of the population's true mean around the estimate."""
        return self._estimates(sets).sd.astype(np.float32)

    def _estimates(self, sets: Sequence[int]) -> Estimate:
        groups = [self._estimate.with_dataset(self._plan.group(number)) for number in sets]
        distinct: list[Group] = list(dict.fromkeys(groups))
        row = {group: number for number, group in enumerate(distinct)}
        estimate, rows = self._conditional.predict(distinct), [row[group] for group in groups]
        return Estimate(mean=estimate.mean[rows], sd=estimate.sd[rows])


def read_estimate(
    checkpoint: Path, config: ScaleModelConfig, card: DataCard, *, network_weight: float | None
) -> RunEstimate | None:
    """Read the estimate of the run that a checkpoint belongs to.

    Args:
        checkpoint: RUN/checkpoints/NAME.
        config: How predictions are generated.
        card: How labels are read.
        network_weight: In place of the measured one.

    Returns:
        ``None`` where the run has none or does not predict means by it: the network predicts alone or with the
        additive share.

    Raises:
        InputError: If a file is damaged, or a weight is asked for where there is no estimate.
    """
    run = checkpoint.parent.parent
    weight = measured_weight(run) if network_weight is None else network_weight
    if weight is None or config.generation != "contrast" or not (run / ESTIMATE_NAME).is_file():
        if network_weight is not None:
            raise InputError(
                f"{run / ESTIMATE_NAME}: --network-weight needs the estimate of a run that generates by contrast, "
                "found none"
            )
        return None
    grammar = grammar_of(card, combination=config.combination_separator, dose=config.dose_separator)
    return RunEstimate(model=load(run / ESTIMATE_NAME, parse=grammar.parse), network_weight=weight)


def measured_weight(run: Path) -> float | None:
    """Return the network's weight as it was measured, ``None`` where it was not.

    Raises:
        InputError: If the file is damaged.
    """
    path = run / WEIGHT_NAME
    if not path.is_file():
        return None
    try:
        weight = float(json.loads(path.read_text(encoding="utf-8"))["network_weight"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as the network's weight: {error}") from error
    if not 0 <= weight <= 1:
        raise InputError(f"{path}: expected a network_weight of 0 to 1, found {weight}")
    return weight
