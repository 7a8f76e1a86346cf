# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Input that is read where it lies: a path of this machine, or the URL of a file system that fsspec knows."""

import contextlib
import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PosixPath
from typing import Any, NoReturn, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from bionemo.scale.types import InputError


_SCHEME = re.compile(r"^([\w+.-]+::)*[A-Za-z][\w+.-]*://")
WITHOUT_LISTS = ("http", "https")
"""Schemes of servers that need not list their files."""
ZARR_METADATA = (".zmetadata", "zarr.json", ".zgroup")
"""Files of which a zarr store has one at its root; the first two may describe the whole store."""
_MOST_PIECES = 1 << 22
_AT_ONCE = 32
_SECONDS = 60
"""After which a silent server counts as unreachable."""


class Url(PosixPath):
    """The URL of an AnnData file or zarr store to read.

    It passes through the package as a path does. What would look for it on this machine's disk is refused.

    Args:
        text: Scheme, host or bucket, and path, such as ``s3://bucket/screen.zarr``.

    Raises:
        InputError: It has a part that results, which record it, must not show, or chains several schemes.
    """

    def __new__(cls, text: str) -> "Url":
        """Make a path that keeps its text; a path alone would drop one of two slashes."""
        found = super().__new__(cls, text)
        found._text = text.rstrip("/")
        _check(found._text)
        return found

    _text: str

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Url({self._text!r})"

    def __reduce__(self) -> Any:
        return Url, (self._text,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __fspath__(self) -> NoReturn:
        raise InputError(f"expected a path on this machine, found the URL {self._text}")

    def __truediv__(self, name: str | os.PathLike[str]) -> "Url":
        return Url(f"{self._text}/{name}")

    @property
    def scheme(self) -> str:
        """What fsspec calls its file system."""
        return self._text.partition(":")[0].lower()

    def resolve(self, strict: bool = False) -> "Url":
        """Return itself: a URL is whole."""
        return self

    def absolute(self) -> "Url":
        """Return itself."""
        return self

    def exists(self, **_: Any) -> bool:
        """Return whether there is a file or a zarr store.

        Raises:
            InputError: The server cannot be reached.
        """
        return self.is_dir() or self.is_file()

    def is_dir(self) -> bool:
        """Return whether there is a zarr store; other folders are nothing that is read."""
        return any(self.read(name) is not None for name in ZARR_METADATA)

    def is_file(self) -> bool:
        """Return whether there is a file."""
        with self.reached():
            try:
                return self.files.info(self.location())["type"] == "file"
            except FileNotFoundError:
                return False

    @property
    def files(self) -> Any:
        """Its file system, of fsspec."""
        import fsspec

        with self.reached():
            return fsspec.filesystem(self.scheme, **self.options)

    @property
    def options(self) -> dict[str, Any]:
        """What its file system is made with, beside fsspec's own configuration."""
        if self.scheme not in WITHOUT_LISTS:
            return {}
        import aiohttp

        limits = aiohttp.ClientTimeout(total=None, sock_connect=_SECONDS, sock_read=_SECONDS)
        return {"client_kwargs": {"timeout": limits, "trust_env": True}}

    def quoted(self, key: str) -> str:
        """Return a path below it as its file system takes it: names may have characters that split a URL."""
        return quote(key) if self.scheme in WITHOUT_LISTS else key

    def location(self, key: str = "") -> str:
        """Return what the file system calls this, or a file below it.

        Args:
            key: Path below it.
        """
        own = self._text if self.scheme in WITHOUT_LISTS else self.files._strip_protocol(self._text)
        return f"{own}/{self.quoted(key)}" if key else own

    def read(self, key: str) -> bytes | None:
        """Return a small file below it; ``None`` where there is none.

        Raises:
            InputError: It cannot be reached.
        """
        with self.reached():
            try:
                return self.files.cat_file(self.location(key))
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def listed(self) -> dict[str, str]:
        """Return the size and the version tag of each file of a zarr store, or of the file itself under "".

        A server that lists no files is asked for each that the store's metadata names.

        Raises:
            InputError: It cannot be reached.
        """
        with self.reached():
            if not self.is_dir():
                return {"": _facts(self.files.info(self.location()))}
            if self.scheme not in WITHOUT_LISTS:
                root = self.location()
                found = self.files.find(root, detail=True, refresh=True)
                return {path[len(root) :].lstrip("/"): _facts(info) for path, info in found.items()}
            return self._facts_of(sorted(self._named_keys()))

    def sha256(self) -> str:
        """Return a hash that changes with the files: of the metadata's bytes, and of sizes and version tags.

        The expression is not read for it.
        """
        metadata = [self.read(name) or b"" for name in ZARR_METADATA]
        text = json.dumps(sorted(self.listed().items())).encode()
        return hashlib.sha256(b"\0".join([*metadata, text])).hexdigest()

    def num_bytes(self) -> int:
        """Return the bytes of all files."""
        return sum(map(_size, self.listed().values()))

    def sizes(self, keys: Sequence[str]) -> list[int]:
        """Return the bytes of some files below it; 0 for those that are not there."""
        with self.reached():
            return [_size(facts) for facts in self._facts_of(keys).values()]

    def _facts_of(self, keys: Sequence[str]) -> dict[str, str]:
        def of(key: str) -> str:
            try:
                return _facts(files.info(self.location(key)))
            except FileNotFoundError:
                return _ABSENT

        files = self.files
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(zip(keys, pool.map(of, keys), strict=True))

    def _named_keys(self) -> set[str]:
        keys: set[str] = set()
        for name in ZARR_METADATA[:2]:
            metadata = self.read(name)
            for folder, array in _arrays(json.loads(metadata)) if metadata else ():
                if _num_pieces(array) > _MOST_PIECES:
                    raise InputError(f"{self}: {folder} declares the shape {array['shape']}; expected fewer pieces")
                keys |= {f"{folder}/{piece}" for piece in _pieces(array)}
        return keys

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Turn what file systems raise into one line.

        Raises:
            InputError: The server cannot be reached, does not answer as it should, or a package is missing.
        """
        try:
            yield
        except InputError:
            raise
        except ImportError as error:
            if error.name == "fsspec":
                raise
            raise InputError(
                f"{self}: {_first_line(error)}; pip install 'bionemo-scale[remote]' has what the usual URLs need"
            ) from error
        except Exception as error:
            raise InputError(f"{self}: cannot be read: {_first_line(error)}") from error


PathOrUrl: TypeAlias = Path | Url
"""Type of options that take either."""
_ABSENT = "-"


def path_or_url(given: str | os.PathLike[str]) -> PathOrUrl:
    """Return the path or the URL that is meant; ``file://`` is a path.

    Raises:
        InputError: It is a URL that cannot be used.
    """
    if isinstance(given, Path) or not is_url(given):
        return given if isinstance(given, Url) else Path(given)
    url = Url(str(given))
    return Path(unquote(urlsplit(str(url)).path)) if url.scheme == "file" else url


def is_url(given: str | os.PathLike[str]) -> bool:
    """Return whether this is a URL and no path."""
    return isinstance(given, Url) or (isinstance(given, str) and _SCHEME.match(given) is not None)


def _check(text: str) -> None:
    if "::" in text.partition("://")[0]:
        raise InputError(f"{text}: expected a URL of one scheme, found several")
    parts = urlsplit(text)
    if parts.password or (parts.username and parts.scheme in WITHOUT_LISTS):
        shown = text.replace(f"{parts.username or ''}{':' * bool(parts.password)}{parts.password or ''}@", "", 1)
        raise InputError(
            f"{shown}: expected a URL without user and password, which results would record; fsspec reads them from "
            "its configuration"
        )
    if parts.scheme in WITHOUT_LISTS and (parts.query or parts.fragment):
        raise InputError(
            f"{text.partition('?')[0].partition('#')[0]}: expected a URL without ? and #: results would record what "
            "follows, and a zarr store has files below its URL"
        )


def _facts(info: dict[str, Any]) -> str:
    """Return the size of a file, and what its server says of its version."""
    tags = (info.get(name) for name in ("ETag", "etag", "md5Hash", "Content-MD5", "mtime", "LastModified", "created"))
    return f"{int(info.get('size') or 0)} {next((str(tag) for tag in tags if tag), '')}".strip()


def _size(facts: str) -> int:
    return 0 if facts == _ABSENT else int(facts.partition(" ")[0])


def _arrays(metadata: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield path and declaration of each array in the metadata of a whole store, of zarr format 2 or 3."""
    for name, node in metadata.get("metadata", {}).items():
        if name.endswith("/.zarray"):
            yield name.removesuffix("/.zarray"), node
    for name, node in (metadata.get("consolidated_metadata") or {}).get("metadata", {}).items():
        if node.get("node_type") == "array":
            yield name, node


def _lengths(array: dict[str, Any]) -> list[int]:
    """Return the number of pieces along each axis."""
    steps = array["chunks"] if "chunks" in array else array["chunk_grid"]["configuration"]["chunk_shape"]
    return [-(-length // step) for length, step in zip(array["shape"], steps, strict=True)]


def _num_pieces(array: dict[str, Any]) -> int:
    return math.prod(_lengths(array))


def _pieces(array: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the pieces that an array declares."""
    encoding = array.get("chunk_key_encoding")
    separator = array.get("dimension_separator", ".") if encoding is None else encoding["configuration"]["separator"]
    first = ["c"] if encoding is not None and encoding["name"] == "default" else []
    for rows in itertools.product(*map(range, _lengths(array))):
        yield separator.join([*first, *map(str, rows or [0] * (not first))])


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines and lines[0].strip() else type(error).__name__
