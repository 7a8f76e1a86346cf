# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Several stores become one without touching a cell: files are linked, tables and vocabularies joined."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lmdb
import numpy as np

from bionemo.scale.data.labels.split import (
    Condition,
    ResolvedSplit,
    check_trains,
    read_split,
    read_split_counts,
    resolve_split,
)
from bionemo.scale.data.prepare.conversion.copies import note_copies
from bionemo.scale.data.prepare.conversion.layout import FileGroups, count_conditions, lay_out
from bionemo.scale.data.prepare.conversion.workspace import workspace
from bionemo.scale.data.prepare.preprocess import (
    check_groups,
    check_out,
    check_scale,
    count_fallbacks,
    count_other_covariates,
)
from bionemo.scale.data.store.format import MANIFEST_NAME, SPLIT_NAME, obs_name, shard_name
from bionemo.scale.data.store.manifest import FileEntry, Manifest, read_manifest
from bionemo.scale.data.store.shards import open_shard
from bionemo.scale.files.labels.grammar import grammar_of
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.files.writing.atomic import write_text
from bionemo.scale.types import Group, InputError


@dataclass(frozen=True, kw_only=True)
class MergeSummary:
    """What was made."""

    out: Path
    num_inputs: int
    num_cells: int
    num_groups: int
    num_genes: int
    num_fallback_groups: int
    """Perturbed groups whose controls come from other batches."""
    num_other_covariates: int
    split_sha256: str | None
    warnings: tuple[str, ...] = ()


def merge_stores(
    stores: Sequence[Path],
    out: Path,
    *,
    split: Path | None,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None],
) -> MergeSummary:
    """Join stores of the same genes and scale; their files are hard links where that is possible, copies elsewhere.

    Args:
        stores: Their inputs keep this order.
        out: The store to make.
        split: The split file that all of them were made with; its names are looked up in all of them together.
        overwrite: Replace the store at ``out``.
        progress: Told of the cells of every input.

    Raises:
        InputError: Stores differ in genes, scale or split, or some cells are in two of them.
    """
    check_out(out, overwrite=overwrite, inputs=stores)
    if len(stores) < 2:
        raise InputError(f"expected at least two stores to merge, found {len(stores)}")
    manifests = [read_manifest(store) for store in stores]
    for store, manifest in zip(stores[1:], manifests[1:], strict=True):
        _check_alike(store, manifest, stores[0], first=manifests[0])
    files = [
        part for store, manifest in zip(stores, manifests, strict=True) for part in _groups_by_input(store, manifest)
    ]
    resolved = _resolve(stores, manifests, split, files=files)
    groups = lay_out(files, resolved)
    check_trains(resolved, split)
    check_groups(groups)
    command = {"what": "merge", "stores": [str(store.resolve()) for store in stores], "split": resolved.sha256}
    with workspace(out, command) as folder:
        shards, obs = _link(
            stores, manifests, folder, progress=lambda cells: progress("link", cells, int(groups.num_cells.sum()))
        )
        card = replace(
            manifests[0].card,
            cell_types=groups.cell_types,
            perturbations=groups.perturbations,
            batches=groups.batches,
            covariates=groups.covariates,
            split_sha256=resolved.sha256 if split else None,
        )
        merged = Manifest(
            card=card,
            groups=groups,
            shards=tuple(shards),
            obs=tuple(obs),
            value_dtype=max(np.dtype(manifest.value_dtype) for manifest in manifests).name,
            split=resolved.summary() if split else None,
            inputs=tuple(entry for manifest in manifests for entry in manifest.inputs),
            versions=manifests[0].versions,
        )
        if split:
            write_text(folder / SPLIT_NAME, resolved.to_json())
        write_text(folder / MANIFEST_NAME, merged.to_json())
        warnings = note_copies(folder)
    return MergeSummary(
        out=out,
        num_inputs=len(merged.inputs),
        num_cells=merged.num_cells,
        num_groups=len(groups),
        num_genes=len(card.genes),
        num_fallback_groups=count_fallbacks(groups),
        num_other_covariates=count_other_covariates(groups),
        split_sha256=card.split_sha256,
        warnings=warnings,
    )


def _check_alike(store: Path, manifest: Manifest, first_store: Path, *, first: Manifest) -> None:
    card, expected = manifest.card, first.card
    check_scale(store, card.scale.source, first_store, first_kind=expected.scale.source)
    if card.genes != expected.genes:
        missing = len(set(expected.genes) - set(card.genes))
        raise InputError(
            f"{store}: expected the {len(expected.genes)} genes of {first_store} in their order, found "
            f"{len(card.genes)} genes, {missing} of those missing; prepare both with the same --scanned folders"
        )
    for name in ("scale", "control", "keys", "combination_separator", "dose_separator", "whole_agents"):
        if getattr(card, name) != getattr(expected, name):
            raise InputError(
                f"{store}: expected the {name} of {first_store}, {getattr(expected, name)}, found "
                f"{getattr(card, name)}"
            )


def _groups_by_input(store: Path, manifest: Manifest) -> list[FileGroups]:
    table = manifest.groups
    counts: list[dict[Group, int]] = [{} for _ in manifest.inputs]
    for index in range(len(table)):
        counts[int(table.shard[index])][table.label(index)] = int(table.num_cells[index])
    return [
        FileGroups(path=store / shard_name("perturbed", number), dataset=entry.dataset, counts=part)
        for number, (entry, part) in enumerate(zip(manifest.inputs, counts, strict=True))
    ]


def _resolve(
    stores: Sequence[Path], manifests: Sequence[Manifest], split: Path | None, *, files: Sequence[FileGroups]
) -> ResolvedSplit:
    """Resolve the split over all stores, and check that each was made with it."""
    control = manifests[0].card.control
    if split is None:
        for store, manifest in zip(stores, manifests, strict=True):
            if manifest.split is not None:
                raise InputError(f"{store}: was made with a split; give its file with --split")
        return resolve_split(None, count_conditions(files), control=control)
    counts: dict[Condition, int] = {}
    for store in stores:
        if not (store / SPLIT_NAME).is_file():
            raise InputError(f"{store}: was made without a split; prepare it with --split {split}")
        for condition, number in read_split_counts(store / SPLIT_NAME).items():
            counts[condition] = counts.get(condition, 0) + number
    resolved = resolve_split(read_split(split).spelled(grammar_of(manifests[0].card)), counts, control=control)
    for store, manifest in zip(stores, manifests, strict=True):
        table = manifest.groups
        for index in range(len(table)):
            label = table.label(index)
            if resolved.assignments[Condition(*label[:3])] != table.split[index]:
                raise InputError(
                    f"{store}: {tuple(label[:3])} is in {table.split[index]}, expected "
                    f"{resolved.assignments[Condition(*label[:3])]} by {split}; prepare it again with this split"
                )
    return resolved


def _link(
    stores: Sequence[Path], manifests: Sequence[Manifest], folder: Path, *, progress: Callable[[int], None]
) -> tuple[list[FileEntry], list[FileEntry]]:
    """Put the files of every store into the folder under new numbers."""
    shards: list[FileEntry] = []
    obs: list[FileEntry] = []
    for store, manifest in zip(stores, manifests, strict=True):
        for number, entry in enumerate(manifest.obs):
            input_number = len(obs)
            perturbed, control = manifest.shards[2 * number : 2 * number + 2]
            names = [
                shard_name("perturbed", input_number),
                shard_name("control", input_number),
                obs_name(input_number),
            ]
            renamed = [
                link_file(store, part, folder / name)
                for part, name in zip((perturbed, control, entry), names, strict=True)
            ]
            shards += renamed[:2]
            obs.append(renamed[2])
            progress(entry.num_cells)
    return shards, obs


def link_file(store: Path, entry: FileEntry, target: Path) -> FileEntry:
    """Put a file of a store elsewhere, as a hard link or, where that is not possible, as a copy.

    Raises:
        InputError: It is not there, or not as long as it should be, or names of cells are not as they were written, or
            blocks of cells are in no database. What is in the blocks is checked when they are read.
    """
    source = store / entry.name
    if not source.is_file() or source.stat().st_size != entry.num_bytes:
        raise InputError(
            f"{source}: expected {entry.num_bytes} bytes, found none or another number; verify that store"
        )
    if source.suffix == ".parquet" and hash_file(source) != entry.sha256:
        # Small beside the blocks, which are read later and not here, and where no command but this one would see it.
        raise InputError(f"{source}: expected sha256 {entry.sha256}, found another; verify that store")
    if source.suffix != ".parquet":
        try:
            open_shard(source)
        except lmdb.Error as error:
            raise InputError(f"{source}: damaged shard, {error}; verify that store") from error
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        # Another file system, or one without links.
        shutil.copyfile(source, target)
    return replace(entry, name=target.name)
