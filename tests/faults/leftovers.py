# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Runs every command as a user does and looks for what it leaves, in its folder and in those of temporary files.

    python tests/faults/leftovers.py [--how success refused INT TERM] [--only NAME] [--seed 0] [--inputs FOLDER]

Each command ends by itself, is refused, or gets a signal once it has begun to write. Where this user may mount, /tmp
and /dev/shm of a command are folders of its own, so that names that do not follow TMPDIR are seen too.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import commands as the
from campaign import of_refusal
from inputs import make_inputs
from stops import COMMANDS


WAYS = ("success", "refused", "INT", "TERM")
_SECONDS = 300
_PRIVATE = """
mount --bind "$1" /mnt && mount --bind "$3" /dev/shm && mount --bind "$2" /tmp && cd /mnt && shift 3 && exec "$@"
"""
_MAY_STAY = {"prepare": ".partial", "replace": ".partial", "merge": ".partial", "infer": ".parts", "crossval": "out"}
"""Part of the name of what a signal may leave, for the same command goes on with it."""

TYPED = [name for name, (command, _) in COMMANDS.items() if command.main.__module__.startswith("bionemo.")]
"""Those that are modules of the package, rather than functions of a test."""


class Leftovers:
    """Runs commands in folders of their own.

    Args:
        inputs: What :func:`inputs.make_inputs` has made.
        work: A folder for them.
        seed: Of the moments of signals.
    """

    def __init__(self, inputs: Path, work: Path, seed: int):
        self._inputs, self._work, self._rng = inputs, work, random.Random(seed)
        self.figures: dict[str, Counter] = {}
        self.faults: list[str] = []

    def run(self, name: str, how: str) -> None:
        """Run a command, and see what is there afterwards."""
        command, files = COMMANDS[name]
        case, temporary, shared = (self._work / part for part in ("case", "tmp", "shm"))
        for folder in (case, temporary, shared):
            folder.mkdir()
        for file in files:
            source = self._inputs / file
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, case / file)
        words = command.words if how != "refused" else _of_nothing(command, files)
        before = _names(case)
        process = self._start(command.main.__module__, words)
        if how in ("INT", "TERM"):
            self._signal(process, case, before, number=signal.Signals[f"SIG{how}"])
        screen = process.communicate(timeout=_SECONDS)[1]
        kept = command.out if how == "success" else _MAY_STAY.get(name, "/") if how in ("INT", "TERM") else "/"
        new = [path for path in _names(case) - before if kept not in path.partition("/")[0]]
        hidden = [path for path in _names(case) - before if how == "success" and "/." in f"/{path}"]
        left = [*new, *(path for path in hidden if not path.endswith("weights/.metadata"))]
        outside = sorted(path.name for folder in (temporary, shared) for path in folder.iterdir())
        code = process.returncode
        if how in ("INT", "TERM") and code < 0 and (case / command.out).exists():
            # Python gives signals back as it ends, when all was done.
            code = 0
        self._see(name, how, code, screen, left=left, outside=outside)
        for folder in (case, temporary, shared):
            shutil.rmtree(folder)

    def _start(self, module: str, words: tuple[str, ...]) -> subprocess.Popen:
        command = [sys.executable, "-m", module, *words]
        case, temporary, shared = (self._work / part for part in ("case", "tmp", "shm"))
        environment = {**os.environ, "TMPDIR": str(temporary)}
        # torch, which this process may have imported, tells its children where it keeps compiled kernels.
        environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
        if CAN_MOUNT:
            command = [
                "unshare",
                "--mount",
                "sh",
                "-c",
                _PRIVATE,
                "sh",
                str(case),
                str(temporary),
                str(shared),
                *command,
            ]
            del environment["TMPDIR"]
        return subprocess.Popen(
            command,
            cwd=case,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A test run in the background ignores interrupts, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def _signal(self, process: subprocess.Popen, case: Path, before: set[str], *, number: int) -> None:
        """Send a signal a moment after the command has begun to write."""
        while process.poll() is None and _names(case) == before:
            time.sleep(0.005)
        time.sleep(self._rng.choice((0, 0.05, 0.5, 2)))
        if process.poll() is None:
            process.send_signal(number)

    def _see(self, name: str, how: str, code: int, screen: str, *, left: list[str], outside: list[str]) -> None:
        figures = self.figures.setdefault(how, Counter())
        figures.update(["tried"])
        what = f"{name}, {how}: exit code {code}"
        lines = [line for line in screen.splitlines() if line.strip()]
        if how in ("INT", "TERM") and code in (0, 75):
            # It was over before the signal, or training saved itself.
            figures["over"] += 1
        elif how in ("INT", "TERM"):
            expected = {"INT": (130, "interrupted"), "TERM": (143, "terminated")}[how]
            if (code, lines[-1] if lines else "") != expected or any("Traceback" in line for line in lines):
                self._fault(f"{what}, said {lines[-3:]}")
        elif code != {"success": 0, "refused": 2}[how] or (how == "refused" and of_refusal(tuple(lines))):
            self._fault(f"{what}, said {lines[-3:]}")
        if outside or (left and not (how in ("INT", "TERM") and code in (0, 75))):
            self._fault(f"{what}, left {left[:5]}, outside {outside}")
        figures["nothing left"] += not (left or outside)

    def _fault(self, what: str) -> None:
        print(what, file=sys.stderr, flush=True)
        self.faults.append(what)


def _of_nothing(command: the.Command, files: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words of a command with an input that is not there."""
    target = next(word for word in command.words if word.partition("/")[0] in files)
    return tuple("missing" if word == target else word for word in command.words)


def _names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _can_mount() -> bool:
    """Whether a process may have folders of its own in the place of others."""
    try:
        return not subprocess.run(
            ["unshare", "--mount", "mount", "--bind", "/tmp", "/mnt"], capture_output=True
        ).returncode
    except OSError:
        return False


CAN_MOUNT = _can_mount()


def main() -> int:
    """Run every command in every way and print figures; exit code 1 where something is left."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--how", nargs="+", choices=WAYS, default=WAYS)
    options.add_argument("--only", choices=TYPED, action="append", help="these commands alone")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--inputs", type=Path, help="made where it is missing")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="leftovers-") as work:
        inputs = asked.inputs or Path(work) / "inputs"
        if not inputs.exists():
            inputs.mkdir(parents=True)
            make_inputs(inputs.resolve())
        leftovers = Leftovers(inputs.resolve(), Path(work), asked.seed)
        for name in asked.only or TYPED:
            for how in asked.how:
                leftovers.run(name, how)
    figures = {how: dict(count) for how, count in leftovers.figures.items()}
    print(json.dumps({"figures": figures, "private": CAN_MOUNT, "faults": leftovers.faults}, indent=1))
    return 1 if leftovers.faults else 0


if __name__ == "__main__":
    sys.exit(main())
