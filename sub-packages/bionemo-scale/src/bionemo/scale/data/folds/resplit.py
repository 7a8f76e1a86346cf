# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The cells of a store under another split, without a second copy: files are hard links, the manifest is new.

A split is in the manifest and in ``split.json`` alone. Cells lie in the order of their labels, whichever split they
have.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from bionemo.scale.data.labels.split import BatchCondition, Condition, ResolvedSplit, condition_of
from bionemo.scale.data.prepare.merge import link_file
from bionemo.scale.data.prepare.preprocess import check_groups
from bionemo.scale.data.store.format import MANIFEST_NAME, SPLIT_NAME
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.data.store.manifest import read_manifest
from bionemo.scale.files.writing.atomic import atomic, remove_leftovers, write_text


def resplit(store: Path, out: Path, split: ResolvedSplit) -> None:
    """Make a store of the same cells and genes with another split.

    Args:
        store: The store, which may have a split of its own.
        out: The store to make; it appears when it is whole.
        split: Of every condition, or every group, of the store.

    Raises:
        InputError: The store cannot be used, or a condition would be in two splits.
        OSError: It cannot be written.
    """
    manifest = read_manifest(store)
    groups = _with_split(manifest.groups, split)
    check_groups(groups, by_batch=split.is_by_batch)
    card = replace(manifest.card, split_sha256=split.sha256)
    changed = replace(manifest, card=card, groups=groups, split=split.summary())
    # Of processes that were killed; out has one writer.
    remove_leftovers(out)
    with atomic(out) as folder:
        folder.mkdir(parents=True)
        for entry in manifest.files:
            link_file(store, entry, folder / entry.name)
        write_text(folder / SPLIT_NAME, split.to_json())
        write_text(folder / MANIFEST_NAME, changed.to_json())


def _with_split(groups: GroupTable, split: ResolvedSplit) -> GroupTable:
    labels = [groups.label(index) for index in range(len(groups))]
    keys = [condition_of(label, by_batch=split.is_by_batch) for label in labels]
    return replace(groups, split=np.array([_part(split, key) for key in keys]))


def _part(split: ResolvedSplit, key: Condition | BatchCondition) -> str:
    part = split.assignments[key]
    assert part is not None, "a fold excludes nothing"
    return part.value
