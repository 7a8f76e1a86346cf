# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Writes files and folders that appear under their name when they are complete, or not at all."""

import contextlib
import hashlib
import io
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bionemo.scale.files.names import file_name
from bionemo.scale.types import InputError


_MACHINE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
"""Of many that write to one file system, and count processes each for itself."""
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<machine>[0-9a-f]{8})-(?P<process>\d+)\.tmp")
"""What :func:`temporary_name` returns."""


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a hidden name beside ``path``; what the body writes there, file or folder, replaces ``path`` at the end.

    If the body raises, what it wrote is removed and ``path`` stays as it was. A kill leaves the hidden file;
    :func:`remove_leftovers` deletes those of killed processes.

    Raises:
        InputError: There is something else than a file or a folder, such as a device, which would be replaced.
        OSError: It cannot be written.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: expected a file or a folder to write, found something else, such as a device")
    temporary = temporary_name(path)
    try:
        yield temporary
        put_in_place(temporary, path)
    finally:
        remove(temporary)


def temporary_name(path: Path) -> Path:
    """Return the name under which this process writes what will be ``path``."""
    return path.with_name(f".{file_name(path.name)}.{_MACHINE}-{os.getpid()}.tmp")


def remove_leftovers(path: Path) -> None:
    """Delete what killed processes left of ``path``; no other process may be writing it."""
    _remove_those(path.parent, lambda found: found["name"] == file_name(path.name))
    remove_old(path)


def remove_old(path: Path) -> None:
    """Delete the folder that ``path`` has replaced, if a kill left it."""
    if path.is_dir():
        # Else it is all that there is of it.
        remove(_old_name(path))


def remove_leftovers_in(folder: Path) -> None:
    """Delete what killed processes left of all files of a folder; no other process may be writing in it."""
    _remove_those(folder, lambda found: True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a file or folder; a folder that is there and not empty is moved aside first and removed then."""
    old = _old_name(path)
    if temporary.is_dir() and path.is_dir() and any(path.iterdir()):
        remove(old)
        path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            old.rename(path)
            raise
    else:
        os.replace(temporary, path)
    # Or what a process left that was killed between the two renames.
    remove_old(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write an .npz archive, whole or not at all.

    It is put together in memory: on a full disk numpy would leave an open archive behind, which complains on the
    screen when it is let go.
    """
    # Late, so that --help, which locks nothing yet, answers at once.
    import numpy as np

    archive = io.BytesIO()
    np.savez(archive, **arrays)
    with atomic(path) as temporary:
        temporary.write_bytes(archive.getbuffer())


def remove_dead(path: Path) -> None:
    """Delete what killed processes of this machine left of ``path``, also where other processes may be writing it."""
    _remove_those(path.parent, lambda found: found["name"] == file_name(path.name) and _is_dead(found))


def remove_dead_in(folder: Path) -> None:
    """Delete what killed processes of this machine left of all files of a folder, where others may be writing."""
    _remove_those(folder, _is_dead)


def _remove_those(folder: Path, chosen: Callable[[re.Match[str]], bool]) -> None:
    for entry in folder.iterdir() if folder.is_dir() else ():
        found = _LEFTOVER.fullmatch(entry.name)
        if found and chosen(found):
            remove(entry)


def _is_dead(found: re.Match[str]) -> bool:
    return found["machine"] == _MACHINE and not Path("/proc", found["process"]).exists()


def _old_name(path: Path) -> Path:
    return path.with_name(f".{file_name(path.name)}.old")


def remove(path: Path) -> None:
    """Delete a file or folder if it is there. An error is ignored, because the work is done."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
