# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.train.setup.kept import Kept, kept_by, tidy_checkpoints


BEST = Kept(monitor="val_loss", mode="min", count=1)


def make(folder: Path, names: tuple[str, ...]) -> None:
    """Make checkpoints, and the marks of those called unfinished."""
    for name in names:
        if name.endswith("-unfinished"):
            (folder / name).touch()
        else:
            (folder / name / "weights").mkdir(parents=True)
            (folder / name / "weights" / ".metadata.tmp").touch()


@pytest.mark.parametrize(
    ("names", "left"),
    [
        # As the last one was written, in a step whose own checkpoint was whole.
        (
            ("step=3-val_loss=0.5-last", "step=5-val_loss=0.4", "step=5-val_loss=0.4-last", "5-last"),
            ("step=5-val_loss=0.4",),
        ),
        # Between the new and the old one.
        (("step=3-val_loss=0.5-last", "step=5-val_loss=0.4", "step=5-val_loss=0.4-last"), (1, 2)),
        (("step=3-val_loss=0.5", "step=3-val_loss=0.5-last", "step=5-val_loss=0.4"), (2,)),
        # Equal in the digits of their names: the newest is one of those to keep.
        (
            ("step=99-val_loss=0.5", "step=199-val_loss=0.5", "step=199-val_loss=0.5-last", "step=299-val_loss=0.5"),
            (3,),
        ),
        # Another number was kept before: the run continues from the newest.
        (("step=3-val_loss=0.3", "step=4-val_loss=0.6", "step=5-val_loss=0.5"), (0, 2)),
        # As an old one was removed, or its mark, or before there was more than a mark.
        (("step=3-val_loss=0.5", "step=3-val_loss=0.5-last", "step=3-val_loss=0.5-unfinished"), (1,)),
        (("step=5-val_loss=0.4", "step=5-val_loss=0.4-last", "step=3-val_loss=0.5-unfinished"), (0, 1)),
        # As the very first one was written.
        (("step=1-val_loss=0.5", "step=1-val_loss=0.5-unfinished"), ()),
        # Nothing was killed: another number to keep is no reason to remove one.
        (("step=3-val_loss=0.5", "step=5-val_loss=0.4", "step=5-val_loss=0.4-last"), (0, 1, 2)),
    ],
)
def test_what_a_kill_left_is_removed_and_nothing_else(names, left, tmp_path: Path):
    names = tuple("step=5-val_loss=0.4-last-unfinished" if name == "5-last" else name for name in names)
    make(tmp_path, (*names, "mine", "mine-last"))
    (tmp_path / "notes.txt").touch()
    expected = {name if isinstance(name, str) else names[name] for name in left}
    for _ in range(2):
        tidy_checkpoints(tmp_path, BEST)
        assert {path.name for path in tmp_path.iterdir()} == {*expected, "mine", "mine-last", "notes.txt"}


def test_a_run_that_has_not_begun_is_left_alone(tmp_path: Path):
    tidy_checkpoints(tmp_path / "checkpoints", BEST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "has_validation", "expected"),
    [
        ({"keep_best": 3}, True, Kept(monitor="val_loss", mode="min", count=3)),
        ({"keep_last": 2}, True, Kept(monitor="step", mode="max", count=2)),
        ({}, False, Kept(monitor="step", mode="max", count=1)),
    ],
)
def test_the_best_or_the_newest(settings, has_validation, expected):
    settings = TrainSettings(store=Path("store"), out=Path("run"), **settings)
    assert kept_by(settings, has_validation=has_validation) == expected


def test_those_to_keep_come_first_without_the_last_one():
    names = ("step=9-val_loss=0.5000", "step=19-val_loss=-0.2500", "step=29-val_loss=0.3000-last", "other")
    ranked = BEST.ranked(Path("val_loss=7") / name for name in names)
    assert [(path.name, value) for path, value in ranked.items()] == [(names[1], -0.25), (names[0], 0.5)]
