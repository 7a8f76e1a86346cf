# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from bionemo.scale.data.labels.split import Context
from bionemo.scale.data.labels.state_experiment import read_state
from bionemo.scale.types import InputError, Split


@pytest.fixture
def folder(tmp_path):
    for name in ("a/1.h5ad", "a/2.h5", "a/2.h5ad", "a/notes.txt", "b/x1.h5ad", "b/y1.h5ad", "b/z1.h5ad", "c.h5ad"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def read(folder, text):
    (folder / "experiment.toml").write_text(text)
    return read_state(folder / "experiment.toml")


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("c.h5ad", ["c.h5ad"]),
        # Of two files with one stem, the later ending.
        ("a", ["a/2.h5ad", "a/1.h5ad"]),
        ("a/", ["a/2.h5ad", "a/1.h5ad"]),
        ("b/*.h5ad", ["b/x1.h5ad", "b/y1.h5ad", "b/z1.h5ad"]),
        ("b/{z,x}1.h5ad", ["b/z1.h5ad", "b/x1.h5ad"]),
        ("b/{x, y}?.h5ad", ["b/x1.h5ad", "b/y1.h5ad"]),
        ("{a,b}", ["a/2.h5ad", "a/1.h5ad", "b/x1.h5ad", "b/y1.h5ad", "b/z1.h5ad"]),
    ],
)
@pytest.mark.parametrize("where", ["working folder", "beside the file", "absolute"])
def test_places_of_files(folder, monkeypatch, place, expected, where):
    monkeypatch.chdir(folder if where == "working folder" else Path("/"))
    prefix = f"{folder}/" if where == "absolute" else ""
    found = read(folder, f'[datasets]\nd = "{prefix}{place}"\n[training]\nd = "train"')
    assert [path.resolve() for path in found.inputs] == [folder / name for name in expected]
    assert found.datasets == ("d",) * len(expected)


def test_only_data_sets_that_a_section_names_are_read(folder):
    found = read(
        folder,
        '[datasets]\na = "a"\nb = "b"\nc = "c.h5ad"\nd = "nowhere"\n[training]\na = "train"\nd = "no"\n'
        '[zeroshot]\n"c.T" = "val"',
    )
    assert set(found.datasets) == {"a", "c"} and found.spec.training == ("a",)
    assert found.spec.zeroshot == {Context("c", "T"): Split.VAL}
    assert found.warnings == ('[training] d is not "train" and means nothing',)


def test_a_perturbation_in_val_and_test_is_for_the_test(folder):
    found = read(
        folder,
        '[datasets]\na = "a"\n[training]\na = "train"\n[fewshot."a.T"]\nval = ["p", "q"]\ntest = ["q"]\nother = 3',
    )
    assert found.spec.fewshot == {Context("a", "T"): {"p": Split.VAL, "q": Split.TEST}}
    assert found.warnings == ("[fewshot.'a.T'] 1 perturbations are in val and test, 'q' first: test",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[training]\na = "train"', r"\[datasets\] expected a path for 'a', found None"),
        ('[datasets]\na = "nowhere"\n[training]\na = "train"', "expected h5 or h5ad files, found none"),
        ("[datasets", "expected TOML"),
        ('[dataset]\na = "a"', r"unknown section \[dataset\]; did you mean 'datasets'"),
        ('[datasets]\na = "a"\n[zeroshot]\n"a.T" = "tset"', "must be train, val or test, found 'tset'"),
    ],
)
def test_experiments_that_cannot_be_used_are_refused(folder, text, message):
    with pytest.raises(InputError, match=message):
        read(folder, text)
    with pytest.raises(InputError, match="no such experiment file"):
        read_state(folder / "other.toml")
