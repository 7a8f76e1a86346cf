# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""One file of vectors for ``--perturbation-features``, made of one kind or of several, which then count equally.

Vectors of a kind are centred and divided by one number, so that their mean squared length over all names of the source
is 1; columns with units of their own (descriptors of drugs) are first divided by their standard deviation. Coordinates
of a decomposition so keep their weights among one another, and a kind with many columns counts no more than one with
few.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bionemo.scale.data.features.drugs import drugs
from bionemo.scale.data.features.embedding import embedding
from bionemo.scale.data.features.from_store import coexpression
from bionemo.scale.data.features.gene_knowledge import gene_sets, network
from bionemo.scale.data.features.kind import Kind
from bionemo.scale.data.features.settings import FeaturesSettings
from bionemo.scale.data.features.targets import EDIT, Targets, read_targets
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.label_list import settle_labels
from bionemo.scale.files.labels.grammar import agent_names, grammar_of
from bionemo.scale.files.provenance import version_of
from bionemo.scale.files.suggest import some
from bionemo.scale.files.writing.atomic import atomic
from bionemo.scale.options.outputs import new_file
from bionemo.scale.types import InputError


METADATA_KEY = b"bionemo_scale"
"""In the parquet file: what its vectors are made of, as JSON."""
_SHOWN = 50


@dataclass(frozen=True, kw_only=True)
class FeaturesSummary:
    """What was written."""

    out: Path
    num_names: int
    kinds: dict[str, int]
    """Kind to its numbers in each vector."""
    left_out: tuple[str, ...]
    """Names without a vector of every kind."""
    notes: tuple[str, ...]
    """Lines about the sources."""


def make_features(settings: FeaturesSettings) -> FeaturesSummary:
    """Make the vectors and write them, whole or not at all.

    Raises:
        InputError: A source cannot be read, or a name that must have a vector has none.
    """
    inputs = [*settings.sources, *_options(settings)]
    with new_file(settings.out, inputs, overwrite=settings.overwrite):
        return _make(settings)


def _make(settings: FeaturesSettings) -> FeaturesSummary:
    targets = None if settings.targets is None else read_targets(settings.targets)
    kinds = list(_kinds(settings, targets))
    scales = _scales(kinds, settings.like)
    if targets is not None:
        kinds = [targets.in_names_of_the_screen(kind) for kind in kinds]
    wanted = _wanted(settings)
    _refuse_unreadable(kinds, wanted, leave_out=settings.leave_out)
    left_out = _without_vector(kinds, wanted)
    if left_out and not settings.leave_out:
        raise InputError(_missing(kinds, wanted, left_out))
    names = _names(kinds, [name for name in wanted if name not in left_out])
    table = np.concatenate([_scaled(kind, scales[kind.name], names) for kind in kinds], axis=1)
    frame = pd.DataFrame(table.astype(np.float32), index=pd.Index(names, name="name"))
    frame.columns = [column for kind in kinds for column in kind.columns]
    _write(settings.out, frame, _description(kinds, scales, settings, left_out=left_out))
    return FeaturesSummary(
        out=settings.out,
        num_names=len(names),
        kinds={kind.name: len(kind.columns) for kind in kinds},
        left_out=left_out,
        notes=_notes(kinds, names, left_out),
    )


def read_description(path: Path) -> dict[str, Any]:
    """Return what the vectors of a file are made of.

    Raises:
        InputError: It is no file of this command.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
        return dict(json.loads(metadata[METADATA_KEY]))
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a file of bionemo-scale-features, found no such file") from error
    except (KeyError, ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path}: expected a file of bionemo-scale-features, found another") from error


def _options(settings: FeaturesSettings) -> list[Path | None]:
    return [settings.named_store, settings.like, settings.targets]


def _kinds(settings: FeaturesSettings, targets: Targets | None) -> Iterator[Kind]:
    if settings.from_store is not None:
        yield coexpression(settings.from_store, settings.size)
    for path, name in _named(settings.gene_sets, "gene_sets"):
        yield gene_sets(path, settings.size, name=name)
    for path, name in _named(settings.network, "network"):
        yield network(path, settings.size, name=name)
    for path, name in _named(settings.embedding, "embedding"):
        yield embedding(path, name=name)
    for path, suffix in _named(settings.smiles, ""):
        yield from drugs(path, suffix=suffix)
    if targets is not None and targets.edits:
        yield targets.kind_of_edit(_columns_of(EDIT, settings.like))


def _columns_of(kind: str, like: Path | None) -> list[str]:
    """Return the numbers of a kind in an earlier file; none where there is no such file or kind."""
    kinds = [] if like is None else read_description(like)["kinds"]
    return next((entry["columns"] for entry in kinds if entry["kind"] == kind), [])


def _named(paths: Sequence[Path], kind: str) -> Iterator[tuple[Path, str]]:
    """Yield each path with the name of its kind: the kind's own for the first, numbered for others."""
    for number, path in enumerate(paths, start=1):
        yield path, kind if number == 1 else f"{kind}{number}"


def _wanted(settings: FeaturesSettings) -> list[str]:
    """Return the names that must have vectors: agents of the store's perturbations, then those of --names."""
    agents: tuple[str, ...] = ()
    if settings.named_store is not None:
        with Store.open(settings.named_store) as store:
            agents = agent_names(store.card.perturbations, grammar_of(store.card))
    return list(dict.fromkeys([*agents, *settle_labels(settings.names, agents)]))


def _scales(kinds: Sequence[Kind], like: Path | None) -> dict[str, dict[str, list[float]]]:
    """Return for each kind what is subtracted from its vectors, and what they are divided by, [F] each."""
    if like is None:
        return {kind.name: _scale_of(kind) for kind in kinds}
    earlier = {entry["kind"]: entry for entry in read_description(like)["kinds"]}
    if list(earlier) != [kind.name for kind in kinds]:
        raise InputError(
            f"{like}: expected the same kinds in the same order, found {', '.join(earlier)} there and "
            f"{', '.join(kind.name for kind in kinds)} here"
        )
    for kind in kinds:
        entry = earlier[kind.name]
        if entry["columns"] != list(kind.columns):
            raise InputError(f"{like}: expected {kind.name} of the same numbers, found {len(entry['columns'])} there")
        if kind.is_reduced and entry["sha256"] != kind.facts["sha256"]:
            raise InputError(
                f"{like}: expected {kind.name} of the same source, {entry['source']}, found another: the axes of a "
                "decomposition belong to their source"
            )
    return {kind.name: {part: earlier[kind.name][part] for part in ("subtracted", "divided_by")} for kind in kinds}


def _scale_of(kind: Kind) -> dict[str, list[float]]:
    if not len(kind.values):
        raise InputError(f"{kind.facts['source']}: expected names with vectors, found none")
    with np.errstate(over="ignore", invalid="ignore"):
        mean = kind.values.mean(axis=0)
        centred = kind.values - mean
        if kind.by_column:
            sd = centred.std(axis=0)
            divisor = np.where(sd > 0, sd, 1.0) * np.sqrt(max(int((sd > 0).sum()), 1))
        else:
            divisor = np.full(mean.size, np.sqrt((centred**2).sum(axis=1).mean()))
    if not (np.isfinite(mean).all() and np.isfinite(divisor).all()):
        raise InputError(
            f"{kind.facts['source']}: expected numbers whose squares can be added up, found {kind.name} up to "
            f"{np.abs(kind.values).max():.3g}"
        )
    if not (centred / np.maximum(divisor, np.finfo(float).tiny)).any():
        raise InputError(f"{kind.facts['source']}: expected vectors that differ, found {kind.name} all alike")
    return {"subtracted": mean.tolist(), "divided_by": divisor.tolist()}


def _scaled(kind: Kind, scale: Mapping[str, list[float]], names: Sequence[str]) -> np.ndarray:
    row = {name: number for number, name in enumerate(kind.names)}
    values = kind.values[[row[name] for name in names]]
    return (values - np.array(scale["subtracted"])) / np.array(scale["divided_by"])


def _refuse_unreadable(kinds: Sequence[Kind], wanted: Sequence[str], *, leave_out: bool) -> None:
    """Refuse what a source has but cannot describe, where it is asked for or nobody says what is asked for."""
    lines = {name: line for kind in kinds for name, line in kind.refused.items() if name in wanted or not wanted}
    if lines and not leave_out:
        raise InputError(f"{'; '.join(lines.values())}; --leave-out leaves them out")


def _without_vector(kinds: Sequence[Kind], wanted: Sequence[str]) -> tuple[str, ...]:
    known = [set(kind.names) for kind in kinds]
    return tuple(name for name in wanted if not all(name in names for names in known))


def _missing(kinds: Sequence[Kind], wanted: Sequence[str], left_out: Sequence[str]) -> str:
    lacking = []
    for kind in kinds:
        known = set(kind.names)
        without = [name for name in left_out if name not in known]
        if without:
            lacking.append(f"{kind.name} has none for {some(without, most=_SHOWN)}{_in_another_case(without, known)}")
    return (
        f"expected a vector of every kind for {len(wanted)} names, found none for {len(left_out)}: "
        f"{'; '.join(lacking)}; --leave-out leaves them out"
    )


def _in_another_case(names: Sequence[str], known: Collection[str]) -> str:
    lowered = {name.lower(): name for name in known}
    matches = [(name, lowered[name.lower()]) for name in names if name.lower() in lowered]
    return (
        f" ({len(matches)} of them in another case: {matches[0][0]!r} is {matches[0][1]!r} there)" if matches else ""
    )


def _names(kinds: Sequence[Kind], wanted: Sequence[str]) -> list[str]:
    """Return the rows of the file: what is asked for, then every other name that all kinds describe."""
    shared = set(kinds[0].names).intersection(*(kind.names for kind in kinds[1:]))
    names = list(dict.fromkeys([*wanted, *(name for name in kinds[0].names if name in shared)]))
    if not names:
        raise InputError(f"expected names that every kind describes, found none in {_listed(kinds)}")
    return names


def _notes(kinds: Sequence[Kind], names: Sequence[str], left_out: Sequence[str]) -> tuple[str, ...]:
    notes = [line for kind in kinds for line in kind.notes]
    written = set(names)
    unshared = {name for kind in kinds for name in kind.names} - written - set(left_out)
    if unshared:
        notes.append(f"left out: {len(unshared)} names that only some of {_listed(kinds)} describe")
    unreadable = {name: line for kind in kinds for name, line in kind.refused.items()}
    notes += [f"left out: {line}" for line in unreadable.values()]
    other = [name for name in left_out if name not in unreadable]
    if other:
        notes.append(f"left out: no vector for {some(other, most=_SHOWN)}")
    return tuple(notes)


def _listed(kinds: Sequence[Kind]) -> str:
    return ", ".join(kind.name for kind in kinds)


def _description(
    kinds: Sequence[Kind],
    scales: Mapping[str, Mapping[str, list[float]]],
    settings: FeaturesSettings,
    *,
    left_out: Sequence[str],
) -> dict[str, Any]:
    return {
        "kinds": [
            {"kind": kind.name, **kind.facts, "columns": list(kind.columns), **scales[kind.name]} for kind in kinds
        ],
        "settings": settings.as_dict(),
        "left_out": list(left_out),
        "version": version_of("bionemo-scale"),
    }


def _write(path: Path, frame: pd.DataFrame, description: Mapping[str, Any]) -> None:
    table = pa.Table.from_pandas(frame)
    metadata = {**(table.schema.metadata or {}), METADATA_KEY: json.dumps(description).encode()}
    with atomic(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary)
