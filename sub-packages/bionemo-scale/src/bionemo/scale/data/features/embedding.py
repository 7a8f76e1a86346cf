# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Vectors that a user has: protein or text embeddings in the files that they come in."""

import zipfile
from pathlib import Path

import h5py
import numpy as np

from bionemo.scale.data.features.kind import Kind, numbered, unique_names
from bionemo.scale.data.labels.agents import read_table
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.types import InputError


_LAYOUTS = "one array of numbers for each name, or one table [names, F] beside one list of names"


def embedding(path: Path, *, name: str = "embedding") -> Kind:
    """Return the vectors of a file as they are.

    Args:
        path: .csv, .tsv or .parquet as for ``--perturbation-features``; .h5, .hdf5 or .npz with one array of numbers
            for each name, or with one table [names, F] beside one list of names.
        name: Of the kind.

    Raises:
        InputError: It is no such file, a name is there twice, or a value is not a finite number.
    """
    readers = {".h5": _read_h5, ".hdf5": _read_h5, ".npz": _read_npz, **dict.fromkeys(_TABLES, _read_table)}
    if path.suffix not in readers:
        raise InputError(f"{path}: expected one of {', '.join(readers)}")
    if not path.is_file():
        raise InputError(f"{path}: expected a file of vectors, found no such file")
    names, values = readers[path.suffix](path)
    if not values.size or not np.isfinite(values).all():
        found = "none" if not values.size else f"{int((~np.isfinite(values)).sum())} that are not finite"
        raise InputError(f"{path}: expected vectors of finite numbers, found {found}")
    return Kind(
        name=name,
        names=unique_names(path, names),
        values=values,
        columns=numbered(name, values.shape[1]),
        facts={"definition": "vectors as they are in the file", "source": str(path), "sha256": hash_file(path)},
        notes=(f"{name}: {len(names)} names, {values.shape[1]} numbers each",),
    )


_TABLES = (".csv", ".tsv", ".parquet")


def _read_table(path: Path) -> tuple[list[str], np.ndarray]:
    table = read_table(path)
    try:
        return [str(name) for name in table.index], table.to_numpy(dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: expected numbers beside the names, found {error}") from error


def _read_h5(path: Path) -> tuple[list[str], np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path, "r") as file:
            for key, item in file.items():
                if isinstance(item, h5py.Dataset):
                    is_text = h5py.check_string_dtype(item.dtype) is not None
                    arrays[key] = np.asarray(item.asstr()[()] if is_text else item[()])
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as HDF5: {str(error).splitlines()[0]}") from error
    return _laid_out(path, arrays)


def _read_npz(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return _laid_out(path, {key: file[key] for key in file.files})
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as .npz without pickles: {str(error).splitlines()[0]}") from error


def _laid_out(path: Path, arrays: dict[str, np.ndarray]) -> tuple[list[str], np.ndarray]:
    numbers = {key: array for key, array in arrays.items() if array.dtype.kind in "fiu"}
    texts = {key: array for key, array in arrays.items() if array.dtype.kind in "USO" and array.ndim == 1}
    tables = [array for array in numbers.values() if array.ndim == 2]
    if len(tables) == 1 and len(texts) == 1 and len(numbers) == 1:
        (names,) = texts.values()
        if len(names) != len(tables[0]):
            raise InputError(f"{path}: expected a name for each of {len(tables[0])} rows, found {len(names)} names")
        return [name.decode() if isinstance(name, bytes) else str(name) for name in names], tables[0].astype(float)
    vectors = {key: array.ravel() for key, array in numbers.items() if array.ndim and array.size == max(array.shape)}
    sizes = {len(vector) for vector in vectors.values()}
    if not vectors or len(vectors) < len(arrays) or len(sizes) > 1:
        shapes = ", ".join(f"{key} {array.shape}" for key, array in list(arrays.items())[:3]) or "no array"
        raise InputError(f"{path}: expected {_LAYOUTS}, found {shapes}")
    return list(vectors), np.stack(list(vectors.values())).astype(np.float64)
