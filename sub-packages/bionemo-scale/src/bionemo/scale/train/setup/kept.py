# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which checkpoints a run keeps beside its last one, and what a killed training left of the others."""

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bionemo.scale.model.checkpoint import MARK, is_last, mark_of, newest_of, newest_whole, step_of
from bionemo.scale.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The checkpoints of the lowest validation loss, or the newest."""

    monitor: str
    """What of a checkpoint's name decides."""
    mode: Literal["min", "max"]
    """Whether low or high values are kept."""
    count: int
    """How many are kept."""

    def ranked(self, checkpoints: Iterable[Path]) -> dict[Path, float]:
        """Return the value of each checkpoint, those to keep first; without the last one, which is kept anyway.

        Names have few digits: of equal values the newest comes first.
        """
        values: dict[Path, float] = {}
        for path in checkpoints:
            value = re.search(rf"(?:^|-){self.monitor}=(-?[\d.]+)", path.name)
            if value and not is_last(path):
                values[path] = float(value.group(1).rstrip("."))
        sign = 1 if self.mode == "min" else -1
        return dict(sorted(values.items(), key=lambda item: (sign * item[1], -step_of(item[0]))))

    def surplus(self, checkpoints: Iterable[Path]) -> list[Path]:
        """Return the whole checkpoints to remove: never the newest, from which the run continues."""
        checkpoints = list(checkpoints)
        newest = newest_of(checkpoints)
        return [path for path in list(self.ranked(checkpoints))[self.count :] if path != newest]


def kept_by(settings: TrainSettings, *, has_validation: bool) -> Kept:
    """Return what a run keeps; without a validation loss the newest."""
    is_newest = bool(settings.keep_last) or not has_validation
    return Kept(
        monitor="step" if is_newest else "val_loss",
        mode="max" if is_newest else "min",
        count=settings.keep_last or settings.keep_best,
    )


def tidy_checkpoints(folder: Path, kept: Kept) -> None:
    """Remove what a training left that was killed as it wrote or removed a checkpoint; nobody else may be training.

    That are checkpoints that are marked as unfinished, and whole ones that had been replaced and were next to be
    removed: last checkpoints before the newest, and after a kill before the last one was whole, those beyond ``kept``.

    Args:
        folder: The run's folder of checkpoints; need not be there.
        kept: What the run keeps.
    """
    for mark in sorted(folder.glob(f"*{MARK}")):
        if mark.is_file():
            _remove(mark.with_name(mark.name.removesuffix(MARK)))
    newest = newest_whole(folder)
    if newest is None:
        return
    checkpoints = sorted(path for path in folder.iterdir() if (path / "weights").is_dir())
    replaced = [path for path in checkpoints if is_last(path) and 0 <= step_of(path) < step_of(newest)]
    if not is_last(newest):
        replaced += kept.surplus(checkpoints)
    for path in replaced:
        _remove(path)


def _remove(checkpoint: Path) -> None:
    """Remove a checkpoint, which is marked for as long as something of it is there."""
    mark = mark_of(checkpoint)
    mark.touch()
    if checkpoint.is_dir():
        shutil.rmtree(checkpoint)
    mark.unlink()
