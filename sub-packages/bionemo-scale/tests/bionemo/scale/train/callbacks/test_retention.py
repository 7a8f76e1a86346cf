# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from types import SimpleNamespace

import pytest

from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import InputError


@pytest.fixture
def kept(tmp_path: Path, process_groups):
    """Begin a run again whose folder, called as what is monitored, holds checkpoints; answers what is left of them."""
    from bionemo.scale.train.callbacks.retention import checkpointing

    def begin(names: tuple[str, ...], *, has_validation: bool, **settings: int):
        out = tmp_path / "step=7-val_loss=0"
        for name in names:
            (out / "checkpoints" / name).mkdir(parents=True)
        run = TrainSettings(store=Path("store"), out=out, **settings)
        callback = checkpointing(run, has_validation=has_validation)
        callback.nemo_topk_check_previous_run()
        return callback, sorted(path.name for path in (out / "checkpoints").iterdir())

    return begin


VALIDATED = (
    "step=9-val_loss=0.5000",
    "step=19-val_loss=-0.2500",
    "step=29-val_loss=0.3000",
    "step=29-val_loss=0.3000-last",
)


@pytest.mark.parametrize(
    ("settings", "left", "best"),
    [
        ({}, {1, 3}, 1),
        ({"keep_best": 2}, {1, 2, 3}, 1),
        ({"keep_last": 2}, {1, 2, 3}, 2),
        ({"keep_last": 1}, {2, 3}, 2),
        ({"keep_last": 9}, {0, 1, 2, 3}, 2),
    ],
)
def test_the_best_or_the_newest_are_kept_beside_the_last(settings, left, best, kept):
    callback, found = kept(VALIDATED, has_validation=True, **settings)
    assert found == sorted(VALIDATED[number] for number in left)
    assert Path(callback.best_model_path).name == VALIDATED[best]
    assert len(callback.best_k_models) == len(left) - 1


def test_without_validation_the_newest_is_kept(kept):
    callback, found = kept(("step=9", "step=19", "step=19-last"), has_validation=False)
    assert found == ["step=19", "step=19-last"] and callback.monitor == "step"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), None),
        (("step=9-last", "step=9-last-unfinished"), None),
        (("step=9", "step=9-last", "step=9-last-unfinished"), "step=9"),
        (("step=9-last", "step=19-last", "step=19-last-unfinished"), "step=9-last"),
        (("step=9", "step=99", "step=99-last"), "step=99-last"),
    ],
)
def test_a_run_goes_on_from_the_newest_checkpoint_that_is_whole(names, expected, tmp_path, process_groups):
    from bionemo.scale.train.callbacks.retention import resuming

    for name in names:
        (tmp_path / "checkpoints" / name / ("" if name.endswith("-unfinished") else "weights")).mkdir(parents=True)
    found = resuming(TrainSettings(store=Path("store"), out=tmp_path)).get_trainer_ckpt_path()
    assert found == (expected and tmp_path / "checkpoints" / expected / "weights")


def test_a_new_run_has_nothing_to_take_up(kept):
    callback, found = kept(("other",), has_validation=False)
    assert callback.best_k_models == {} and found == ["other"]


@pytest.mark.parametrize("in_background", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_half_of_a_checkpoint_stays_marked(kept, fails, in_background):
    """Where a checkpoint cannot be removed training goes on, and what is left of it is no checkpoint to use."""
    callback, _ = kept(("step=9", "step=19"), has_validation=False, keep_last=2)
    callback.async_save = in_background

    def remove(path: str) -> None:
        if fails:
            raise OSError("no space left")
        Path(path).with_suffix("").rmdir()

    strategy = SimpleNamespace(remove_checkpoint=remove)
    trainer = SimpleNamespace(is_global_zero=True, strategy=strategy, callbacks=[])
    old = Path(callback.dirpath) / "step=9"
    callback._remove_checkpoint(trainer, f"{old}.ckpt", override_async=True)
    left = {path.name for path in old.parent.iterdir()}
    assert left == ({"step=9", "step=9-unfinished", "step=19"} if fails else {"step=19"})
    assert callback.async_save == in_background


def test_a_removal_that_is_put_off_marks_nothing(kept):
    callback, _ = kept(("step=9", "step=19"), has_validation=False, keep_last=2)
    callback.async_save = True
    old = Path(callback.dirpath) / "step=9"
    callback._remove_checkpoint(None, f"{old}.ckpt")
    assert callback.deferred_ckpts_to_remove == [[f"{old}.ckpt"]]
    assert {path.name for path in old.parent.iterdir()} == {"step=9", "step=19"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep_best": 0}, "--keep-best must be at least 1, found 0"),
        ({"keep_last": -1}, "--keep-last must be at least 0"),
        ({"keep_last": 2, "keep_best": 2}, "expected one of the two"),
        ({"wandb": "p", "devices": 2, "pipeline_parallel": 2}, "--wandb: expected --pipeline-parallel 1"),
        ({"lora": 4}, "--lora adapts the weights of a checkpoint"),
        (
            {"lora": 3, "from_checkpoint": Path("run"), "devices": 2, "tensor_parallel": 2},
            "multiple of --tensor-parallel 2",
        ),
        ({"size": None}, "--size is required"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(InputError, match=message):
        TrainSettings(store=Path("store"), out=Path("run"), **settings)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="--wandb: expected the package wandb, found none; pip install wandb"):
        TrainSettings(store=Path("store"), out=Path("run"), wandb="project")
