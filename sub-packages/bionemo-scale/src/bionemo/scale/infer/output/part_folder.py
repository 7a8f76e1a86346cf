# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps the finished parts of a prediction beside its file, so that a killed run continues with the rest."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bionemo.scale.files.writing.atomic import atomic, remove, remove_leftovers
from bionemo.scale.infer.plans.parts import Part


def parts_path(out: Path) -> Path:
    """Return the folder of the parts of a file."""
    return out.with_name(f".{out.name}.parts")


def tidy(out: Path) -> None:
    """Delete what no later run can use of an interrupted prediction.

    That are unfinished parts, and all parts if none is finished or the prediction has been made of them.
    """
    folder = parts_path(out)
    remove_leftovers(out)
    for path in folder.glob(".part-*.tmp"):
        remove(path)
    finished = [path.stat().st_mtime_ns for path in folder.glob("part-*.npy")]
    if not finished or (out.exists() and out.stat().st_mtime_ns >= max(finished)):
        shutil.rmtree(folder, ignore_errors=True)


class PartFolder:
    """Finished parts, beside the file they are for, until they are merged.

    Args:
        path: The folder.
        fingerprint: Of everything the numbers depend on; parts of another prediction are not used.
    """

    def __init__(self, path: Path, fingerprint: str):
        self.path, self._fingerprint = path, fingerprint

    def open(self) -> None:
        """Make the folder, or keep the one that an interrupted run of the same prediction left."""
        note = self.path / "fingerprint"
        if note.is_file() and note.read_text(encoding="utf-8") == self._fingerprint:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        note.write_text(self._fingerprint)

    def file(self, part: Part) -> Path:
        """Return where a part is kept."""
        return self.path / f"part-{part.number:06d}.npy"

    def missing(self, parts: list[Part]) -> list[Part]:
        """Return the parts that nobody has finished."""
        return [part for part in parts if not self.file(part).is_file()]

    def write(self, part: Part, make: Callable[[Part], np.ndarray]) -> None:
        """Make a part; it has its name when it is whole."""
        with atomic(self.file(part)) as temporary, temporary.open("wb") as file:
            np.save(file, make(part), allow_pickle=False)

    def note_bounded(self, part: Part, num_values: int) -> None:
        """Keep how many values of a part were lowered to what a cell can hold; to be called before it is written."""
        if num_values:
            self._bounded(part).write_text(str(num_values))

    def num_bounded(self, parts: list[Part]) -> int:
        """Return how many values of finished parts were lowered."""
        return sum(int(path.read_text()) for path in map(self._bounded, parts) if path.is_file())

    def _bounded(self, part: Part) -> Path:
        return self.file(part).with_suffix(".bounded")

    def read(self, part: Part) -> np.ndarray:
        """Return a part, mapped rather than read."""
        return np.load(self.file(part), mmap_mode="r", allow_pickle=False)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
