# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Damages an AnnData file where its format is known: one array, group or attribute of it, in HDF5 or in zarr."""

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import zarr
from damage_bytes import damage_below
from damage_text import damage_json
from numcodecs import VLenUTF8


NEEDED = ("X", "obs", "var")
TEXTS = (
    *(
        "",
        " ",
        "nan",
        "None",
        "a\nb",
        "a\x1b[31mb",
        "a\x00b",
        "a\u202eb",
        "x" * 300,
        "a/b",
        "../a",
        "p0+p1",
        "control ",
    ),
    *(b"\xff\xfe", b"\xed\xa0\x80", b"a\x80"),
)
NUMBERS = (float("nan"), float("inf"), -1.0, 1e30, 0.5, -0.0, 2.0**63, 0.0)
TYPES = ("c8", "f2", "f4", "f8", "g", "?", "i1", "u1", "i8", "u8", "S4", "V8", "M8[s]", [("a", "i4"), ("b", "f4")])
HUGE = (10**10, 10**9, 2**40)


def damage_h5ad(path: Path, rng: random.Random) -> str:
    """Change one thing of an h5ad file that commands read, and say what."""
    with h5py.File(path, "r+") as file:
        nodes = _nodes(file)
        return _damage(file, rng.choice(nodes), rng)


def damage_prediction(path: Path, rng: random.Random) -> str:
    """Change one thing of an h5ad file, what is said of the cells and genes included."""
    with h5py.File(path, "r+") as file:
        return _damage(file, rng.choice(_nodes(file, [*file])), rng)


def damage_zarr(path: Path, rng: random.Random) -> str:
    """Change one thing of a zarr store that commands read, and say what."""
    root = zarr.open_group(str(path), mode="r+")
    name = rng.choice(_nodes(root))
    return _damage(root, name, rng)


def _nodes(root: h5py.Group | zarr.Group, places: Sequence[str] = NEEDED) -> list[str]:
    found: list[str] = []
    for place in places:
        found.append(place)
        if isinstance(root[place], h5py.Group | zarr.Group):
            root[place].visit(lambda name, place=place: found.append(f"{place}/{name}"))
    return found


def _damage(root: h5py.Group | zarr.Group, name: str, rng: random.Random) -> str:
    ways: tuple[Callable, ...] = _EITHER
    if isinstance(root[name], h5py.Dataset | zarr.Array):
        ways += _OF_ARRAYS if root[name].shape else _OF_SCALARS
    if isinstance(root, h5py.Group):
        ways += _OF_HDF5
    how = rng.choice(ways)
    return f"{name}: {how(root, name, rng)}"


def _replace(root: h5py.Group | zarr.Group, name: str, values: np.ndarray, **options: object) -> None:
    """Put other values in the place of an array, with its attributes."""
    attributes = dict(root[name].attrs)
    del root[name]
    if isinstance(root, zarr.Group):
        # zarr tells text by the codec of its objects.
        codec = {"object_codec": VLenUTF8()} if values.dtype == object else {}
        made = root.create_dataset(name, data=values, **codec, **options)
        made.attrs.update(attributes)
    else:
        made = root.create_dataset(name, data=values, **options)
        for key, value in attributes.items():
            made.attrs[key] = value


def _text_type(root: h5py.Group | zarr.Group) -> object:
    return h5py.string_dtype() if isinstance(root, h5py.Group) else object


def _delete(root, name: str, rng: random.Random) -> str:
    del root[name]
    return "deleted"


def _to_group(root, name: str, rng: random.Random) -> str:
    del root[name]
    root.create_group(name)
    return "an empty group in its place"


def _to_array(root, name: str, rng: random.Random) -> str:
    del root[name]
    shape = rng.choice(((), (0,), (3,), (2, 2)))
    root.create_dataset(name, data=np.zeros(shape, dtype=np.float32))
    return f"an array of the shape {shape} in its place"


def _change_attribute(root, name: str, rng: random.Random) -> str:
    attributes = root[name].attrs
    key = rng.choice([*attributes] or ["encoding-type"])
    value = rng.choice(
        ("", "csr_matrix", "categorical", "dataframe", "?" * 400, -1, 10**9, 0.5, [1, 2, 3], [10**12, 5])
    )
    if rng.random() < 0.4:
        if key in attributes:
            del attributes[key]
        return f"without the attribute {key}"
    attributes[key] = value
    return f"the attribute {key} is {value!r}"


def _other_length(root, name: str, rng: random.Random) -> str:
    values = _values(root, name)
    length = rng.choice((0, 1, max(len(values) - 1, 0), len(values) + 1, 2 * len(values)))
    _replace(root, name, np.resize(values, (length, *values.shape[1:])).astype(values.dtype))
    return f"{length} entries"


def _other_axes(root, name: str, rng: random.Random) -> str:
    values = _values(root, name)
    changed = values[:, None] if rng.random() < 0.5 else values.reshape(1, -1)
    _replace(root, name, changed)
    return f"the shape {changed.shape}"


def _other_type(root, name: str, rng: random.Random) -> str:
    kind = np.dtype(rng.choice(TYPES))
    values = _values(root, name)
    if isinstance(root, h5py.Group) and kind.kind == "M":
        kind = np.dtype("c16")
    with np.errstate(all="ignore"):
        made = (
            np.ones(values.shape, kind)
            if values.dtype.kind in "OSU" or kind.names or kind.kind == "V"
            else values.astype(kind)
        )
    _replace(root, name, made)
    return f"the type {kind}"


def _other_entry(root, name: str, rng: random.Random) -> str:
    values = _values(root, name)
    if not values.size:
        return _delete(root, name, rng)
    place = rng.randrange(values.size)
    if values.dtype == object:
        return _other_text(root, name, values, place, rng)
    value = rng.choice(NUMBERS) if values.dtype.kind == "f" else rng.choice((-1, -2, 127, 2**31 - 1, 2**15, 5))
    with np.errstate(all="ignore"):
        values.reshape(-1)[place] = np.asarray(value).astype(values.dtype)
    _replace(root, name, values)
    return f"entry {place} is {value}"


def _other_text(root, name: str, values: np.ndarray, place: int, rng: random.Random) -> str:
    text = rng.choice(TEXTS)
    if isinstance(root, zarr.Group) or "\x00" in str(text):
        # Neither keeps such text: zarr no broken one, HDF5 none with zeros.
        text = text.decode("latin1") if isinstance(text, bytes) else text.replace("\x00", "\x7f")
    values.reshape(-1)[place] = text
    _replace(root, name, values, **({"dtype": _text_type(root)} if isinstance(root, h5py.Group) else {}))
    return f"entry {place} is {text!r}"


def _shuffle(root, name: str, rng: random.Random) -> str:
    values = _values(root, name)
    order = list(range(len(values)))
    rng.shuffle(order)
    _replace(root, name, values[order])
    return "in another order"


def _declare(root, name: str, rng: random.Random) -> str:
    """Declare many entries and store none of them."""
    old, length = root[name], rng.choice(HUGE)
    shape, kind, attributes = (length, *old.shape[1:]), old.dtype, dict(old.attrs)
    del root[name]
    if isinstance(root, zarr.Group):
        codec = {"object_codec": VLenUTF8()} if kind.kind == "O" else {}
        made = root.create_dataset(name, shape=shape, dtype=kind, chunks=(1 << 20, *shape[1:]), **codec)
    else:
        made = root.create_dataset(name, shape=shape, dtype=kind, chunks=(1 << 16, *shape[1:]), compression="gzip")
    for key, value in attributes.items():
        made.attrs[key] = value
    return f"declares {length} entries"


def _values(root, name: str) -> np.ndarray:
    return np.array(root[name][()])


def _soft_link(root: h5py.File, name: str, rng: random.Random) -> str:
    target = rng.choice(("/nowhere", f"/{name}", "/", "/obs", "/X"))
    del root[name]
    root[name] = h5py.SoftLink(target)
    return f"a link to {target}"


def _external_link(root: h5py.File, name: str, rng: random.Random) -> str:
    file = rng.choice(("missing.h5", Path(root.filename).name, "/dev/null", "/etc/passwd"))
    del root[name]
    root[name] = h5py.ExternalLink(file, f"/{name}")
    return f"a link to the file {file}"


def _hard_link(root: h5py.File, name: str, rng: random.Random) -> str:
    del root[name]
    root[name] = root["obs"] if rng.random() < 0.5 and "obs" in root else root["/"]
    return "a hard link to a group around it"


def _undecodable_name(root: h5py.File, name: str, rng: random.Random) -> str:
    folder = root[name] if isinstance(root[name], h5py.Group) else root[name].parent
    folder.id.links.create_soft(b"\xff\xfe", b"/nowhere")
    return "beside a member whose name is no text"


_EITHER = (_delete, _to_group, _to_array, _change_attribute, _change_attribute)
_OF_ARRAYS = (
    _other_length,
    _other_axes,
    _other_type,
    _other_type,
    _other_entry,
    _other_entry,
    _other_entry,
    _shuffle,
    _declare,
)
_OF_SCALARS = (_other_type, _other_entry, _other_entry)
_OF_HDF5 = (_soft_link, _external_link, _hard_link, _undecodable_name)


def damage_zarr_files(path: Path, rng: random.Random) -> str:
    """Change one file of a zarr store, as JSON or as bytes."""
    if rng.random() < 0.5:
        return damage_below(path, rng)
    chosen = rng.choice(sorted(file for file in path.rglob(".z*") if file.is_file()))
    return f"{chosen.relative_to(path)}: {damage_json(chosen, rng)}"


def damage_zipped(path: Path, rng: random.Random) -> str:
    """Change one thing of a zipped zarr store, or of its files."""
    folder = path.with_suffix(".folder")
    shutil.unpack_archive(path, folder)
    path.unlink()
    try:
        return rng.choice((damage_zarr, damage_zarr_files))(folder, rng)
    finally:
        shutil.make_archive(str(path.with_suffix("")), "zip", folder)
        shutil.rmtree(folder)


def zero_heap(path: Path, rng: random.Random) -> str:
    """Fill what follows the header of the file's first heap of texts with zeros: HDF5 looks for its end for ever."""
    data = bytearray(path.read_bytes())
    first = data.index(b"GCOL") + 16
    size = rng.choice((16, 512, 2048))
    data[first : first + size] = bytes(size)
    path.unlink()
    path.write_bytes(data)
    return f"{size} bytes of the heap of texts zeroed"
