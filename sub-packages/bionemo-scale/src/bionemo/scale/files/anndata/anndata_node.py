# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A group or an array of an AnnData file; shape, type and size are checked before values are read."""

import contextlib
import errno
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
import zarr
from anndata.io import read_elem

from bionemo.scale.files.anndata.remote import must_be_whole, stored_bytes
from bionemo.scale.files.provenance import size_of
from bionemo.scale.files.url import PathOrUrl, Url
from bionemo.scale.types import InputError


Folder: TypeAlias = h5py.Group | zarr.Group
Array: TypeAlias = h5py.Dataset | zarr.Array

NUMBERS = "biuf"
"""Kinds of numpy types that hold real numbers."""
TEXT = "OSUT"
_KINDS = {"iu": "integers", NUMBERS: "real numbers", TEXT + "iu": "text or integers"}
_LARGE = 1 << 28
"""Bytes from which on a declared size is compared with what is stored."""
_MOST_COMPRESSED = 1000
"""Declared bytes for each stored one: gzip reaches 1,032, and a file holds more than its best compressed array."""
_BYTES_OF_A_TEXT = 64
_ZSTD = 32015
_DEEPEST = 8
# What a disk or a network says of itself: the file may be whole.
_OF_THE_SYSTEM = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True, kw_only=True)
class Node:
    """A group or an array."""

    file: PathOrUrl
    name: str
    """Path within the file, for messages too."""
    raw: Folder | Array | np.ndarray
    """Of a file, or an array of an object in memory."""

    @property
    def is_folder(self) -> bool:
        """Whether it is a group."""
        return isinstance(self.raw, h5py.Group | zarr.Group)

    def refusal(self, text: str) -> InputError:
        """Return what to raise, with the file's and the node's name before ``text``."""
        return InputError(f"{self.file}: {self.name} {text}")

    def members(self) -> list[str]:
        """Return the names in a group."""
        with self.reading():
            return list(self.raw) if self.is_folder else []

    def get(self, name: str) -> "Node | None":
        """Return a direct member of a group; ``None`` where there is none.

        Raises:
            InputError: It is a link to something that is not there.
        """
        if name not in self.members():
            return None
        inside = f"{self.name}/{name}".lstrip("/")
        if isinstance(self.file, Url) and (link := _of_external_link(self.raw, name)):
            raise InputError(f"{self.file}: {inside} {link}; expected a file that holds all it needs, at a URL")
        try:
            node = Node(file=self.file, name=inside, raw=self.raw[name])
        except Exception as error:
            raise InputError(
                f"{self.file}: {inside} {_of_link(self.raw, name) or f'cannot be opened: {error}'}"
            ) from error
        # zarr takes whatever stands there.
        shape = () if node.is_folder else node.raw.shape or ()
        if not all(isinstance(length, int) and length >= 0 for length in shape):
            raise node.refusal(f"must have a shape of whole numbers, found {shape}")
        return node

    def member(self, name: str) -> "Node":
        """Return a direct member of a group that must be there.

        Raises:
            InputError: The group has no such member.
        """
        node = self.get(name)
        if node is None:
            raise self.refusal(f"must have {name!r}, found none")
        return node

    def find(self, name: str) -> "Node | None":
        """Return a node below this one, by its path; ``None`` where there is none."""
        node: Node | None = self
        for part in name.split("/"):
            node = None if node is None else node.get(part)
        return node

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        with self.reading():
            value = getattr(self.raw, "attrs", {}).get(name, default)
            return value.decode() if isinstance(value, bytes) else value

    @property
    def encoding(self) -> str:
        """How AnnData calls what this is; empty where it does not say."""
        return str(self.attribute("encoding-type", ""))

    def array(self, *, length: int | None = None, kinds: str = NUMBERS + TEXT, num_axes: int = 1) -> Array:
        """Return the array that this must be.

        Args:
            length: Entries along the first axis; ``None`` allows any.
            kinds: Kinds of numpy types that it may have.
            num_axes: Of its shape.

        Raises:
            InputError: It is something else, or declares what its file cannot hold or this machine cannot unpack.
        """
        if self.is_folder:
            raise self.refusal(f"must be an array, found a group{self._called()}")
        if self.raw.shape is None or len(self.raw.shape) != num_axes:
            raise self.refusal(f"must have {num_axes} axes, found the shape {self.raw.shape}")
        if self.raw.dtype.kind not in kinds or (self.raw.dtype.itemsize > 8 and self.raw.dtype.kind == "f"):
            expected = _KINDS.get(kinds, "text or real numbers")
            raise self.refusal(f"must hold {expected}, found the type {self.raw.dtype}")
        if length is not None and self.raw.shape[0] != length:
            raise self.refusal(f"must have {length} entries, found {self.raw.shape[0]}")
        self._check_declared_size()
        _check_filters(self)
        if self.raw.dtype.kind in TEXT:
            self.check_stored()
        return self.raw

    def check_stored(self) -> None:
        """Refuse an array of which pieces are not in the file, where libraries would read zeros or empty text.

        Not for dense matrices and codes, of which writers may leave out pieces that are all zero. Of a zarr store at a
        URL it is checked while the pieces are read.
        """
        if isinstance(self.file, Url) and isinstance(self.raw, zarr.Array):
            must_be_whole(self.raw)
            return
        with self.reading():
            found, expected = _num_pieces(self.raw)
            if self.file.is_dir():
                # zarr counts links that lead nowhere, and reads zeros there.
                pieces = (self.file / self.name).rglob("*")
                found -= sum(path.is_symlink() and not path.exists() for path in pieces)
        if found < expected:
            raise self.refusal(f"must be whole, found {found} of its {expected} pieces in the file")

    def check_memory(self, num_bytes: int | None = None) -> None:
        """Refuse what does not fit in memory.

        Args:
            num_bytes: Needed; ``None`` is for the whole array.
        """
        if num_bytes is None:
            is_text = self.raw.dtype.kind in TEXT
            num_bytes = self.raw.size * max(self.raw.dtype.itemsize, _BYTES_OF_A_TEXT if is_text else 0)
        free = _free_memory()
        if num_bytes > free:
            raise self.refusal(
                f"has the shape {tuple(self.raw.shape)} and needs {num_bytes / 2**30:.3g} GiB of memory, found "
                f"{free / 2**30:.3g} GiB free"
            )

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Turn what libraries raise for damaged files into one line.

        Raises:
            InputError: The file is damaged or of an unknown format.
            OSError: The disk or the network failed.
        """
        try:
            yield
        except InputError:
            raise
        except OSError as error:
            if error.errno in _OF_THE_SYSTEM:
                raise OSError(error.errno, f"{self.file}: {self.name} cannot be read: {error}") from error
            raise self.refusal(f"cannot be read: {_first_line(error)}") from error
        except Exception as error:
            # HDF5, zarr, numcodecs and pandas have some ten types of exceptions for damaged files.
            raise self.refusal(f"cannot be read: {_first_line(error)}") from error

    def read(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """Return the entries ``first`` to ``last`` of an array that :meth:`array` has checked."""
        with self.reading():
            return self.raw[first:last]

    def element(self) -> Any:
        """Return what AnnData makes of this node and of all below it.

        Raises:
            InputError: Something in it cannot be read, or is too large.
        """
        self._check_below(0)
        with self.reading():
            return read_elem(self.raw)

    def _check_below(self, depth: int) -> None:
        if depth > _DEEPEST:
            raise self.refusal(f"is nested more than {_DEEPEST} groups deep; a link to a group around it?")
        if not self.is_folder:
            if self.raw.shape:
                self._check_declared_size()
                self.check_memory()
            _check_filters(self)
        for name in self.members():
            self.member(name)._check_below(depth + 1)

    def _check_declared_size(self) -> None:
        declared = self.raw.size * self.raw.dtype.itemsize
        if declared <= _LARGE:
            return
        stored = self._stored_bytes()
        if declared > _MOST_COMPRESSED * stored:
            raise self.refusal(
                f"declares the shape {tuple(self.raw.shape)}, {declared} bytes, in a file of {stored} bytes; expected "
                "its values in the file"
            )

    def _stored_bytes(self) -> int:
        """Return the bytes of what holds the array: of the file, or of about this array alone at a URL."""
        if isinstance(self.file, Url):
            return stored_bytes(self.file, self.raw)
        # What is behind an external link is in another file.
        return size_of(Path(self.raw.file.filename) if isinstance(self.raw, h5py.Dataset) else self.file)

    def _called(self) -> str:
        return f" of the encoding {self.encoding!r}" if self.encoding else ""


def _num_pieces(array: Array) -> tuple[int, int]:
    """Return how many chunks of an array are in the file, and how many it has; one without chunks is one piece."""
    if isinstance(array, zarr.Array):
        return array.nchunks_initialized, array.nchunks
    if array.chunks is None:
        # The pieces of a virtual one are in other files.
        return int(array.is_virtual or array.id.get_storage_size() > 0), int(array.size > 0)
    steps = [-(-length // step) for length, step in zip(array.shape, array.chunks, strict=True)]
    return array.id.get_num_chunks(), int(np.prod(steps))


def _of_external_link(folder: Folder, name: str) -> str | None:
    link = folder.get(name, getlink=True) if isinstance(folder, h5py.Group) else None
    return f"is a link to {link.path} in the file {link.filename}" if isinstance(link, h5py.ExternalLink) else None


def _of_link(folder: Folder, name: str) -> str | None:
    if external := _of_external_link(folder, name):
        return f"{external}, which cannot be opened"
    link = folder.get(name, getlink=True) if isinstance(folder, h5py.Group) else None
    return f"is a link to {link.path}, which leads nowhere" if isinstance(link, h5py.SoftLink) else None


def _check_filters(node: Node) -> None:
    """Refuse an array that HDF5 cannot unpack here, and name what is missing."""
    if not isinstance(node.raw, h5py.Dataset):
        return
    if isinstance(node.file, Url) and (node.raw.is_virtual or node.raw.external):
        raise node.refusal("has its values in other files; expected a file that holds all it needs, at a URL")
    plan = node.raw.id.get_create_plist()
    for number in range(plan.get_nfilters()):
        code, _, _, name = plan.get_filter(number)
        if h5py.h5z.filter_avail(code):
            continue
        with contextlib.suppress(ImportError):
            # Importing it adds its filters to HDF5.
            importlib.import_module("hdf5plugin")
        if not h5py.h5z.filter_avail(code):
            called = name.decode(errors="replace") or ("zstd" if code == _ZSTD else "unknown")
            raise node.refusal(
                f"is compressed by the HDF5 filter {code} ({called}), which is not installed; install the package "
                "hdf5plugin, or write the file with compression='gzip'"
            )


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines and lines[0] else type(error).__name__


def _free_memory() -> int:
    """Return the bytes that this process may still take, of the machine's and of its control group's."""
    free = 1 << 62
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        free = min(free, limit - used)
    return max(free, 0)
