# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import yaml

from bionemo.scale.types import InputError


@pytest.mark.parametrize(
    ("began", "has_fused_adam", "expected"),
    [
        (None, True, True),
        (None, False, False),
        ({"optimizer": "sharded"}, True, True),
        ({"optimizer": "whole"}, True, False),
        ({"optimizer": "whole"}, False, False),
        ({"run": {}}, True, False),
    ],
)
def test_a_run_keeps_the_optimizer_that_it_began_with(
    began, has_fused_adam, expected, tmp_path, monkeypatch, process_groups
):
    from bionemo.scale.train.setup import run_folder

    monkeypatch.setattr(run_folder, "_has_fused_adam", lambda: has_fused_adam)
    if began is not None:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(began))
    assert run_folder.shards_optimizer(tmp_path) is expected


def test_shards_are_refused_where_they_cannot_be_loaded(tmp_path, process_groups):
    from bionemo.scale.train.setup import run_folder

    (tmp_path / "config.yaml").write_text("optimizer: sharded\n")
    with pytest.raises(InputError, match=r"config.yaml: the run's optimizer state is sharded, .*--from-checkpoint"):
        run_folder.shards_optimizer(tmp_path)


def test_a_fused_adam_is_known_by_what_megatron_took(monkeypatch, process_groups):
    from megatron.core import optimizer

    from bionemo.scale.train.setup import run_folder

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(optimizer, "Adam", torch.optim.AdamW)
    assert not run_folder._has_fused_adam()
    monkeypatch.setattr(optimizer, "Adam", type("FusedAdam", (torch.optim.Optimizer,), {}))
    assert run_folder._has_fused_adam()


@pytest.mark.parametrize(("earlier", "now"), [({}, "mixed"), ({"sets": "mixed"}, "batch")])
def test_a_run_goes_on_with_its_own_sets_alone(earlier, now, tmp_path, process_groups):
    from bionemo.scale.train.setup import run_folder

    def described(**options):
        common = {"store": "/s", "seed": 0, "set_size": 8, "from_checkpoint": None, "freeze": [], "lora": 0}
        return {"run": {**common, **options}, "model": {}, "store": "a" * 64}

    (tmp_path / "config.yaml").write_text(yaml.safe_dump(described(**earlier)))
    run_folder.check_same_run(tmp_path, described(sets=earlier.get("sets", "batch")))
    with pytest.raises(InputError, match=f"expected --sets {earlier.get('sets', 'batch')}, found {now}"):
        run_folder.check_same_run(tmp_path, described(sets=now))
    with pytest.raises(InputError, match="expected --share-controls 1, found 4"):
        run_folder.check_same_run(tmp_path, described(**earlier, share_controls=4))


@pytest.mark.parametrize("earlier", [{}, {"held_out": "aaa"}])
def test_a_blind_run_goes_on_without_the_same_groups_alone(earlier, tmp_path, process_groups):
    """A part of one number may be other groups in another version, and an earlier one did not note them."""
    from bionemo.scale.train.setup import run_folder

    options = {"store": "/s", "seed": 0, "set_size": 8, "blind": True, "fold": 1, "folds": 3}
    described = {"run": options, "model": {}, "store": "a" * 64}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**described, **earlier}))
    run_folder.check_same_run(tmp_path, {**described, **earlier})
    before = earlier.get("held_out", "not noted")
    with pytest.raises(InputError, match=f"expected held_out {before}, found bbb; choose another --out"):
        run_folder.check_same_run(tmp_path, {**described, "held_out": "bbb"})


class TestStoreOfARun:
    """A run is on the content of its store, wherever that is."""

    def check(self, tmp_path, earlier, now):
        from bionemo.scale.train.setup import run_folder

        def described(place, identity):
            options = {"store": place, "seed": 0, "set_size": 8, "from_checkpoint": None, "freeze": [], "lora": 0}
            return {"run": options, "model": {}, **({} if identity is None else {"store": identity})}

        (tmp_path / "config.yaml").write_text(yaml.safe_dump(described(*earlier)))
        run_folder.check_same_run(tmp_path, described(*now))

    def test_a_store_that_was_moved_or_copied_goes_on(self, tmp_path, process_groups):
        self.check(tmp_path, ("/old/store", "a" * 64), ("/new/store", "a" * 64))

    def test_another_store_in_its_place_is_refused(self, tmp_path, process_groups):
        with pytest.raises(
            InputError, match=r"a run on other data: expected the store that was /s \(manifest aaaaaaaaaaaa"
        ):
            self.check(tmp_path, ("/s", "a" * 64), ("/s", "b" * 64))

    def test_a_run_of_an_earlier_version_noted_the_path(self, tmp_path, process_groups):
        self.check(tmp_path, ("/s", None), ("/s", "a" * 64))
        with pytest.raises(InputError, match="expected --store /old, found /new"):
            self.check(tmp_path, ("/old", None), ("/new", "a" * 64))
