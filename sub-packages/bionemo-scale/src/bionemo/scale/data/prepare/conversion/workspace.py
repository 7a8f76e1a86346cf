# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The folder in which a store is made: it survives a kill, belongs to one process and becomes the store."""

import contextlib
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import lmdb

from bionemo.scale.files.text import read_json
from bionemo.scale.files.writing.atomic import put_in_place, remove, remove_leftovers_in, remove_old, write_text
from bionemo.scale.types import InputError


logger = logging.getLogger(__name__)

WORK_NAME = ".work"
"""Folder, within, of what is removed when the store is complete."""
COMMAND_NAME = "command.json"


@contextlib.contextmanager
def workspace(out: Path, command: Mapping[str, Any]) -> Iterator[Path]:
    """Give a folder beside ``out`` that takes its place at the end.

    Input that is refused removes the folder. A kill, a full disk or too little memory leaves it, and the same command
    goes on with what is in it.

    Args:
        out: The store to make; a store that is there already is replaced at the end.
        command: What is being done, for JSON; a folder of another command is not continued.

    Raises:
        InputError: Another process is at work, the folder is of another command, or nothing can be written.
    """
    folder = out.with_name(f".{out.name}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("ab")
    except OSError as error:
        raise InputError(f"{out}: cannot be made: {error.strerror}") from error
    with lock:
        _take(lock, folder, out)
        _check_command(folder, command)
        try:
            yield folder
            _put_in_place(folder, out)
        except (OSError, lmdb.Error, MemoryError) as error:
            reason = str(error) or "too little memory"
            raise InputError(f"{out}: stopped by {reason}; when that is mended, the same command continues") from error
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        except KeyboardInterrupt:
            if not _has_begun(folder):
                shutil.rmtree(folder, ignore_errors=True)
            raise


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Wait until no other process holds this file, then hold it: a worker may outlive its killed parent by a chunk."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _take(lock: BinaryIO, folder: Path, out: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"{out}: another process is making it; wait for it or choose another folder") from error
    try:
        is_ours = os.fstat(lock.fileno()).st_ino == (folder / ".lock").stat().st_ino
    except FileNotFoundError:
        is_ours = False
    if not is_ours:
        raise InputError(f"{out}: another process has just finished it; look at what it made and start again")


def _has_begun(folder: Path) -> bool:
    """Whether there is more to continue than a note of the command."""
    noted = (".lock", WORK_NAME, COMMAND_NAME)
    return any(
        path.name not in noted and not path.name.startswith("lock-")
        for path in (*folder.iterdir(), *(folder / WORK_NAME).iterdir())
    )


def _check_command(folder: Path, command: Mapping[str, Any]) -> None:
    text = json.dumps(command, sort_keys=True, default=str)
    path = folder / WORK_NAME / COMMAND_NAME
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write_text(path, text)
        return
    before = read_json(path)
    now = json.loads(text)
    different = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if different:
        raise InputError(
            f"{folder}: holds an unfinished conversion with other {', '.join(different)}; give the same command to "
            "continue it, or remove that folder to start over"
        )
    logger.info("%s: continuing", folder)


def _put_in_place(folder: Path, out: Path) -> None:
    # Of earlier processes that were killed as they wrote a file of it.
    remove_leftovers_in(folder)
    put_in_place(folder, out)
    tidy_store(out)


def tidy_store(out: Path) -> None:
    """Remove what only the making of a store needs, in it and beside it; a stop may have left it in a finished one."""
    remove_old(out)
    remove(out / WORK_NAME)
    remove(out / ".lock")
