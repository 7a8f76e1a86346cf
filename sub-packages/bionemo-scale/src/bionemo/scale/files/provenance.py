# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a result was made of: hashes and sizes of files, versions of packages."""

import hashlib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from bionemo.scale.files.url import PathOrUrl, Url


def hash_file(path: PathOrUrl) -> str:
    """Return the sha256 of a file in hexadecimal; of a folder, that of the names and hashes of its files.

    That of a URL is of its metadata and of the sizes and version tags of its files (:meth:`Url.sha256`).
    """
    if isinstance(path, Url):
        return path.sha256()
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = "".join(f"{hash_file(file)}  {file.relative_to(path)}\n" for file in files)
        return hashlib.sha256(lines.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(path: PathOrUrl) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    if isinstance(path, Url):
        return path.num_bytes()
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def version_stamp(path: PathOrUrl) -> tuple[int | str, ...]:
    """Return what changes when a file does: its size and time; of a URL the hash of :func:`hash_file`."""
    if isinstance(path, Url):
        return (path.sha256(),)
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def stamp_of(path: Path) -> tuple[int, int, int]:
    """Return an identity that changes when another file takes the same name."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def version_of(package: str) -> str:
    """Return the version of an installed package, or ``not installed``."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of each package by its name."""
    return {package: version_of(package) for package in packages}
