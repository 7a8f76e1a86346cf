# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""One folder for all temporary files of a command and its libraries, which goes when the command ends.

Libraries leave folders there that nobody asked for, and more of them where a command ends without tidying up: wandb's
of files to send, torch's of compiled kernels, sockets of processes, logs of torchrun.
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import BinaryIO

from bionemo.scale.process import interrupt


_NAME = re.compile(r"bionemo-scale-\d+-[0-9a-f]{4}")
_LOCK = ".lock"
_LONGEST = 50
"""Characters of the folder around it: names of sockets, which libraries put below, are cut off after 107."""
_held: list[BinaryIO] = []


def take_folder() -> None:
    """Make the folder and let temporary files be in it; commands that this command starts share it and end with it.

    Else a command that was killed would leave another at work, which holds the lock of its output. Folders of commands
    that were killed are removed first: the lock in them is free. Where none can be made, all stays as it is.
    """
    # Late, for it brings more along than answering --help takes.
    import tempfile

    if not interrupt.is_command():
        return
    if _NAME.fullmatch(os.path.basename(os.environ.get("TMPDIR", ""))):
        from bionemo.scale.process.parent import end_with

        end_with(os.getppid())
        return
    with contextlib.suppress(OSError):
        around = Path(tempfile.gettempdir())
        _remove_dead(around)
        if len(str(around)) <= _LONGEST:
            _keep_compiled(around)
            _use(_make(around))


def _use(folder: Path) -> None:
    import tempfile

    before = os.environ.get("TMPDIR")

    def give_back() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        # For the program that this process may become, which takes a folder of its own.
        os.environ.pop("TMPDIR", None)
        os.environ.update({} if before is None else {"TMPDIR": before})

    interrupt.at_the_end(give_back)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def _make(around: Path) -> Path:
    folder = around / f"bionemo-scale-{os.getpid()}-{secrets.token_hex(2)}"
    folder.mkdir(mode=0o700)
    lock = (folder / _LOCK).open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    _held.append(lock)
    return folder


def _remove_dead(around: Path) -> None:
    for folder in around.glob("bionemo-scale-*"):
        if not _NAME.fullmatch(folder.name):
            continue
        # Of others, or being made or removed at this moment.
        with contextlib.suppress(OSError), (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _keep_compiled(around: Path) -> None:
    """Leave torch's cache of compiled kernels where it is on a GPU: it saves minutes of the next command."""
    if os.path.exists("/dev/nvidiactl"):
        import getpass

        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(around / f"torchinductor_{getpass.getuser()}"))


def _close_in_child() -> None:
    """A fork that outlives the command shall not keep its folder."""
    for file in _held:
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)
