# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""One writer for each output, by a lock that ends with its process."""

import contextlib
import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bionemo.scale.files.names import file_name
from bionemo.scale.files.writing.atomic import remove, remove_leftovers
from bionemo.scale.files.writing.folder import new_folder
from bionemo.scale.types import InputError


logger = logging.getLogger(__name__)

WAIT_SECONDS = 60.0
"""How long the other processes of a launch wait for the first one's lock."""
_SECONDS_BETWEEN_LOOKS = 0.1
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_held: set[BinaryIO] = set()


@contextlib.contextmanager
def sole_writer(target: Path, lock: Path, *, rank: int = 0, launch: str = "") -> Iterator[None]:
    """Be the only command that writes ``target``.

    The first process of a launch takes the lock and notes the launch in it; the others wait for that note, so that
    none of them writes before. The kernel gives the lock back when its process ends, killed or not. Network file
    systems pass it on between machines where they are mounted with locks; where a file system has none, a warning says
    so and work goes on.

    Args:
        target: What is written, for messages.
        lock: The lock's file, in a folder that is there; removed at the end.
        rank: Of this process in its launch; 0 takes the lock.
        launch: Names the launch, see :class:`bionemo.scale.megatron.ranks.Ranks`.

    Raises:
        InputError: Another launch writes ``target``, or the first process of this one does not.
    """
    if rank:
        _wait_for_first(target, lock, rank, launch=launch)
        yield
        return
    with _locked(target, lock) as file:
        file.truncate(0)
        file.write(f"{launch}\n{_this_process()}\n".encode())
        file.flush()
        yield


@contextlib.contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Be the only command that writes a file, whose folder is made, and removed again if it stays empty.

    Raises:
        InputError: Another command writes it.
        OSError: Its folder cannot be written.
    """
    with new_folder(out.parent), sole_writer(out, out.with_name(f".{file_name(out.name)}.lock")):
        # Of commands that were killed: nobody continues them.
        remove_leftovers(out)
        yield


@contextlib.contextmanager
def _locked(target: Path, lock: Path) -> Iterator[BinaryIO]:
    """Hold the lock, and remove its file at the end, also where an interrupt comes before the work begins."""
    files: list[BinaryIO] = []
    try:
        while not (files and _is_at(files[-1], lock)):
            # The one before may just have removed it.
            files.append(_open_locked(target, lock))
        _held.add(files[-1])
        yield files[-1]
    finally:
        if files and _is_at(files[-1], lock):
            remove(lock)
        for file in files:
            _held.discard(file)
            file.close()


def _open_locked(target: Path, lock: Path) -> BinaryIO:
    file = lock.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        with file:
            file.seek(0)
            holder = file.read().decode(errors="replace").partition("\n")[2].strip()
        raise InputError(
            f"{target}: another command is writing it ({holder or 'a process'}); wait for it or choose another --out"
        ) from error
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            file.close()
            raise
        logger.warning("%s: its file system has no locks (%s); run one command at a time", target, error.strerror)
    return file


def _is_at(file: BinaryIO, path: Path) -> bool:
    if file.closed:
        # In a forked child, whose parent goes on.
        return False
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _wait_for_first(target: Path, lock: Path, rank: int, *, launch: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        with contextlib.suppress(OSError):
            # Opened anew each time: NFS looks at the server then.
            if lock.read_text(errors="replace").partition("\n")[0] == launch:
                return
        if time.monotonic() > deadline:
            raise InputError(
                f"{target}: process {rank} waited {WAIT_SECONDS:.0f} s for the first process, which did not begin; is "
                "this a folder that all machines share?"
            )
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _close_in_child() -> None:
    """A forked child has the lock too, and would keep it when its parent is killed."""
    for file in _held:
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)
