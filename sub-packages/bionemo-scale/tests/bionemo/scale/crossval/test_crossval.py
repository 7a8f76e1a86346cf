# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import json
import shutil

import pytest

from bionemo.scale.crossval import job
from bionemo.scale.crossval.crossval import NOTE, PREPARED, SCORES, Crossval
from bionemo.scale.crossval.fold_run import network_steps
from bionemo.scale.crossval.job import cluster_steps, cross_validate, make_store
from bionemo.scale.crossval.settings import CrossvalSettings
from bionemo.scale.data.prepare.conversion.workspace import WORK_NAME
from bionemo.scale.data.prepare.preprocess import prepare
from bionemo.scale.run import crossval as command
from bionemo.scale.types import InputError


@pytest.fixture
def make(screen, tmp_path):
    """A cross-validation over the two batches of a small screen."""
    screen.write_h5ad(tmp_path / "screen.h5ad")

    def make(train=None, prepare=None, **options) -> Crossval:
        fields = dict(inputs=(tmp_path / "screen.h5ad",), out=tmp_path / "out", leave_out="batch", no_network=True)
        return Crossval(
            settings=CrossvalSettings.make(**{**fields, **options}), train=train or {}, prepare=prepare or {}
        )

    return make


def silent(line):
    pass


def finish(crossval, number):
    """Mark a fold as scored."""
    (crossval.open_fold(number) / SCORES).mkdir()
    (crossval.folders[number] / SCORES / "summary.json").write_text("{}")


def test_the_store_is_prepared_once_and_folds_share_its_files(make):
    crossval, said = make(), []
    make_store(crossval, said.append)
    assert said == ["preparing the store"]
    folders = [crossval.open_fold(number) for number in range(2)]
    inodes = {(folder / "store" / "perturbed-00000.lmdb").stat().st_ino for folder in (crossval.out, *folders)}
    assert len(inodes) == 1 and [folder.name for folder in folders] == ["01 b0", "02 b1"]
    make_store(make(), said.append)
    assert said == ["preparing the store"]
    with pytest.raises(
        InputError, match="prepared.json: holds a store of other settings: expected num_hvg 2000, found 20"
    ):
        make_store(make(prepare={"num_hvg": 20}), silent)


@pytest.mark.parametrize("leave_out", ["perturbation", "batch"])
def test_guides_of_a_gene_that_a_fold_leaves_out_are_told(make, screen, tmp_path, leave_out):
    screen.obs["perturbation"] = screen.obs["perturbation"].astype(str).replace({"p1": "STAT1g1", "p2": "STAT1g2"})
    screen.write_h5ad(tmp_path / "screen.h5ad")
    said = []
    make_store(make(leave_out=leave_out), said.append)
    assert ["'STAT1'" in line for line in said[1:]] == [True] * (leave_out == "perturbation")


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_results_can_be_moved_and_copied(move, make, tmp_path):
    crossval, said = make(), []
    make_store(crossval, said.append)
    finish(crossval, 0)
    place = tmp_path / "elsewhere" / "results"
    place.parent.mkdir()
    move(crossval.out, place)
    moved = make(out=place)
    make_store(moved, said.append)
    assert said == ["preparing the store"] and moved.is_finished(0) and not moved.is_finished(1)
    # The screen moves too, to another time.
    shutil.copyfile(tmp_path / "screen.h5ad", place.parent / "screen.h5ad")
    make_store(make(inputs=(place.parent / "screen.h5ad",), out=place), silent)
    (place.parent / "screen.h5ad").write_bytes(b"other")
    with pytest.raises(InputError, match="holds a store of other settings: expected inputs "):
        make_store(make(inputs=(place.parent / "screen.h5ad",), out=place), silent)
    (place.parent / "screen.h5ad").unlink()
    with pytest.raises(InputError, match=f"screen.h5ad: no such file; the store is there: give --store {place}/store"):
        make_store(make(inputs=(place.parent / "screen.h5ad",), out=place), silent)


def test_what_an_earlier_version_noted_is_continued(make, tmp_path):
    crossval = make(no_network=False, train={"max_steps": 7})
    make_store(crossval, silent)
    finish(crossval, 0)
    prepared, fold = crossval.out / PREPARED, crossval.folders[0] / NOTE
    store, described = json.loads(prepared.read_text()), json.loads(fold.read_text())
    # Whole paths, and options that were not there yet.
    store |= {"out": "/old/place/store", "inputs": [["/old/" + store["inputs"][0][0], *store["inputs"][0][1:]]]}
    del store["whole_agents"], described["training"]["preset"]
    prepared.write_text(json.dumps(store))
    fold.write_text(json.dumps(described))
    again = make(no_network=False, train={"max_steps": 7})
    make_store(again, silent)
    assert again.is_finished(0)
    # Of the settings that go with a preset the first is named.
    with pytest.raises(InputError, match="holds a fold of other settings: expected "):
        make(no_network=False, train={"max_steps": 7, "preset": "paper"}).is_finished(0)


def test_the_weights_that_folds_start_from_are_known_by_their_content(make, tmp_path):
    def checkpoint(name, content):
        for file in ("context/io.json", "context/model.yaml", "weights/.metadata", "weights/metadata.json"):
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(content)
        return tmp_path / name

    def starting(start):
        return make(no_network=False, size="tiny", train={"from_checkpoint": start})

    first = checkpoint("first", "1")
    crossval = starting(first)
    make_store(crossval, silent)
    finish(crossval, 0)
    assert starting(checkpoint("copy", "1")).is_finished(0)
    with pytest.raises(InputError, match="expected from_checkpoint '"):
        starting(checkpoint("other", "2")).is_finished(0)
    # Earlier versions noted the path.
    note = crossval.folders[0] / NOTE
    described = json.loads(note.read_text())
    described["training"]["from_checkpoint"] = str(first)
    note.write_text(json.dumps(described))
    assert starting(first).is_finished(0)


def test_a_run_in_the_present_folder_decides_nothing(make, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(
        "run: {sets: mixed, size: tiny, set_size: 4}\nmodel: {sets: mixed}\n"
    )
    monkeypatch.chdir(tmp_path)
    crossval = make(no_network=False, size="tiny")
    make_store(crossval, silent)
    assert crossval.description(crossval.folds[0])["training"]["sets"] == "batch"


def test_a_fold_of_other_settings_is_not_taken_for_this_one(make):
    crossval = make(no_network=False, train={"max_steps": 7})
    make_store(crossval, silent)
    assert not crossval.is_finished(0)
    finish(crossval, 0)
    assert crossval.is_finished(0) and not crossval.is_finished(1)
    # Hardware makes no difference.
    assert make(no_network=False, train={"max_steps": 7, "num_workers": 2}).is_finished(0)
    with pytest.raises(
        InputError, match=r"fold.json: holds a fold of other settings: expected max_steps 7, found 8; "
    ):
        make(no_network=False, train={"max_steps": 8}).is_finished(0)
    with pytest.raises(InputError, match="expected training True, found False"):
        make().is_finished(0)


def test_the_command_of_a_fold_is_the_same_cross_validation(make):
    crossval = make(
        no_network=False, network_alone=True, train={"max_steps": 7, "folds": 4, "lr": 0.01}, only=("b0", "b1")
    )
    make_store(crossval, silent)
    words = crossval.words(fold=2)
    parsed = command.parser().parse_args(words)
    again = Crossval(
        settings=command.make_settings(CrossvalSettings, parsed),
        **{name: command.fields_of(name, parsed, command.COMMANDS) for name in command.COMMANDS},
    )
    assert (again.settings.fold, again.settings.folds, again.store) == (2, None, crossval.store)
    assert [again.description(fold) for fold in again.folds] == [crossval.description(fold) for fold in crossval.folds]
    assert json.loads((crossval.open_fold(0) / NOTE).read_text()) == again.description(again.folds[0])


def test_a_network_s_commands(make):
    crossval = make(no_network=False, network_alone=True, size="tiny", train={"seed": 3})
    make_store(crossval, silent)
    steps = network_steps(crossval.folders[1], crossval)
    assert [step.name for step in steps] == ["train", "infer", "infer", "evaluate"]
    folder = str(crossval.folders[1])
    assert f"{folder}/store" in steps[0].arguments and "tiny" in steps[0].arguments
    assert steps[2].arguments[steps[2].arguments.index("--network-weight") + 1] == "1.0"
    assert [word for word in steps[3].arguments if word in ("SCALE", "network alone")] == ["SCALE", "network alone"]


def test_a_cluster_gets_a_task_for_each_fold_that_is_missing(make):
    crossval = make(on="slurm", site="site.yaml", leave_out="condition")
    make_store(crossval, silent)
    finish(crossval, 1)
    folds, together = (scheduled.step for scheduled in cluster_steps(crossval))
    assert folds.each == {"folds": ("1", "3", "4", "5", "6")}
    assert folds.arguments[-1] == '--fold="${folds[SLURM_ARRAY_TASK_ID]}"'
    assert folds.arguments[:-1] == together.arguments and "slurm" not in together.arguments
    many = make(on="slurm", site="site.yaml", no_network=False, train={"devices": 2})
    with pytest.raises(
        InputError, match="--on slurm: each fold is a job of one process, expected --devices 1, found 2"
    ):
        cluster_steps(many)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"store": "s"}, "expected h5ad files or --store, found both"),
        ({"inputs": ()}, "expected h5ad files or --store, found none"),
        ({"size": "tiny"}, "--size tiny goes with a network, found --no-network"),
        ({"train": {"max_steps": 3}}, "--max-steps goes with a network, found --no-network"),
        ({"no_network": False, "train": {"max_steps": 0}}, "--max-steps must be at least 1, found 0"),
        ({"network_alone": True}, "expected one of --no-network and --network-alone, found both"),
        (
            {"inputs": (), "store": "s", "prepare": {"num_hvg": 3}},
            "--hvg goes with h5ad files: a store is prepared already",
        ),
        (
            {"leave_out": "donor"},
            "--leave-out must be one of cell-type, batch, cell-type-and-batch, condition, perturbation",
        ),
        ({"folds": 1}, "--folds must be at least 2, found 1"),
        ({"on": "slurm"}, "--on slurm and --site SITE.yaml go together"),
        ({"workers": 2, "fold": 1}, "--fold runs one fold here"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message, make):
    with pytest.raises(InputError, match=f"^{message}"):
        make(**options)


def test_input_that_cannot_be_prepared_leaves_nothing(make, tmp_path):
    with pytest.raises(InputError, match="none.h5ad: no such file"):
        make_store(make(inputs=(tmp_path / "none.h5ad",)), silent)
    assert not (tmp_path / "out").exists()


def test_a_stop_after_the_store_was_made_keeps_its_note_and_is_tidied(make, monkeypatch):
    def stopped(config):
        prepare(config)
        (config.out / WORK_NAME).mkdir()
        (config.out / ".lock").touch()
        raise InputError("stopped")

    with monkeypatch.context() as patched, pytest.raises(InputError, match="stopped"):
        patched.setattr(job, "prepare", stopped)
        make_store(make(), silent)
    make_store(make(), silent)
    assert not [path.name for path in make().store.iterdir() if path.name.startswith(".")]


def test_vectors_are_part_of_what_a_fold_is(make, tmp_path):
    vectors = tmp_path / "vectors.csv"
    vectors.write_text("name,x\np0,1\n")
    crossval = make(no_network=False, perturbation_features=vectors)
    make_store(crossval, silent)
    finish(crossval, 0)
    steps = network_steps(crossval.folders[0], crossval)
    assert [str(vectors) in step.arguments for step in steps] == [True, False, True]
    vectors.write_text("name,x\np0,2\n")
    with pytest.raises(InputError, match="expected features '"):
        crossval.is_finished(0)


def test_refusals_that_need_the_data(make):
    with pytest.raises(InputError, match="--fold must be at most 2, the number of folds, found 3"):
        cross_validate(make(fold=3), silent)
    with pytest.raises(InputError, match="--only: no batch 'b7'"):
        cross_validate(make(only=("b7",)), silent)
    nodes = {"num_nodes": 2, "devices": 1}
    with pytest.raises(InputError, match="--num-nodes: a fold trains on one machine, found 2"):
        cross_validate(make(no_network=False, train=nodes), silent)
