# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A split file that is made by a rule, with its rule, seed and hash in comments."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bionemo.scale.data.folds.distinct import by_distance, profiles_of_files, profiles_of_store
from bionemo.scale.data.folds.hold_out import Parts, Shares, at_random, by_clusters, by_order, clusters_of, untrained
from bionemo.scale.data.folds.split_settings import WHOLE, SplitSettings
from bionemo.scale.data.labels.agents import read_features
from bionemo.scale.data.labels.guides import note_guides_apart
from bionemo.scale.data.labels.split import (
    EXCLUDED,
    Condition,
    Context,
    ResolvedSplit,
    check_leakage,
    check_trains,
    parse_split,
    resolve_split,
)
from bionemo.scale.data.prepare.conversion.convert import InputFile, survey
from bionemo.scale.data.prepare.conversion.layout import check_controls, count_conditions
from bionemo.scale.data.store.manifest import is_store
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.label_list import settle_labels
from bionemo.scale.files.labels.grammar import Grammar, grammar_of
from bionemo.scale.files.suggest import suggest
from bionemo.scale.files.writing.atomic import write_text
from bionemo.scale.options.outputs import new_file
from bionemo.scale.types import Group, InputError, Split


@dataclass(frozen=True, kw_only=True)
class WrittenSplit:
    """A split file, resolved against the data that it was made of."""

    out: Path
    split: ResolvedSplit
    untrained_agents: tuple[str, ...]
    """Agents (genes, drugs) that no training label has, in any cell type."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Conditions:
    """The labels of the data."""

    num_cells: Mapping[Condition, int]
    grammar: Grammar
    control: str
    genes: tuple[str, ...]
    """Of all files together."""

    def perturbations(self, contexts: Sequence[Context]) -> list[str]:
        """Return the perturbations of some contexts, sorted."""
        return sorted(
            {
                condition.perturbation
                for condition in self.num_cells
                if condition.perturbation != self.control and Context(*condition[:2]) in contexts
            }
        )

    def contexts(self) -> list[Context]:
        """Return the contexts that have perturbed cells, sorted."""
        return sorted({Context(*c[:2]) for c in self.num_cells if c.perturbation != self.control})


def make_split(settings: SplitSettings) -> WrittenSplit:
    """Hold out by a rule and write the split file.

    Raises:
        InputError: The data or the features cannot be read, or nothing fits the rule; nothing is written.
    """
    with new_file(settings.out, [*settings.inputs, settings.features], overwrite=settings.overwrite):
        return _make(settings)


def _make(settings: SplitSettings) -> WrittenSplit:
    data = _read(settings)
    contexts = _contexts(settings, data)
    rng = np.random.default_rng(settings.seed)
    shares = Shares(test=settings.share, val=settings.val_share)
    if settings.hold_out in WHOLE:
        parts = _held_out_types(settings, data, contexts, shares=shares, rng=rng)
        body = "\n".join(_whole_contexts(data, parts, hold_controls=settings.hold_controls))
        left: tuple[str, ...] = ()
    else:
        excluded = _excluded(settings, data)
        parts = excluded | _held_out(settings, data, contexts, shares=shares, rng=rng)
        everywhere = data.contexts() if excluded else contexts
        body = "\n".join(_in_contexts(data, everywhere, parts, scored=contexts))
        agents = _agents(data, data.perturbations(data.contexts()))
        left = tuple(untrained(parts, agents)) if not settings.cell_types else ()
    split = _checked(body, settings, data)
    write_text(settings.out, f"{_comments(settings, split, left)}\n{body}\n")
    warnings = note_guides_apart(split, data.grammar, data.genes)
    return WrittenSplit(out=settings.out, split=split, untrained_agents=left, warnings=warnings)


def _read(settings: SplitSettings) -> _Conditions:
    if _is_store(settings):
        with Store.open(settings.inputs[0]) as store:
            groups, counts = store.groups, dict[Condition, int]()
            for index, size in enumerate(groups.num_cells.tolist()):
                condition = Condition(*groups.label(index)[:3])
                counts[condition] = counts.get(condition, 0) + size
            return _Conditions(
                num_cells=counts, grammar=grammar_of(store.card), control=groups.control, genes=store.card.genes
            )
    files = _files(settings)
    found = [survey(file, lambda cells: None) for file in files]
    labels = {file.path: each.perturbations for file, each in zip(files, found, strict=True)}
    check_controls(labels, settings.keys, settings.controls)
    counts = count_conditions([each.groups for each in found])
    genes = tuple(dict.fromkeys(gene for each in found for gene in each.genes.tolist()))
    return _Conditions(num_cells=counts, grammar=settings.grammar, control=settings.controls[0], genes=genes)


def _files(settings: SplitSettings) -> list[InputFile]:
    return [
        InputFile(
            number=number,
            path=path,
            dataset=dataset,
            folder=settings.out.parent,
            matrix="X",
            gene_key=None,
            keys=settings.keys,
            grammar=settings.grammar,
            library_size_key=None,
            target_sum=1.0,
            values=None,
            is_target_stated=False,
            knockdown=None,
        )
        for number, (path, dataset) in enumerate(zip(settings.inputs, settings.dataset_names, strict=True))
    ]


def _is_store(settings: SplitSettings) -> bool:
    return len(settings.inputs) == 1 and is_store(settings.inputs[0])


def _contexts(settings: SplitSettings, data: _Conditions) -> list[Context]:
    contexts = data.contexts()
    known = sorted({context.cell_type for context in contexts})
    asked = settle_labels(settings.cell_types, known)
    for name in asked:
        if name not in known:
            raise InputError(f"--cell-types: no perturbed cells of {name!r}; {suggest(name, known)}")
    return [context for context in contexts if not asked or context.cell_type in asked]


def _agents(data: _Conditions, labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    return {label: tuple(name for name, _ in data.grammar.parse(label)) for label in labels}


def _excluded(settings: SplitSettings, data: _Conditions) -> Parts:
    known = data.perturbations(data.contexts())
    asked = [data.grammar.canonical(name) for name in settle_labels(settings.exclude, known)]
    for name in asked:
        if name not in known:
            raise InputError(f"--exclude: no perturbation {name!r}; {suggest(name, known)}")
    return dict.fromkeys(asked, None)


def _held_out(
    settings: SplitSettings,
    data: _Conditions,
    contexts: Sequence[Context],
    *,
    shares: Shares,
    rng: np.random.Generator,
) -> Parts:
    excluded = _excluded(settings, data)
    names = [name for name in data.perturbations(contexts) if name not in excluded]
    agents = _agents(data, names)
    if settings.hold_out == "random":
        return at_random(names, shares, rng)
    if settings.hold_out == "combinations":
        return by_order(agents, int(settings.seen), shares, rng=rng)
    assert settings.features is not None, "checked by the settings"
    if len(names) < 2:
        raise InputError(f"--hold-out similar: expected at least two perturbations, found {len(names)}")
    described = tuple(dict.fromkeys(name for each in agents.values() for name in each))
    row = {name: number for number, name in enumerate(described)}
    vectors = read_features(settings.features, described)
    summed = np.stack([vectors[[row[name] for name in agents[label]]].sum(axis=0) for label in names])
    count = settings.clusters or round(len(names) ** 0.5)
    clusters = clusters_of(summed.astype(np.float64), count)
    return by_clusters(dict(zip(names, clusters.tolist(), strict=True)), shares, rng)


def _held_out_types(
    settings: SplitSettings,
    data: _Conditions,
    contexts: Sequence[Context],
    *,
    shares: Shares,
    rng: np.random.Generator,
) -> Parts:
    names = sorted({context.cell_type for context in contexts})
    if settings.cell_types:
        others = sorted({context.cell_type for context in data.contexts()} - set(names))
        drawn = at_random(others, Shares(test=0.0, val=shares.val), rng) if shares.val else {}
        return {**dict.fromkeys(names, Split.TEST), **drawn}
    if settings.hold_out == "cell-types":
        return at_random(names, shares, rng)
    if _is_store(settings):
        with Store.open(settings.inputs[0]) as store:
            profiles = profiles_of_store(store)
    else:
        profiles = profiles_of_files(_files(settings))
    for name in names:
        if name not in profiles:
            raise InputError(f"--hold-out {settings.hold_out}: {name!r} has no control cells to compare")
    return by_distance({name: profiles[name] for name in names}, shares)


def _whole_contexts(data: _Conditions, parts: Parts, *, hold_controls: bool) -> Iterator[str]:
    yield from _training(data)
    lines = [
        f'{_quoted(".".join(context))} = "{parts[context.cell_type]}"'
        for context in data.contexts()
        if context.cell_type in parts
    ]
    yield from ("[zeroshot]", *lines)
    if hold_controls:
        yield from ("", "[controls]", *lines)


def _in_contexts(
    data: _Conditions, contexts: Sequence[Context], parts: Parts, *, scored: Sequence[Context]
) -> Iterator[str]:
    yield from _training(data)
    for context in contexts:
        held_out = parts if context in scored else {name: part for name, part in parts.items() if part is None}
        there = [name for name in sorted(held_out) if Condition(*context, name) in data.num_cells]
        if not there:
            continue
        yield f"[fewshot.{_quoted('.'.join(context))}]"
        for part in (Split.VAL, Split.TEST, None):
            names = [_quoted(name) for name in there if parts[name] == part]
            if names:
                yield f"{part or EXCLUDED} = [{', '.join(names)}]"
        yield ""


def _training(data: _Conditions) -> Iterator[str]:
    yield "[training]"
    yield from (f'{_quoted(name)} = "train"' for name in sorted({context.dataset for context in data.contexts()}))
    yield ""


def _quoted(name: str) -> str:
    """Return a name as TOML writes it; strings of JSON are strings of TOML."""
    return json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")


def _checked(body: str, settings: SplitSettings, data: _Conditions) -> ResolvedSplit:
    """Read the text as prepare will, and check that something is trained and nothing twice."""
    spec = parse_split(body, source=str(settings.out)).spelled(data.grammar)
    split = resolve_split(spec, data.num_cells, control=data.control)
    check_trains(split, spec)
    assigned = (
        (Group(condition.dataset, condition.cell_type, condition.perturbation, batch=""), part)
        for condition, part in split.assignments.items()
        if part is not None
    )
    check_leakage(assigned, control=data.control)
    return split


def _comments(settings: SplitSettings, split: ResolvedSplit, left: Sequence[str]) -> str:
    rule = {
        "random": "perturbations at random",
        "similar": f"whole clusters of perturbations with similar vectors ({settings.features})",
        "combinations": f"pairs of which {settings.seen} of 2 agents are trained",
        "cell-types": "cell types",
        "distinct-cell-types": "cell types that differ most by principal components of their mean control expression",
    }[settings.hold_out]
    rule += ", with their control cells" if settings.hold_controls else ""
    where = f", in {', '.join(settings.cell_types)}" if settings.cell_types else ""
    # Cell types that are named are the test part, whatever their share.
    share = "" if settings.hold_out in WHOLE and settings.cell_types else f"share {settings.share:g}, "
    lines = [
        "Written by bionemo-scale-split.",
        f"Held out: {rule}{where}; {share}validation {settings.val_share:g}, seed {settings.seed}.",
        f"Of the data it was made of: sha256 {split.sha256}, {counts_line(split)}.",
    ]
    if left:
        lines.append(f"Agents that no training cell has: {', '.join(left)}.")
    # A name may hold what ends a line.
    return "\n".join("# " + " ".join(line.split()) for line in lines)


def counts_line(split: ResolvedSplit) -> str:
    """Return the conditions and cells of each part."""
    parts = {**{part.value: part for part in Split}, EXCLUDED: None}
    found = {name: (split.count_conditions(part), split.count_cells(part)) for name, part in parts.items()}
    return ", ".join(f"{name} {size} conditions of {cells} cells" for name, (size, cells) in found.items() if size)
