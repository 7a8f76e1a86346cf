# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Tells whether a file holds the measured cells of a split, so that a second prediction need not write it."""

from pathlib import Path
from typing import TYPE_CHECKING

from bionemo.scale.data.store.format import MANIFEST_NAME
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.infer.settings import InferSettings


if TYPE_CHECKING:
    import h5py


STORE_CONTENT = "store_content"
"""Entry of uns["bionemo_scale"], the store's identity, which its copies share."""


def keeps_measured_cells(settings: InferSettings) -> bool:
    """Return whether the measured cells of the split are there, of an earlier prediction or of an interrupted run."""
    path, store = settings.real_path, settings.store
    if settings.overwrite or path is None or store is None:
        return False
    return _holds_measured_cells(path, store=store, split=settings.split)


def _holds_measured_cells(path: Path, *, store: Path, split: str) -> bool:
    import h5py

    manifest = store / MANIFEST_NAME
    if not path.is_file() or not h5py.is_hdf5(path) or not manifest.is_file():
        return False
    expected = {"split": split, STORE_CONTENT: hash_file(manifest)}
    with h5py.File(path) as file:
        notes = file.get("uns/bionemo_scale")
        return isinstance(notes, h5py.Group) and all(_text(notes, name) == value for name, value in expected.items())


def _text(notes: "h5py.Group", name: str) -> str | None:
    import h5py

    note = notes.get(name)
    is_text = isinstance(note, h5py.Dataset) and note.shape == () and h5py.check_string_dtype(note.dtype)
    return note.asstr()[()] if is_text else None
