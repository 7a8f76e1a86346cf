# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Files of measured cells: that of a split, which need not be written again, and that of --measured."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bionemo.scale.data.store.format import MANIFEST_NAME
from bionemo.scale.files.names import file_name
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.files.writing.atomic import remove_leftovers
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


def unsettled_path(measured: Path) -> Path:
    """Return the hidden name that the file of --measured has until its prediction is whole.

    It is written first: what cannot be read or written is found before hours of prediction. Under its own name it
    would keep the same command from continuing.
    """
    return measured.with_name(f".{file_name(measured.name)}.unsettled")


def settle(measured: Path, out: Path) -> None:
    """Give measured cells their name if their prediction is whole, and delete those of one that is not.

    Args:
        measured: File of --measured.
        out: File of the prediction; newer than the measured cells, it was made after them.
    """
    unsettled = unsettled_path(measured)
    remove_leftovers(unsettled)
    if not unsettled.exists():
        return
    if out.exists() and out.stat().st_mtime_ns >= unsettled.stat().st_mtime_ns:
        os.replace(unsettled, measured)
    else:
        unsettled.unlink()


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
