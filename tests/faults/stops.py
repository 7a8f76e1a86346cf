# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Stops commands in the middle of their work, by kills and by full disks, and runs them again.

    python tests/faults/stops.py [--kills 5] [--times 0] [--full 5] [--disks 6] [--pairs 3] [--train 0] [--only NAME]
        [--seed 0] [--inputs FOLDER]

Whenever a command opens a file to write, renames, makes or removes one, it can stop. Python's audit events count these
moments: the first run counts, the others end at one of them, by SIGKILL or by the error of a full disk. What libraries
in C write is stopped by kills after a time drawn at random, and by small disks of growing size. Afterwards the same
command must give the same result. Or a command is paused at such a moment, and another of the same output is run
meanwhile: one of them makes it, the other is refused.
"""

import argparse
import contextlib
import ctypes
import errno
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bionemo.scale.megatron import cpu


# Before Megatron is imported.
cpu.install()

import commands as the  # noqa: E402
import forked  # noqa: E402
from campaign import of_refusal  # noqa: E402
from inputs import make_inputs  # noqa: E402

from bionemo.scale.data.prepare.conversion import writer  # noqa: E402
from bionemo.scale.files.anndata import anndata_file  # noqa: E402
from bionemo.scale.files.provenance import size_of  # noqa: E402
from bionemo.scale.infer import job  # noqa: E402


_EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.copyfile", "shutil.rmtree")
_DESCRIPTORS = {"os.remove": (1,), "os.rmdir": (1,), "os.mkdir": (2,), "os.rename": (2, 3)}
"""Where these events have the open folders that their names are relative to."""
_SECONDS = 120
_HARMLESS = ".metadata"
"""The only hidden name that may be there: a part of a checkpoint."""
_WRITES = os.O_WRONLY | os.O_RDWR
COMMANDS: dict[str, tuple[the.Command, tuple[str, ...]]] = {
    "prepare": (the.converts("screen.h5ad"), ("screen.h5ad", "split.toml")),
    "replace": (the.REPLACES, ("dense.h5ad", "store")),
    "merge": (the.MERGE, ("store", "other", "split.toml")),
    "infer": (the.predicts("--store", "store", "--split", "train", folder="out"), ("run", "store")),
    "evaluate": (the.scores(), ("predicted",)),
    "report": (the.shows(), ("scores", "predicted")),
    "export": (the.EXPORTS, ("run",)),
    "rank": (the.BY_SIGNATURE, ("ranked.h5ad", "signature.csv")),
    "submit": (the.SUBMITS, ("counts.h5ad", "panel")),
    "features": (the.OF_GENES, ("sets.gmt", "edges.tsv")),
    "split": (the.AT_RANDOM, ("screen.h5ad",)),
    "recipe": (the.OF_CONFIG, ("settings.yaml",)),
    "crossval": (the.CROSSES, ("screen.h5ad", "folds.toml")),
    "train": (
        replace(
            the.trains("--store", "store", *the.SMALL, "--max-steps", "6", "--val-interval", "2", "--seed", "3"),
            before=lambda: None,
            look=lambda: the.of_run("out"),
        ),
        ("store", "other"),
    ),
    "composed": (
        the.Command(main=the.composed_main, words=("store", "out"), look=lambda: the.of_run("out")),
        ("store",),
    ),
}
TRAININGS = ("train", "composed")
"""By the command, and of NeMo's objects."""
REPLACE = ("replace", "evaluate", "report", "crossval", *TRAININGS)
"""Commands that take what is there for their own of before: one after the other is no fault."""


def in_small_pieces() -> None:
    """Let a few dozen cells be as many pieces as millions are."""
    anndata_file.CHUNK_ENTRIES, writer._BLOCKS_PER_COMMIT = 200, 2
    job.infer.__kwdefaults__["part_cells"] = 8


class Moments:
    """A hook that counts the moments of this process in a folder, and acts at one of them.

    Args:
        folder: Where the command writes.
        number: Of the moment at which to act, from 1; 0 is none.
        act: What to do.
    """

    def __init__(self, folder: Path, number: int, act: Callable[[], None]):
        self._folder, self._number, self._act, self.count = str(folder), number, act, 0
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple) -> None:
        """Take note of an event."""
        is_written = event in _EVENTS or (event == "open" and bool((arguments[2] or 0) & _WRITES))
        if is_written and any(map(self._is_below, _paths(event, arguments))):
            self.count += 1
            if self.count == self._number:
                self._act()

    def _is_below(self, path: str) -> bool:
        return os.path.abspath(path).startswith(self._folder)


def _paths(event: str, arguments: tuple) -> list[str]:
    """Return the paths that an event is about."""
    # Of an open file the second is its mode.
    words = [word for word in arguments[: 1 if event == "open" else 2] if isinstance(word, str | bytes | os.PathLike)]
    numbers = [arguments[place] for place in _DESCRIPTORS.get(event, ())] or [-1] * len(words)
    folders = ["" if number < 0 else os.readlink(f"/proc/self/fd/{number}") for number in numbers]
    return [os.path.join(folder, os.fsdecode(word)) for folder, word in zip(folders, words, strict=True)]


def kill() -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def pause() -> None:
    """Wait for a signal to go on."""
    os.kill(os.getpid(), signal.SIGSTOP)


def fill() -> None:
    """Raise what a full disk raises."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A command that was let run."""

    moments: int
    result: object
    num_bytes: int
    """What it wrote."""
    seconds: float


class _Said(list[str]):
    """What is not as promised, said when it is found: a later failure does not hide it."""

    def append(self, what: str) -> None:
        print(what, file=sys.stderr, flush=True)
        super().append(what)


class Stops:
    """Stops commands and runs them again, in folders of their own.

    Args:
        inputs: What :func:`inputs.make_inputs` has made.
        work: A folder for them.
        seed: Of the choice of moments.
    """

    def __init__(self, inputs: Path, work: Path, seed: int):
        self.inputs, self.work, self.rng = inputs, work, random.Random(seed)
        self.figures: dict[str, Counter] = {}
        self.faults = _Said()
        self._wholes: dict[str, Whole] = {}

    def run(self, name: str, command: the.Command, files: tuple[str, ...], *, kills: int, full: int) -> None:
        """Stop a command at moments drawn at random, and see how it goes on."""
        whole = self._whole(command, files)
        for act, count in ((kill, kills), (fill, full)):
            chosen = self.rng.sample(range(1, whole.moments + 1), min(count, whole.moments))
            for number in sorted(chosen):
                with self._folder(files) as folder:
                    done = self._start(command, folder, number, act)
                    self._see(f"{name}, {act.__name__} at {number} of {whole.moments}", done, act is kill)
                    self._again(f"{name}, {act.__name__} at {number}", command, folder, whole)

    def at_times(self, name: str, command: the.Command, files: tuple[str, ...], *, count: int) -> None:
        """Kill a command after times drawn at random, and see how it goes on."""
        whole = self._whole(command, files)
        figures = self.figures.setdefault(name, Counter())
        for number in range(count):
            what = f"{name}, kill {number + 1} of {count} in time"
            with self._folder(files) as folder:
                first = self._begin(command, folder, 0, kill)
                first.begins()
                time.sleep(self.rng.uniform(0, whole.seconds))
                first.kill()
                done = first.wait(_SECONDS)
                # Beside other work of the machine it may have been faster than when it was whole.
                figures["in time" if done.code == -signal.SIGKILL else "too late"] += 1
                self._again(what, command, folder, whole)

    def on_small_disks(self, name: str, command: the.Command, files: tuple[str, ...], *, count: int) -> None:
        """Run a command on disks that are too small, and again when there is room."""
        whole = self._whole(command, files)
        moved = replace(command, words=_on_disk(command.words), look=lambda: _look_there(command))
        for share in range(count):
            what = f"{name}, disk {share + 1} of {count}"
            with self._folder(files) as folder, small_disk(folder / "disk") as grow:
                grow(4096 + whole.num_bytes * share // count)
                done = self._start(moved, folder, 0, kill)
                self._see(what, done, False)
                grow(1 << 28)
                if done.code:
                    done = self._start(moved, folder, 0, kill)
                self._compare(what, done, whole)

    def two(self, name: str, command: the.Command, files: tuple[str, ...], *, count: int) -> None:
        """Run a command beside another of its kind, which is paused at moments drawn at random."""
        whole = self._whole(command, files)
        for number in sorted(self.rng.sample(range(1, whole.moments + 1), min(count, whole.moments))):
            what = f"{name}, beside one that is paused at {number} of {whole.moments}"
            with self._folder(files) as folder:
                first = self._begin(command, folder, number, pause)
                if not first.pauses():
                    self.faults.append(f"{what}: it did not pause")
                second = self._start(command, folder, 0, kill)
                first.goes_on()
                outcomes = (first.wait(_SECONDS), second)
                self._see_two(what, name, outcomes)
                self._compare(what, next((each for each in outcomes if each.code == 0), second), whole)
                self._see_leftovers(what, folder, outcomes)

    def _see_two(self, what: str, name: str, outcomes: tuple[forked.Outcome, forked.Outcome]) -> None:
        figures = self.figures.setdefault(name, Counter())
        figures["pairs"] += 1
        codes = [each.code for each in outcomes]
        if sorted(codes, key=str) == [0, 0] and name in REPLACE:
            figures["one after the other"] += 1
            return
        refused = [each for each in outcomes if each.code == 2]
        why = of_refusal(refused[0].lines) if len(refused) == 1 else f"exit codes {codes}"
        figures["one of two refused"] += not why
        if why:
            self.faults.append(f"{what}: {why}: {[each.lines[-2:] for each in outcomes]}")

    def reads_while_replaced(self, count: int) -> None:
        """Replace the store of a training that is paused at moments drawn at random."""
        command, files = COMMANDS["train"]
        whole = self._whole(command, files)
        for number in sorted(self.rng.sample(range(1, whole.moments + 1), min(count, whole.moments))):
            what = f"replaced, training paused at {number} of {whole.moments}"
            figures = self.figures.setdefault("replaced", Counter())
            with self._folder((*files, "dense.h5ad")) as folder:
                first = self._begin(command, folder, number, pause)
                if not first.pauses():
                    self.faults.append(f"{what}: it did not pause")
                second = self._start(the.REPLACES, folder, 0, kill)
                first.goes_on()
                done = first.wait(_SECONDS)
                figures.update(["tried", "refused" if done.code == 2 else "as before"])
                as_before = done.code == 0 and done.result[1] == whole.result
                why = of_refusal(done.lines) if done.code == 2 else "" if as_before else "another result"
                if second.code != 0 or why:
                    self.faults.append(f"{what}: {why} exit code {done.code}, {second.lines[-1:]}: {done.lines[-2:]}")
                self._see_leftovers(what, folder, (done, second))

    def _see_leftovers(self, what: str, folder: Path, outcomes: Sequence[forked.Outcome]) -> None:
        left = [str(path.relative_to(folder)) for path in folder.rglob(".*") if path.name != _HARMLESS]
        files = [name for each in outcomes for name in each.left]
        if left or files or any(each.outlived for each in outcomes):
            self.faults.append(f"{what}: left {left} {files}, or a process")

    def _see(self, what: str, done: forked.Outcome, is_killed: bool) -> None:
        figures = self.figures.setdefault(what.partition(",")[0], Counter())
        if done.outlived:
            self.faults.append(f"{what}: a process that it started lives on")
        if is_killed:
            figures["killed"] += done.code == -signal.SIGKILL
            if done.code != -signal.SIGKILL:
                self.faults.append(f"{what}: exit code {done.code}: {done.lines[-2:]}")
            return
        figures["full disks"] += 1
        figures["done all the same"] += done.code == 0
        why = of_refusal(done.lines) if done.code == 2 else f"exit code {done.code}: {done.lines[-2:]}"
        if (done.code and why) or done.left:
            self.faults.append(f"{what}: {why or done.left}")

    def _again(self, what: str, command: the.Command, folder: Path, whole: Whole) -> None:
        done = self._start(command, folder, 0, kill)
        if done.code == 2 and "exists already" in done.lines[-1]:
            # It was whole before the kill.
            self.figures[what.partition(",")[0]]["whole before"] += 1
            done = replace(done, code=0, result=[0, self._look(command, folder)])
        self._compare(what, done, whole)
        self._see_leftovers(what, folder, (done,))

    def _compare(self, what: str, done: forked.Outcome, whole: Whole) -> None:
        if done.code != 0 or done.result[1] != whole.result:
            self.faults.append(f"{what}: run again, exit code {done.code}, another result: {done.lines[-2:]}")
            return
        self.figures[what.partition(",")[0]]["equal afterwards"] += 1

    def _whole(self, command: the.Command, files: tuple[str, ...]) -> Whole:
        if str(command) not in self._wholes:
            self._wholes[str(command)] = self._run_whole(command, files)
        return self._wholes[str(command)]

    def _run_whole(self, command: the.Command, files: tuple[str, ...]) -> Whole:
        with self._folder(files) as folder:
            done = self._start(command, folder, 0, kill)
            if done.code or done.left or done.outlived:
                raise RuntimeError(f"{command}: exit code {done.code}, left {done.left}: {done.lines}")
            num_bytes = size_of(folder / command.out)
        return Whole(moments=done.result[0], result=done.result[1], num_bytes=num_bytes, seconds=done.seconds)

    def _start(self, command: the.Command, folder: Path, number: int, act: Callable[[], None]) -> forked.Outcome:
        return self._begin(command, folder, number, act).wait(_SECONDS)

    def _begin(self, command: the.Command, folder: Path, number: int, act: Callable[[], None]) -> forked.Child:
        moments: list[Moments] = []

        def before() -> None:
            in_small_pieces()
            command.before()
            moments.append(Moments(folder, number, act))

        def look() -> object:
            return [moments[0].count, command.look()]

        return forked.start(command.main, command.words, folder=folder, look=look, before=before)

    def _look(self, command: the.Command, folder: Path) -> object:
        return forked.run(lambda words: 0, (), folder=folder, look=command.look).result

    @contextlib.contextmanager
    def _folder(self, files: tuple[str, ...]) -> Iterator[Path]:
        folder = self.work / "case"
        folder.mkdir()
        for name in files:
            source = self.inputs / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / name)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[int], None]]:
    """Mount a disk in memory for the body, which gets a function that sets its size."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder.mkdir()

    def mount(size: int, flags: int = 0) -> int:
        return libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", flags, f"size={size}".encode())

    if mount(1 << 28):
        raise OSError(ctypes.get_errno(), "a small disk cannot be mounted here")
    try:
        yield lambda size: mount(size, _REMOUNT)
    finally:
        libc.umount2(str(folder).encode(), 2)


_REMOUNT = 32


def _on_disk(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        f"disk/{word}" if before in ("--out", "--dest") else word
        for before, word in zip(("", *words), words, strict=False)
    )


def _look_there(command: the.Command) -> object:
    os.chdir("disk")
    return command.look()


def can_mount() -> bool:
    """Whether this process may mount a disk."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(OSError), small_disk(Path(folder) / "disk"):
        return True
    return False


def _stop(stops: Stops, name: str, asked: argparse.Namespace) -> None:
    command, files = COMMANDS[name]
    if name not in TRAININGS:
        stops.run(name, command, files, kills=asked.kills, full=asked.full)
        stops.at_times(name, command, files, count=asked.times)
        stops.two(name, command, files, count=asked.pairs)
        if asked.disks and can_mount():
            stops.on_small_disks(name, command, files, count=asked.disks)
    elif asked.train:
        # NeMo, which takes longer to import than all of the above.
        from bionemo.scale.train import training  # noqa: F401

        stops.run(name, command, files, kills=asked.train, full=min(asked.full, asked.train))
        stops.at_times(name, command, files, count=asked.times)
        stops.two(name, command, files, count=asked.pairs)
        if name == "train":
            stops.reads_while_replaced(asked.pairs)


def main() -> int:
    """Stop every command and print figures; exit code 1 where something is not as promised."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        ("kills", 5),
        ("times", 0),
        ("full", 5),
        ("disks", 6),
        ("pairs", 3),
        ("train", 0),
        ("seed", 0),
    ):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--only", choices=COMMANDS, action="append", help="these commands alone")
    options.add_argument("--inputs", type=Path, help="made where it is missing")
    asked = options.parse_args()
    the.import_all()
    with tempfile.TemporaryDirectory(prefix="stops-") as work:
        inputs = asked.inputs or Path(work) / "inputs"
        if not inputs.exists():
            inputs.mkdir(parents=True)
            make_inputs(inputs.resolve())
        stops = Stops(inputs.resolve(), Path(work), asked.seed)
        for name in asked.only or COMMANDS:
            _stop(stops, name, asked)
    print(
        json.dumps(
            {"figures": {name: dict(count) for name, count in stops.figures.items()}, "faults": stops.faults}, indent=1
        )
    )
    return 1 if stops.faults else 0


if __name__ == "__main__":
    sys.exit(main())
