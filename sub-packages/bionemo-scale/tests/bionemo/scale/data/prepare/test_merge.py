# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import os

import numpy as np
import pytest

from bionemo.scale.data.prepare.inspection import verify_store
from bionemo.scale.data.prepare.merge import merge_stores
from bionemo.scale.data.prepare.preprocess import prepare, scan_only
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.data.store.reader import Store
from bionemo.scale.types import InputError, Split


SPLIT = """
[training]
mine = "train"
[zeroshot]
"mine.B c" = "test"
[fewshot."mine.A"]
val = ["p1"]
"""


def silent(stage, count, total):
    pass


@pytest.fixture
def plates(tmp_path, screen):
    """One data set in three files; only the first has p0, so that no file knows all names of the split."""
    (tmp_path / "split.toml").write_text(SPLIT)
    inputs = []
    screen.obs["batch"] = screen.obs["batch"].astype(str)
    for number in range(3):
        plate = screen[number::3].copy()
        plate.obs["batch"] = plate.obs["batch"] + f" of {number}"
        if number:
            plate = plate[plate.obs["perturbation"] != "p1"].copy()
        inputs.append(tmp_path / f"plate{number}.h5ad")
        plate.write_h5ad(inputs[-1])
    return inputs


def config_of(tmp_path, inputs, out, **options):
    fields = dict(datasets=("mine",), split=tmp_path / "split.toml", num_hvg=20)
    return PrepareSettings(inputs=tuple(inputs), out=tmp_path / out, **{**fields, **options})


def convert_apart(tmp_path, plates, **options):
    """As on three machines: scan, then write, each file by itself."""
    scans, parts = [], []
    for number, path in enumerate(plates):
        scans.append(tmp_path / f"scan{number}")
        (found,) = scan_only(config_of(tmp_path, [path], scans[-1].name))
        assert found.name == path.name and found.moments.num_cells.max() > 0
    for number, path in enumerate(plates):
        parts.append(tmp_path / f"part{number}")
        prepare(config_of(tmp_path, [path], parts[-1].name, scanned=tuple(scans), **options))
    return parts


def test_files_converted_apart_and_merged_are_the_store_of_all(tmp_path, plates):
    """Byte for byte, manifest and split included."""
    whole = prepare(config_of(tmp_path, plates, "whole"))
    parts = convert_apart(tmp_path, plates)
    done = merge_stores(parts, tmp_path / "merged", split=tmp_path / "split.toml", progress=silent)
    assert (done.num_cells, done.num_inputs, done.split_sha256) == (whole.num_cells, 3, whole.split_sha256)
    assert verify_store(tmp_path / "merged", silent) == whole.num_cells
    names = sorted(path.name for path in whole.out.iterdir())
    assert sorted(path.name for path in (tmp_path / "merged").iterdir()) == names and len(names) == 11
    for name in names:
        assert (tmp_path / "merged" / name).read_bytes() == (whole.out / name).read_bytes()
    assert Store.open(done.out).groups.perturbed_in(Split.VAL).size > 0


def test_parts_stay_as_they_are(tmp_path, plates, monkeypatch):
    parts = convert_apart(tmp_path, plates)
    monkeypatch.setattr(os, "link", lambda *paths: (_ for _ in ()).throw(OSError("no links here")))
    done = merge_stores(parts, tmp_path / "merged", split=tmp_path / "split.toml", progress=silent)
    store = Store.open(done.out)
    cells = store.read(np.arange(store.num_cells))
    assert sum(verify_store(part, silent) for part in parts[:1]) + cells.shape[0] > 0
    assert sum(Store.open(part).num_cells for part in parts) == store.num_cells


def test_stores_without_split_are_merged(tmp_path, plates):
    parts = convert_apart_without_split(tmp_path, plates)
    done = merge_stores(parts, tmp_path / "merged", split=None, progress=silent)
    assert done.split_sha256 is None and verify_store(done.out, silent) == done.num_cells


def convert_apart_without_split(tmp_path, plates):
    parts = []
    for number, path in enumerate(plates):
        parts.append(tmp_path / f"part{number}")
        prepare(config_of(tmp_path, [path], parts[-1].name, split=None, num_hvg=0))
    return parts


def test_merging_needs_one_split_of_all(tmp_path, plates):
    parts = convert_apart(tmp_path, plates)
    with pytest.raises(InputError, match="part0: was made with a split; give its file with --split"):
        merge_stores(parts, tmp_path / "merged", split=None, progress=silent)
    (tmp_path / "split.toml").write_text(SPLIT.replace('val = ["p1"]', 'val = ["p2"]'))
    with pytest.raises(InputError, match=r"part0: \('mine', 'A', 'p1'\) is in val, expected train by"):
        merge_stores(parts, tmp_path / "merged", split=tmp_path / "split.toml", progress=silent)
    (tmp_path / "split.toml").write_text(SPLIT.replace("p1", "p7"))
    with pytest.raises(InputError, match="perturbation 'p7' is unknown"):
        merge_stores(parts, tmp_path / "merged", split=tmp_path / "split.toml", progress=silent)
    assert not (tmp_path / "merged").exists()


def test_stores_that_differ_are_refused(tmp_path, plates):
    parts = convert_apart_without_split(tmp_path, plates)
    other = tmp_path / "other"
    prepare(config_of(tmp_path, plates[:1], "other", split=None, num_hvg=10))
    with pytest.raises(InputError, match=r"other: expected the 60 genes of .*part1 in their order, found 1\d genes"):
        merge_stores([parts[1], other], tmp_path / "merged", split=None, progress=silent)
    prepare(config_of(tmp_path, plates[:1], "scaled", split=None, num_hvg=0, target_sum=50.0))
    with pytest.raises(InputError, match="scaled: expected the scale of .*target_sum=10000.0"):
        merge_stores([parts[1], tmp_path / "scaled"], tmp_path / "merged", split=None, progress=silent)
    with pytest.raises(InputError, match=r"cells of \('mine', .* are in .*part0"):
        merge_stores([parts[0], parts[0]], tmp_path / "merged", split=None, progress=silent)
    with pytest.raises(InputError, match="at least two stores"):
        merge_stores(parts[:1], tmp_path / "merged", split=None, progress=silent)


def test_names_of_cells_that_were_changed_are_not_merged(tmp_path, plates):
    parts = convert_apart_without_split(tmp_path, plates)
    path = parts[1] / "obs-00000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"part1/obs-00000.parquet: expected sha256 \w+, found another"):
        merge_stores(parts, tmp_path / "merged", split=None, progress=silent)
    assert not (tmp_path / "merged").exists()


def test_a_shard_that_is_no_database_is_not_merged(tmp_path, plates):
    parts = convert_apart_without_split(tmp_path, plates)
    path = parts[1] / "perturbed-00000.lmdb"
    data = bytearray(path.read_bytes())
    data[:8192] = bytes(8192)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"part1/perturbed-00000.lmdb: damaged shard, .*verify that store"):
        merge_stores(parts, tmp_path / "merged", split=None, progress=silent)
    assert not (tmp_path / "merged").exists()


def test_scans_of_other_options_or_files_are_refused(tmp_path, plates):
    scan_only(config_of(tmp_path, plates[:1], "scan"))
    scans = (tmp_path / "scan",)
    with pytest.raises(InputError, match="found other target_sum"):
        prepare(config_of(tmp_path, plates[:1], "part", scanned=scans, target_sum=50.0))
    with pytest.raises(InputError, match=r"plate1.h5ad: expected it, as mine with \d+ cells, among the scans"):
        prepare(config_of(tmp_path, plates[1:2], "part", scanned=scans))
    with pytest.raises(InputError, match="expected the folder that --scan-only made"):
        prepare(config_of(tmp_path, plates[:1], "part", scanned=(tmp_path,)))


def test_a_part_may_lack_controls_but_not_the_whole(tmp_path, plates, screen):
    (tmp_path / "split.toml").write_text('[training]\nmine = "train"\n')
    bare = screen[((screen.obs["perturbation"] != "control") | (screen.obs["cell_type"] == "A")).to_numpy()].copy()
    bare.obs["batch"] = "bare"
    bare.write_h5ad(tmp_path / "bare.h5ad")
    inputs = [tmp_path / "bare.h5ad", plates[0]]
    with pytest.raises(InputError, match="cell type 'B c': expected control cells"):
        prepare(config_of(tmp_path, inputs[:1], "alone"))
    parts = convert_apart(tmp_path, inputs)
    merged = merge_stores(parts, tmp_path / "merged", split=tmp_path / "split.toml", progress=silent)
    assert merged.num_fallback_groups > 0 and verify_store(merged.out, silent) == merged.num_cells
