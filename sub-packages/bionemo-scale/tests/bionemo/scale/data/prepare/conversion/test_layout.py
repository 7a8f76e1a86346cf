# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from bionemo.scale.data.labels.split import Condition, parse_split, resolve_split
from bionemo.scale.data.prepare.conversion import layout
from bionemo.scale.data.prepare.conversion.layout import (
    FileLabels,
    blocks_of_shard,
    check_controls,
    count_conditions,
    count_groups,
    lay_out,
    read_labels,
    rows_of_file,
)
from bionemo.scale.files.anndata.anndata_file import H5adSource, Labels
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.types import Group, InputError, ObsKeys, Split


def labels(values):
    names = tuple(sorted(set(values)))
    return Labels(codes=np.array([names.index(value) for value in values], dtype=np.int32), names=names)


def file_labels(tmp_path, dataset, cells):
    cell_type, perturbation, batch = (labels(column) for column in zip(*cells, strict=True))
    return FileLabels(
        path=tmp_path / dataset, dataset=dataset, cell_type=cell_type, perturbation=perturbation, batch=batch
    )


def split_of(files, text=None):
    spec = None if text is None else parse_split(text)
    return resolve_split(spec, count_conditions([count_groups(file) for file in files]), control="control")


def lay_out_files(files, split):
    """The table of groups, and the rows of every file."""
    groups = lay_out([count_groups(file) for file in files], split)
    return groups, [rows_of_file(file, groups, number) for number, file in enumerate(files)]


CELLS = [
    ("B", "p", "b1"),
    ("A", "control", "b0"),
    ("A", "q", "b0"),
    ("B", "p", "b1"),
    ("A", "p", "b0"),
    ("B", "control", "b1"),
    ("A", "p", "b0"),
    ("C", "p", "b2"),
    ("C", "control", "b2"),
]


@pytest.mark.parametrize("table_limit", [0, 1 << 24])
def test_cells_are_numbered_group_by_group_in_file_order(tmp_path, monkeypatch, table_limit):
    monkeypatch.setattr(layout, "_MAX_KEY_TABLE", table_limit)
    files = [file_labels(tmp_path, "d", CELLS), file_labels(tmp_path, "e", CELLS)]
    groups, rows_by_file = lay_out_files(files, split_of(files))
    for number, rows in enumerate(rows_by_file):
        assert sorted(rows.tolist()) == list(range(len(CELLS)))
        for cell, row in zip(CELLS, (rows + number * len(CELLS)).tolist(), strict=True):
            group = int(np.searchsorted(groups.first_row, row, side="right")) - 1
            assert groups.label(group) == Group("de"[number], *cell)
            assert groups.shard[group] == number
    assert rows_by_file[0][[0, 3]].tolist() == sorted(rows_by_file[0][[0, 3]].tolist())
    first = [groups.label(index).perturbation for index in np.flatnonzero(groups.shard == 0)]
    assert first == ["p", "q", "p", "p", "control", "control", "control"]


def test_left_out_cells_have_no_row_and_no_name(tmp_path):
    files = [file_labels(tmp_path, "d", CELLS), file_labels(tmp_path, "e", CELLS)]
    groups, rows = lay_out_files(files, split_of(files, '[training]\nd = "train"\n[zeroshot]\n"e.B" = "test"'))
    assert (rows[0] >= 0).all()
    assert (rows[1] >= 0).tolist() == [cell[0] == "B" for cell in CELLS]
    assert {groups.label(index) for index in groups.perturbed_in(Split.TEST)} == {Group("e", "B", "p", "b1")}
    assert set(groups.split[groups.is_control]) == {"train"}
    only_e, _ = lay_out_files(files[1:], split_of(files[1:], '[zeroshot]\n"e.B" = "train"'))
    assert (only_e.cell_types, only_e.perturbations, only_e.batches) == (("B",), ("p",), ("b1",))


def test_filtered_cells_are_left_out(tmp_path):
    whole = file_labels(tmp_path, "d", CELLS)
    kept = np.array([cell[1] != "q" for cell in CELLS])
    file = dataclasses.replace(whole, kept=kept)
    groups, (rows,) = lay_out_files([file], split_of([file]))
    assert (rows >= 0).tolist() == kept.tolist() and groups.perturbations == ("p",)
    assert groups.num_cells.sum() == kept.sum()


def test_the_same_group_in_two_files_is_refused(tmp_path):
    files = [file_labels(tmp_path, "d", CELLS), file_labels(tmp_path, "d", CELLS[:2])]
    with pytest.raises(InputError, match="give the files different --dataset names"):
        lay_out_files(files, split_of(files))


def test_files_of_one_dataset_may_share_names(tmp_path):
    files = [file_labels(tmp_path, "d", CELLS[:7]), file_labels(tmp_path, "d", CELLS[7:])]
    groups, _ = lay_out_files(files, split_of(files))
    assert groups.datasets == ("d",) and set(groups.shard) == {0, 1}


def test_all_control_labels_become_the_first(tmp_path, make_store, screen):
    screen.obs["perturbation"] = screen.obs["perturbation"].astype(str).replace({"p1": "DMSO"})
    screen.write_h5ad(tmp_path / "a.h5ad")
    with H5adSource(tmp_path / "a.h5ad") as source:
        file = read_labels(source, "a", ObsKeys(), grammar=Grammar(controls=("DMSO", "control")))
        found = {tmp_path / "a.h5ad": source.labels("perturbation").names}
        check_controls(found, ObsKeys(), ["DMSO", "control"])
        with pytest.raises(InputError, match=r"no control label 'dmso'; did you mean 'DMSO'"):
            check_controls(found, ObsKeys(), ["control", "dmso"])
    counts = count_conditions([count_groups(file)])
    expected = screen.obs["perturbation"].isin(["DMSO", "control"]) & (screen.obs["cell_type"] == "A")
    assert counts[Condition("a", "A", "DMSO")] == expected.sum()
    assert not any(condition.perturbation == "control" for condition in counts)


def test_blocks_cover_the_rows(make_groups):
    """Counted from the first group and row of their input."""
    groups = make_groups(
        ("d", "A", "p", "b0", Split.TRAIN, 300),
        ("e", "A", "p", "b0", Split.TRAIN, 600),
        ("e", "A", None, "b0", Split.TRAIN, 256),
    )
    groups = dataclasses.replace(groups, shard=np.array([0, 1, 1]))
    blocks = blocks_of_shard(groups, 1)
    assert blocks.group.tolist() == [0, 0, 0, 1]
    assert blocks.chunk.tolist() == [0, 1, 2, 0]
    assert blocks.first_row.tolist() == [0, 256, 512, 600]
    assert blocks.num_cells.tolist() == [256, 256, 88, 256]
    assert blocks.is_control.tolist() == [False, False, False, True]
