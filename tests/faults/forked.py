# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a command in a fork of this process, whose libraries are imported already, under limits of time and memory."""

import faulthandler
import json
import multiprocessing.util
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


SECONDS = 300
CPU_SECONDS = 20
"""Much more than any of the commands takes."""
BYTES = 2 << 30
"""More memory than the process that imports needs already."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended."""

    code: int | None
    """Exit code, negative for a signal; ``None`` where it took too long and was killed."""
    lines: tuple[str, ...]
    """What it wrote to standard error, without empty lines."""
    result: Any
    """What ``look`` returned; ``None`` where the command failed."""
    seconds: float
    left: tuple[str, ...]
    """Names in its folder of temporary files at the end."""
    where: str = ""
    """Of a command that took too long: what it was at, the innermost call first."""
    outlived: bool = False
    """Whether a process that it started runs on."""


Main = Callable[[Sequence[str]], int]


def run(
    main: Main,
    arguments: Sequence[object],
    *,
    folder: Path,
    look: Callable[[], Any] = lambda: None,
    before: Callable[[], None] = lambda: None,
    seconds: float = SECONDS,
    cpu_seconds: int = CPU_SECONDS,
) -> Outcome:
    """Run a command to its end.

    Args:
        main: Of the command.
        arguments: Its command line.
        folder: Where it runs.
        look: Called in the same process after exit code 0; returns what JSON can hold.
        before: Called in that process before the command.
        seconds: After which it is killed.
        cpu_seconds: Of the processor, after which it is ended.
    """
    child = start(main, arguments, folder=folder, look=look, before=before, cpu_seconds=cpu_seconds)
    return child.wait(seconds)


@dataclass(frozen=True, kw_only=True)
class Child:
    """A command that runs."""

    process: int
    files: Path
    """Folder with what it writes to the screen, its result and its temporary files."""
    started: float

    def kill(self) -> None:
        """End it as a power cut would, with all processes that it has started."""
        os.killpg(self.process, signal.SIGKILL)

    def begins(self) -> None:
        """Wait until what it writes to the screen is kept, which is before it begins."""
        while not (self.files / "err").exists():
            time.sleep(0.001)

    def pauses(self, seconds: float = SECONDS) -> bool:
        """Wait until it has stopped itself, and return whether it has, rather than ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = os.waitid(os.P_PID, self.process, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is not None:
                return found.si_code == os.CLD_STOPPED
            time.sleep(0.01)
        return False

    def goes_on(self) -> None:
        """Let it go on after it has stopped itself."""
        os.kill(self.process, signal.SIGCONT)

    def _is_outlived(self) -> bool:
        """Return whether processes of its session run on a moment after its end, and end them."""
        for _ in range(50):
            try:
                os.killpg(self.process, 0)
            except ProcessLookupError:
                return False
            time.sleep(0.05)
        self.kill()
        return True

    def wait(self, seconds: float = SECONDS) -> Outcome:
        """Wait for the end, and kill what takes longer."""
        descriptor = os.pidfd_open(self.process)
        is_late = not select.select([descriptor], [], [], seconds)[0]
        os.close(descriptor)
        taken = time.monotonic() - self.started
        if is_late:
            self.kill()
        status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        outlived = self._is_outlived()
        text = (self.files / "err").read_text(errors="backslashreplace")
        result = self.files / "result"
        outcome = Outcome(
            code=None if is_late else status,
            lines=tuple(line for line in text.split("\n") if line.strip()),
            result=json.loads(result.read_text()) if result.exists() else None,
            seconds=taken,
            left=tuple(sorted(path.name for path in (self.files / "tmp").iterdir())),
            where=(self.files / "where").read_text(),
            outlived=outlived,
        )
        shutil.rmtree(self.files)
        return outcome


def start(
    main: Main,
    arguments: Sequence[object],
    *,
    folder: Path,
    look: Callable[[], Any] = lambda: None,
    before: Callable[[], None] = lambda: None,
    cpu_seconds: int = CPU_SECONDS,
) -> Child:
    """Start a command; see :func:`run`."""
    files = Path(tempfile.mkdtemp(prefix="fault-"))
    (files / "tmp").mkdir()
    (files / "where").touch()
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        _limit_time(files / "where", cpu_seconds)
        _be(main, [str(word) for word in arguments], folder, files, look, before)
    return Child(process=process, files=files, started=time.monotonic())


def _be(
    main: Main, arguments: list[str], folder: Path, files: Path, look: Callable[[], Any], before: Callable[[], None]
) -> None:
    code = 1
    try:
        os.setsid()
        _redirect(files)
        os.chdir(folder)
        tempfile.tempdir = None
        os.environ["TMPDIR"] = str(files / "tmp")
        data = int(
            next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmData" in line).split()[1]
        )
        resource.setrlimit(resource.RLIMIT_DATA, (1024 * data + BYTES,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        before()
        code = main(arguments)
        if code == 0:
            (files / "result").write_text(json.dumps(look()))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        # What libraries tidy up at the end of a process, which a fork leaves out.
        multiprocessing.util._exit_function()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _limit_time(where: Path, cpu_seconds: int) -> None:
    """End this process when it has used its seconds, also in a library that does not return, and note where."""
    file = os.open(where, os.O_WRONLY | os.O_CREAT)
    faulthandler.register(signal.SIGXCPU, file=file, all_threads=False, chain=True)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))


def _redirect(files: Path) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(files / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    # A test runner has its own in their place; what commands redirect are the descriptors.
    sys.stdout = open(1, "w", buffering=1, closefd=False)
    sys.stderr = open(2, "w", buffering=1, closefd=False)
