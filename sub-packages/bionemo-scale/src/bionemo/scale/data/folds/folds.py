# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a cross-validation leaves out in each fold.

A rule names the labels whose values are left out one after the other, or dealt into a number of folds. Only perturbed
cells are left out: controls are training data in every fold, as in every split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bionemo.scale.data.labels.split import BatchCondition, Condition, ResolvedSplit, condition_of
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.files.label_list import settle_labels
from bionemo.scale.files.suggest import suggest
from bionemo.scale.files.text import parse_toml, read_text
from bionemo.scale.types import Group, InputError, Split


Rule = Literal["cell-type", "batch", "cell-type-and-batch", "condition", "perturbation"]
Unit = tuple[str, ...]
"""Values of the labels that a rule names, in the order of :data:`LABELS`."""

LABELS: dict[Rule, tuple[str, ...]] = {
    "cell-type": ("cell_type",),
    "batch": ("dataset", "batch"),
    "cell-type-and-batch": ("dataset", "cell_type", "batch"),
    "condition": ("dataset", "cell_type", "perturbation"),
    "perturbation": ("perturbation",),
}
"""Fields of :class:`~bionemo.scale.types.Group` that together are left out. Batches of two data sets are never the
same."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """What is left out together."""

    name: str
    units: tuple[Unit, ...]


def make_folds(
    groups: GroupTable, rule: Rule, *, num_folds: int | None = None, only: Sequence[str] = (), seed: int = 0
) -> tuple[Fold, ...]:
    """Return the folds of a store.

    Args:
        groups: Of the store; their split makes no difference.
        rule: What is left out.
        num_folds: Deal the values into so many folds, at random; conditions of each cell type are spread over all
            folds. ``None`` leaves out each value alone.
        only: Names of the values that are left out, which may stand with commas between them; the others always train.
            Without any, all are left out.
        seed: Of the dealing.

    Raises:
        InputError: Fewer than two values, more folds than values, or an unknown name.
    """
    units = _units(groups, rule)
    wanted = settle_labels(only, units)
    chosen = _named(units, wanted, rule, source="--only") if wanted else list(units.values())
    if num_folds is None:
        names = {unit: name for name, unit in units.items()}
        return tuple(Fold(name=names[unit], units=(unit,)) for unit in sorted(chosen))
    if num_folds > len(chosen):
        raise InputError(f"--folds must be at most {len(chosen)}, the values to leave out, found {num_folds}")
    return tuple(
        Fold(name=f"fold-{number + 1}", units=dealt) for number, dealt in enumerate(_deal(chosen, num_folds, seed))
    )


def read_folds(path: Path, groups: GroupTable, rule: Rule) -> tuple[Fold, ...]:
    """Return the folds that a file names.

    Args:
        path: TOML, a list of names for each fold: ``"first half" = ["IRF1", "JAK2"]``.
        groups: Of the store.
        rule: What the names are of.

    Raises:
        InputError: No such file, no such names, or a name that is in two folds.
    """
    units, folds, seen = _units(groups, rule), [], dict[Unit, str]()
    for name, members in named_folds(path).items():
        folds.append(Fold(name=name, units=tuple(sorted(_named(units, members, rule, source=f"{path}: {name!r}")))))
        for unit in folds[-1].units:
            if seen.setdefault(unit, name) != name:
                raise InputError(f"{path}: {' / '.join(unit)!r} is in both {seen[unit]!r} and {name!r}; keep one")
    return tuple(folds)


def named_folds(path: Path) -> dict[str, list[str]]:
    """Return the names in a file of folds, before it is known whether there are such.

    Raises:
        InputError: No such file, or something else in it than names.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a file of folds, found none")
    folds = parse_toml(read_text(path), source=str(path))
    for name, members in folds.items():
        if not isinstance(members, list) or not members or not all(isinstance(each, str) for each in members):
            raise InputError(f"{path}: {name!r}: expected a list of what the fold leaves out, found {members!r}")
    if not folds:
        raise InputError(f'{path}: expected folds such as "first" = ["A", "B"], found none')
    return folds


def _named(units: Mapping[str, Unit], names: Sequence[str], rule: Rule, *, source: str) -> list[Unit]:
    for name in names:
        if name not in units:
            raise InputError(f"{source}: no {rule} {name!r}; {suggest(str(name), units)}")
    return [units[name] for name in names]


def fold_split(groups: GroupTable, rule: Rule, fold: Fold) -> ResolvedSplit:
    """Return the split of a fold: what it leaves out is the test split, everything else trains.

    Raises:
        InputError: Nothing is left to train on, or the store has nothing of the fold.
    """
    by_batch = "batch" in LABELS[rule]
    left_out = set(fold.units)
    counts: dict[Condition | BatchCondition, int] = {}
    assignments: dict[Condition | BatchCondition, Split | None] = {}
    for group, size in zip(_labels(groups), groups.num_cells.tolist(), strict=True):
        key = condition_of(group, by_batch=by_batch)
        is_out = group.perturbation != groups.control and _unit(group, rule) in left_out
        assignments[key] = Split.TEST if is_out else Split.TRAIN
        counts[key] = counts.get(key, 0) + size
    split = ResolvedSplit(control=groups.control, assignments=assignments, num_cells=counts, absent=())
    for part, what in ((Split.TEST, "to leave out"), (Split.TRAIN, "to train on")):
        if not split.count_cells(part):
            raise InputError(f"fold {fold.name!r}: expected perturbed cells {what}, found none")
    return split


def _units(groups: GroupTable, rule: Rule) -> dict[str, Unit]:
    """Return the values that perturbed cells have, by name and sorted.

    Raises:
        InputError: There are fewer than two.
    """
    perturbed = (group for group in _labels(groups) if group.perturbation != groups.control)
    several = len(groups.datasets) > 1
    values = sorted({_unit(group, rule) for group in perturbed})
    units = {_name(unit, rule, with_dataset=several): unit for unit in values}
    if len(units) < 2:
        found = ", ".join(repr(name) for name in units) or "none"
        raise InputError(f"--leave-out {rule}: expected at least two values with perturbed cells, found {found}")
    return units


def _name(unit: Unit, rule: Rule, *, with_dataset: bool) -> str:
    """Return what a value is called; its data set is named where there are several."""
    fields = zip(LABELS[rule], unit, strict=True)
    return " / ".join(value for label, value in fields if with_dataset or label != "dataset")


def _unit(group: Group, rule: Rule) -> Unit:
    return tuple(getattr(group, label) for label in LABELS[rule])


def _labels(groups: GroupTable) -> Sequence[Group]:
    return [groups.label(index) for index in range(len(groups))]


def _deal(units: Sequence[Unit], num_folds: int, seed: int) -> list[tuple[Unit, ...]]:
    shuffled = [units[position] for position in np.random.default_rng(seed).permutation(len(units)).tolist()]
    # What shares all labels but the last is dealt one after the other, and so over all folds.
    ordered = sorted(shuffled, key=lambda unit: unit[:-1])
    return [tuple(sorted(ordered[number::num_folds])) for number in range(num_folds)]
