# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Input that is read in place: a path of this machine, or a URL of a file system that fsspec knows."""

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
HDF5 = b"\x89HDF\r\n\x1a\n"
"""First bytes of an h5ad."""
_ABSENT_ANSWERS = (404, 410)
_DENIED_ANSWERS = (401, 403)
"""What buckets answer for a file that is not there, if the reader may not list them."""
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
        """Return whether there is a zarr store. Other folders cannot be read.

        Raises:
            InputError: The server cannot be reached, or the store's metadata is damaged.
        """
        try:
            return any(self.metadata(name) is not None for name in ZARR_METADATA)
        except InputError:
            # Servers answer differently when they are asked for something below a file.
            if self._first_bytes(len(HDF5)) == HDF5:
                return False
            raise

    def is_file(self) -> bool:
        """Return whether there is a file.

        Raises:
            InputError: The server cannot be reached, or does not let this user read it.
        """
        with self.reached():
            info = self._info(self.files, self.location())
            return info is not None and info["type"] == "file"

    @property
    def files(self) -> Any:
        """Its file system, of fsspec."""
        with self.reached():
            import fsspec

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

    def metadata(self, name: str) -> dict[str, Any] | None:
        """Return a file of metadata, such as those of ``ZARR_METADATA``; ``None`` where there is none.

        A file that the server denies, and a web page in its place, count as none: some servers answer so for every
        file that is not there.

        Raises:
            InputError: It cannot be reached, or is damaged.
        """
        with self.reached():
            try:
                content = self.files.cat_file(self.location(name))
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None
            except Exception as error:
                if _is_answer(error, _ABSENT_ANSWERS + _DENIED_ANSWERS):
                    return None
                raise
        return None if is_page(content) else self._parsed(name, content)

    def _parsed(self, name: str, content: bytes) -> dict[str, Any]:
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self}: {name} must be JSON: {_first_line(error)}") from error
        if not isinstance(found, dict):
            raise InputError(f"{self}: {name} must be a JSON object, found {type(found).__name__}")
        return found

    def _first_bytes(self, length: int) -> bytes:
        """Return the first bytes of a file; none where it cannot be read."""
        with contextlib.suppress(Exception), self.files.open(self.location(), "rb", cache_type="none") as stream:
            return stream.read(length)
        return b""

    def _info(self, files: Any, location: str) -> dict[str, Any] | None:
        """Return what its file system says of a file; ``None`` where there is none."""
        try:
            return files.info(location)
        except FileNotFoundError as error:
            # fsspec says this of a web server, whatever happened.
            reason = error.__cause__ if self.scheme in WITHOUT_LISTS else None
            if reason is None or _is_answer(reason, _ABSENT_ANSWERS):
                return None
            raise reason from None

    def listed(self) -> dict[str, str]:
        """Return the size and the version tag of each file of a zarr store, or of the file itself under "".

        A server that lists no files, or not to this user, is asked for each that the store's metadata names.

        Raises:
            InputError: It cannot be reached.
        """
        with self.reached():
            files = self.files
            # Every file system has this; not every one takes an option to list anew.
            files.invalidate_cache()
            if not self.is_dir():
                return {"": _facts(files.info(self.location()))}
            found = {} if self.scheme in WITHOUT_LISTS else self._found(files)
            if found:
                return found
            keys = self._named_keys()
            if not keys and self.scheme not in WITHOUT_LISTS:
                raise InputError(f"{self}: expected files that may be listed, or .zmetadata that names all arrays")
            return self._facts_of(sorted(keys))

    def _found(self, files: Any) -> dict[str, str]:
        """Return what :meth:`listed` does by listing; nothing where that is not allowed."""
        root = self.location()
        try:
            found = files.find(root, detail=True)
        except Exception as error:
            if not _is_answer(error, _DENIED_ANSWERS):
                raise
            found = {}
        return {path[len(root) :].lstrip("/"): _facts(info) for path, info in found.items()}

    def sha256(self) -> str:
        """Return a hash that changes with the files: of the metadata, and of sizes and version tags.

        The expression is not read for it.
        """
        metadata = [self.metadata(name) for name in ZARR_METADATA]
        return hashlib.sha256(json.dumps([metadata, sorted(self.listed().items())]).encode()).hexdigest()

    def num_bytes(self) -> int:
        """Return the bytes of all files."""
        return sum(map(_size, self.listed().values()))

    def sizes(self, keys: Sequence[str]) -> list[int]:
        """Return the bytes of some files below it; 0 for those that are not there."""
        with self.reached():
            return [_size(facts) for facts in self._facts_of(keys).values()]

    def _facts_of(self, keys: Sequence[str]) -> dict[str, str]:
        def of(location: str) -> str:
            try:
                info = self._info(files, location)
            except Exception as error:
                if not _is_answer(error, _DENIED_ANSWERS):
                    raise
                info = None
            return _ABSENT if info is None else _facts(info)

        files = self.files
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(zip(keys, pool.map(of, map(self.location, keys)), strict=True))

    def _named_keys(self) -> set[str]:
        keys: set[str] = set()
        for name in ZARR_METADATA[:2]:
            for folder, array in _arrays(self.metadata(name) or {}):
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
    try:
        parts = urlsplit(text)
    except ValueError:
        # The user and the password, if there are any, must not show.
        scheme, _, rest = text.partition("?")[0].partition("://")
        shown = f"{scheme}://{rest.rpartition('@')[2]}"
        raise InputError(f"{shown}: expected a URL, found one whose host cannot be read") from None
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


def is_page(content: bytes) -> bool:
    """Return whether this begins as a web page, which some servers send in place of any file."""
    return content.lstrip().startswith(b"<")


def _is_answer(error: BaseException, codes: tuple[int, ...]) -> bool:
    """Return whether a server answered with one of these codes of HTTP, as the file systems of fsspec say it."""
    if isinstance(error, PermissionError) or (isinstance(error, OSError) and str(error).startswith("Forbidden")):
        return 403 in codes
    return any(str(getattr(error, name, "")) in map(str, codes) for name in ("status", "code"))


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines and lines[0].strip() else type(error).__name__
