# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which cells are for training, validation and test: STATE's TOML files, resolved against the data.

A split assigns each condition (dataset, cell type, perturbation) as a whole. Sections of the file:

    [training]                      dataset = "train": its conditions are training data unless held out below
    [zeroshot]                      "dataset.cell type" = "train", "val" or "test": every perturbation of it
    [fewshot."dataset.cell type"]   val = [...], test = [...], excluded = [...]: those perturbations; the others are
                                    training data. Excluded ones are left out of the store
    [controls]                      "dataset.cell type" = "val" or "test": control cells of a cell type that [zeroshot]
                                    holds out are not for training either; predictions start from them

Names are split at the first dot, or where the data set's name ends if it has dots itself. A dataset that is not in
[training] contributes only the cell types named below it. Other control cells of every cell type in use are training
data, and controls are matched in every split. Unlike STATE, unknown names and a perturbation in two splits are errors,
and validation never falls back to test.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from bionemo.scale.files.label_list import check_label
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.files.suggest import suggest
from bionemo.scale.files.text import parse_toml, read_json, read_text
from bionemo.scale.types import Group, InputError, Split


SECTIONS = ("datasets", "training", "zeroshot", "fewshot", "controls")
EXCLUDED = "excluded"
"""What a split file and ``split.json`` call conditions that are neither trained on nor scored."""
_REPORTED_NAMES = 5


class Context(NamedTuple):
    """Where perturbations are applied."""

    dataset: str
    cell_type: str


class Condition(NamedTuple):
    """What a split assigns as a whole."""

    dataset: str
    cell_type: str
    perturbation: str


class BatchCondition(NamedTuple):
    """What a split by batches assigns; covariates are all together, as in a :class:`Condition`."""

    dataset: str
    cell_type: str
    perturbation: str
    batch: str


def condition_of(group: Group, *, by_batch: bool) -> Condition | BatchCondition:
    """Return what a split assigns of a group."""
    return BatchCondition(*group[:4]) if by_batch else Condition(*group[:3])


@dataclass(frozen=True, kw_only=True)
class SplitSpec:
    """A split file as written, names not yet looked up."""

    source: str
    """File name, for messages."""
    training: tuple[str, ...]
    zeroshot: Mapping[Context, Split]
    fewshot: Mapping[Context, Mapping[str, Split | None]]
    """``None`` is excluded."""
    controls: Mapping[Context, Split] = field(default_factory=dict)
    """Contexts whose control cells are not training data."""

    def with_names_of(self, datasets: Collection[str], contexts: Collection[Context] = ()) -> "SplitSpec":
        """Return the same sections, their names cut where the data say that a data set's name ends.

        Args:
            datasets: Names of the data sets.
            contexts: Data sets with their cell types, as far as they are known: a name that is one of them is that
                one.
        """

        def cut(context: Context) -> Context:
            whole = ".".join(context)
            same = sorted(known for known in contexts if ".".join(known) == whole)
            if same:
                return context if context in same else same[0]
            longest = max(
                (name for name in datasets if whole.startswith(f"{name}.")), key=len, default=context.dataset
            )
            return Context(longest, whole[len(longest) + 1 :])

        return replace(
            self,
            zeroshot={cut(context): split for context, split in self.zeroshot.items()},
            fewshot={cut(context): held_out for context, held_out in self.fewshot.items()},
            controls={cut(context): split for context, split in self.controls.items()},
        )

    def spelled(self, grammar: Grammar) -> "SplitSpec":
        """Return the split with each perturbation in the spelling of stores: "B+A" is "A+B".

        Raises:
            InputError: One perturbation is in two splits under two spellings, or a label cannot be read.
        """
        return replace(
            self,
            fewshot={
                context: _spell(held_out, grammar, f'{self.source}: [fewshot."{".".join(context)}"]')
                for context, held_out in self.fewshot.items()
            },
        )


@dataclass(frozen=True, kw_only=True)
class ResolvedSplit:
    """The split of every condition of the data."""

    control: str
    assignments: Mapping[Any, Split | None]
    """Of each :class:`Condition`, or of each :class:`BatchCondition` where batches of one condition are in different
    splits. ``None`` is excluded: neither trained on nor scored."""
    num_cells: Mapping[Any, int]
    absent: tuple[Condition, ...]
    """Held-out conditions that the file names but that have no cells; the perturbation exists elsewhere."""
    unknown: tuple[str, ...] = ()
    """What is wrong with the first names that the data does not have, where that is not refused."""

    @property
    def is_by_batch(self) -> bool:
        """Whether batches of one condition may be in different splits."""
        return isinstance(next(iter(self.assignments), None), BatchCondition)

    @property
    def sha256(self) -> str:
        """Hash of the assignments; counts and file names do not enter."""
        return _hash_assignments(
            [[*condition, split or EXCLUDED] for condition, split in sorted(self.assignments.items())]
        )

    def count_conditions(self, split: Split | None) -> int:
        """Return the number of perturbed conditions of a split."""
        return sum(self._is_in(condition, split) for condition in self.assignments)

    def count_cells(self, split: Split | None) -> int:
        """Return the number of perturbed cells of a split."""
        return sum(self.num_cells[condition] for condition in self.assignments if self._is_in(condition, split))

    def summary(self) -> dict[str, Any]:
        """Return hash and counts, for the manifest."""
        counts = {
            name: {"conditions": self.count_conditions(split), "cells": self.count_cells(split)}
            for name, split in [*((split.value, split) for split in Split), ("excluded", None)]
        }
        controls = sum(
            self.num_cells[condition]
            for condition, split in self.assignments.items()
            if condition.perturbation == self.control and split is not None
        )
        by_batch = {"by_batch": True} if self.is_by_batch else {}
        return {
            "sha256": self.sha256,
            "counts": counts,
            "control_cells": controls,
            "absent": len(self.absent),
            **by_batch,
        }

    def to_json(self) -> str:
        """Return every condition with its split and number of cells, for ``split.json``."""
        fields = {
            **self.summary(),
            "control": self.control,
            "absent": [list(condition) for condition in self.absent],
            "columns": [*(BatchCondition if self.is_by_batch else Condition)._fields, "split", "cells"],
        }
        rows = [
            json.dumps([*condition, split or EXCLUDED, self.num_cells[condition]])
            for condition, split in sorted(self.assignments.items())
        ]
        body = json.dumps(fields, indent=1)[:-2]
        return body + ',\n "conditions": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n"

    def _is_in(self, condition: Condition | BatchCondition, split: Split | None) -> bool:
        return condition.perturbation != self.control and self.assignments[condition] == split


def read_split(path: Path) -> SplitSpec:
    """Read a split file and check its form.

    Raises:
        InputError: No such file, no TOML, an unknown section, a value that is no split, a perturbation in two splits.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such split file")
    return parse_split(read_text(path), source=str(path))


def parse_split(text: str, *, source: str = "split") -> SplitSpec:
    """Parse the text of a split file; see :func:`read_split`.

    Args:
        text: TOML.
        source: File name, for messages.
    """
    return split_from_fields(parse_toml(text, source=source), source=source)


def split_from_fields(fields: Mapping[str, Any], *, source: str) -> SplitSpec:
    """Check the sections of a split file; see :func:`read_split`."""
    for name, section in fields.items():
        if name not in SECTIONS:
            raise InputError(f"{source}: unknown section [{name}]; {suggest(name, SECTIONS)}")
        if not isinstance(section, dict):
            raise InputError(f"{source}: expected a section [{name}], found {name} = {section!r}")
    for dataset, value in fields.get("training", {}).items():
        if value != Split.TRAIN:
            raise InputError(f'{source}: [training] {dataset} must be "train", found {value!r}')
    zeroshot = {
        _context(name, source, "zeroshot"): _to_split(value, f'{source}: [zeroshot] "{name}"')
        for name, value in fields.get("zeroshot", {}).items()
    }
    fewshot = {
        _context(name, source, "fewshot"): _held_out(section, f'{source}: [fewshot."{name}"]')
        for name, section in fields.get("fewshot", {}).items()
    }
    for context in zeroshot.keys() & fewshot.keys():
        raise InputError(f"{source}: {'.'.join(context)!r} is in both [zeroshot] and [fewshot]; keep one")
    return SplitSpec(
        source=source,
        training=tuple(fields.get("training", {})),
        zeroshot=zeroshot,
        fewshot=fewshot,
        controls=_controls(fields.get("controls", {}), zeroshot, source),
    )


def resolve_split(
    spec: SplitSpec | None, num_cells: Mapping[Condition, int], *, control: str, allow_unknown_names: bool = False
) -> ResolvedSplit:
    """Assign every condition of the data to a split.

    Args:
        spec: The split file; ``None`` makes everything training data.
        num_cells: Cells of every condition there is, controls included.
        control: Perturbation label of control cells.
        allow_unknown_names: Names that the data does not have are reported and not refused.

    Raises:
        InputError: A name that the data does not have.
    """
    unknown: tuple[str, ...] = ()
    if spec is None:
        assignments: dict[Condition, Split | None] = dict.fromkeys(num_cells, Split.TRAIN)
        absent: tuple[Condition, ...] = ()
    else:
        contexts = {Context(condition.dataset, condition.cell_type) for condition in num_cells}
        spec = spec.with_names_of({context.dataset for context in contexts}, contexts)
        # Looking for what else was meant takes a while; a few names tell enough.
        unknown = tuple(islice(_unknown_names(spec, num_cells, control), _REPORTED_NAMES))
        if unknown and not allow_unknown_names:
            raise InputError(f"{spec.source}: {unknown[0]}")
        assignments = {condition: _assign(spec, condition, control) for condition in num_cells}
        absent = tuple(
            Condition(*context, perturbation)
            for context, held_out in spec.fewshot.items()
            for perturbation in held_out
            if Condition(*context, perturbation) not in num_cells
        )
    return ResolvedSplit(control=control, assignments=assignments, num_cells=num_cells, absent=absent, unknown=unknown)


def check_trains(split: ResolvedSplit, source: object) -> None:
    """Check that there is something to train on.

    Args:
        split: The resolved split.
        source: What it was made of, for messages; ``None`` is no split file.

    Raises:
        InputError: The training split has no perturbed cells.
    """
    if not split.count_cells(Split.TRAIN):
        where = source.source if isinstance(source, SplitSpec) else source or "the data"
        raise InputError(f"{where}: expected perturbed cells to train on, found none in the training split")


def read_split_counts(path: Path) -> dict[Condition, int]:
    """Return the cells of every condition of a resolved split, as :meth:`ResolvedSplit.to_json` wrote it."""
    counts: Counter[Condition] = Counter()
    for row in _read_conditions(path):
        counts[Condition(*row[:3])] += int(row[-1])
    return dict(counts)


def read_split_hash(path: Path) -> str:
    """Return the sha256 of the assignments in a resolved split, computed anew."""
    return _hash_assignments([row[:-1] for row in _read_conditions(path)])


def _read_conditions(path: Path) -> list[list[Any]]:
    """Return rows of data set, cell type, perturbation, perhaps batch, split and number of cells."""
    fields = read_json(path)
    rows = fields.get("conditions") if isinstance(fields, dict) else None
    kinds = [[*[str] * labels, int] for labels in (len(Condition._fields) + 1, len(BatchCondition._fields) + 1)]
    if not isinstance(rows, list) or any(
        not isinstance(row, list) or list(map(type, row)) not in kinds for row in rows
    ):
        raise InputError(f"{path}: expected a resolved split, found no table of conditions in it")
    return rows


def check_leakage(labels: Iterable[tuple[Group, Split]], *, control: str, by_batch: bool = False) -> None:
    """Check that no perturbed condition is in two splits.

    Args:
        labels: Groups as they are stored, with their splits.
        control: Perturbation label of control cells, which every split shares.
        by_batch: Whether batches of one condition may be in different splits.

    Raises:
        InputError: One is.
    """
    seen: dict[Condition | BatchCondition, Split] = {}
    for group, split in labels:
        if group.perturbation == control:
            continue
        condition = condition_of(group, by_batch=by_batch)
        if seen.setdefault(condition, split) != split:
            raise InputError(f"leakage: {tuple(condition)} is in both {seen[condition].value} and {split.value}")


def _hash_assignments(rows: list[list[str]]) -> str:
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


def _assign(spec: SplitSpec, condition: Condition, control: str) -> Split | None:
    context = Context(condition.dataset, condition.cell_type)
    named = context in spec.zeroshot or context in spec.fewshot
    if condition.perturbation == control:
        if context in spec.controls:
            return spec.controls[context]
        return Split.TRAIN if named or condition.dataset in spec.training else None
    if context in spec.zeroshot:
        return spec.zeroshot[context]
    if context in spec.fewshot:
        return spec.fewshot[context].get(condition.perturbation, Split.TRAIN)
    return Split.TRAIN if condition.dataset in spec.training else None


def _unknown_names(spec: SplitSpec, conditions: Collection[Condition], control: str) -> Iterator[str]:
    """Yield what is wrong with every name that the data does not have."""
    contexts = {Context(condition.dataset, condition.cell_type) for condition in conditions}
    datasets = {context.dataset for context in contexts}
    named = dict.fromkeys([*spec.zeroshot, *spec.fewshot])
    for dataset in dict.fromkeys([*spec.training, *(context.dataset for context in named)]):
        if dataset not in datasets:
            yield f"unknown dataset {dataset!r}; {suggest(dataset, datasets)}"
    for context in named:
        if context not in contexts and context.dataset in datasets:
            cell_types = [other.cell_type for other in contexts if other.dataset == context.dataset]
            yield (
                f"dataset {context.dataset!r} has no cell type {context.cell_type!r}; "
                f"{suggest(context.cell_type, cell_types)}"
            )
    known: dict[str, set[str]] = {}
    for condition in conditions:
        known.setdefault(condition.dataset, set()).add(condition.perturbation)
    for context, held_out in spec.fewshot.items():
        there = known.get(context.dataset, set()) - {control}
        for perturbation in held_out:
            if there and perturbation not in there:
                reason = "is the control, which every split shares" if perturbation == control else "is unknown"
                yield (
                    f'[fewshot."{".".join(context)}"] perturbation {perturbation!r} {reason}; '
                    f"{suggest(perturbation, there)}"
                )


def _context(name: str, source: str, section: str) -> Context:
    dataset, dot, cell_type = (part.strip() for part in name.partition("."))
    if not (dataset and dot and cell_type):
        raise InputError(f'{source}: [{section}] expected "dataset.cell type", found {name!r}')
    return Context(dataset, cell_type)


def _to_split(value: Any, where: str) -> Split:
    try:
        return Split(value)
    except ValueError:
        raise InputError(f"{where} must be train, val or test, found {value!r}") from None


def _controls(section: Mapping[str, Any], zeroshot: Mapping[Context, Split], source: str) -> dict[Context, Split]:
    """Read whose control cells are held out; training on any cell of a context would match it with them."""
    controls: dict[Context, Split] = {}
    for name, value in section.items():
        context = _context(name, source, "controls")
        controls[context] = _to_split(value, f'{source}: [controls] "{name}"')
        held_out = zeroshot.get(context, Split.TRAIN)
        if held_out == Split.TRAIN or controls[context] != held_out:
            expected = "no such line" if held_out == Split.TRAIN else f'"{held_out}", as in [zeroshot]'
            raise InputError(
                f'{source}: [controls] "{name}": expected {expected}, found {value!r}; controls are held out with all '
                "perturbations of their cell type"
            )
    return controls


def _held_out(section: Any, where: str) -> dict[str, Split | None]:
    if not isinstance(section, dict):
        raise InputError(f"{where} expected val = [...] and test = [...], found {section!r}")
    held_out: dict[str, Split | None] = {}
    for name, perturbations in section.items():
        split = None if name == EXCLUDED else _to_split(name, f"{where} key {name!r}")
        if not _are_strings(perturbations):
            raise InputError(f"{where} {name} must be a list of perturbation names, found {perturbations!r}")
        for label in perturbations:
            perturbation = check_label(label, what=f"{where} {name}")
            if held_out.setdefault(perturbation, split) != split:
                raise InputError(
                    f"{where} perturbation {perturbation!r} is in both {held_out[perturbation] or EXCLUDED} and "
                    f"{split or EXCLUDED}; keep one"
                )
    return held_out


def _spell(held_out: Mapping[str, Split | None], grammar: Grammar, where: str) -> dict[str, Split | None]:
    spelled: dict[str, tuple[Split | None, str]] = {}
    for label, split in held_out.items():
        other, first = spelled.setdefault(grammar.canonical(label), (split, label))
        if other != split:
            raise InputError(
                f"{where} perturbation {label!r} is in {split or EXCLUDED}, and as {first!r} in {other or EXCLUDED}; "
                "keep one"
            )
    return {label: split for label, (split, _) in spelled.items()}


def _are_strings(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(item, str) for item in value)
