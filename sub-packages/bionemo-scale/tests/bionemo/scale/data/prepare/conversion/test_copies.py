# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import json

import anndata as ad
import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csr_matrix

from bionemo.scale.data.prepare.conversion import copies
from bionemo.scale.data.prepare.conversion.copies import fingerprints, note_copies
from bionemo.scale.data.prepare.merge import merge_stores
from bionemo.scale.data.prepare.preprocess import prepare
from bionemo.scale.data.prepare.settings import PrepareSettings


SPLIT = '[training]\none = "train"\ntwo = "train"\n[zeroshot]\n"one.NK" = "test"\n'


def prints_of(matrix):
    matrix = csr_matrix(matrix)
    return fingerprints(np.diff(matrix.indptr), matrix.indices, matrix.data, num_genes=matrix.shape[1])


@pytest.fixture
def kang(kang_file):
    screen = ad.read_h5ad(kang_file)
    return screen[screen.obs["cell_type"].isin(["NK", "DC"])].copy()


@pytest.fixture
def warnings_of(tmp_path):
    """Prepare screens of given names, and return the warnings about copies."""

    def run(screens, *, text=None, out="store", **options):
        for name, screen in screens.items():
            screen.write_h5ad(tmp_path / f"{name}.h5ad")
        if text is not None:
            (tmp_path / "split.toml").write_text(text)
            options["split"] = tmp_path / "split.toml"
        inputs = tuple(tmp_path / f"{name}.h5ad" for name in screens)
        done = prepare(PrepareSettings(inputs=inputs, out=tmp_path / out, **options))
        return [line for line in done.warnings if "have the values of" in line]

    return run


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_cells_with_other_values_have_other_fingerprints(dtype):
    rng = np.random.default_rng(0)
    cells = rng.poisson(0.3, (2000, 300)).astype(dtype) * (1 if dtype == "u1" else 1.37)
    found = prints_of(cells)
    assert (found != 0).all() and len(set(found.tolist())) == 2000
    np.testing.assert_array_equal(prints_of(cells[::-1]), found[::-1])
    one_more = cells.copy()
    one_more[np.arange(2000), (cells > 0).argmax(axis=1)] += 1
    assert (prints_of(one_more) != found).all()


def test_cells_that_may_be_equal_by_chance_have_none():
    few, many, empty = np.zeros((3, 300))
    few[:10], many[:40] = 1, 1
    assert (prints_of(np.stack([few, many, empty])) != 0).tolist() == [False, True, False]
    assert not prints_of(np.random.default_rng(0).poisson(1, (50, 80))).any()


def test_a_data_set_under_two_names_is_told(kang, warnings_of):
    other = kang[:, ::-1].copy()
    other.obs_names = [f"again-{name}" for name in other.obs_names]
    (line,) = warnings_of({"one": kang, "two": other}, text=SPLIT)
    assert line.startswith("100.0% of the held-out cells have the values of training cells, so that their scores say ")
    assert "'one / NK / IFN-beta' and 'two / NK / IFN-beta'" in line
    (line,) = warnings_of({"one": kang, "two": other}, out="whole")
    assert line.startswith("100.0% of the cells have the values of another cell")


def test_a_cell_twice_in_a_file_is_told(kang, warnings_of):
    again = kang[:30].copy()
    again.obs_names = [f"again-{name}" for name in again.obs_names]
    (line,) = warnings_of({"one": ad.concat([kang, again])})
    assert line.startswith(f"{60 / 213:.1%} of the cells have the values of another cell")
    assert not warnings_of({"one": kang}, out="once", num_hvg=0)


def test_a_single_leak_does_not_hide_copies_among_the_other_cells(kang, warnings_of, monkeypatch):
    monkeypatch.setattr(copies, "_SHARE", 0.1)
    nk = kang[kang.obs["cell_type"] == "NK"]
    leak = nk[:1].copy()
    leak.obs["cell_type"] = "DC"
    others = [kang[kang.obs["cell_type"] == "DC"]] * 2
    screen = ad.concat([nk, leak, *others])
    screen.obs_names_make_unique()
    (line,) = warnings_of({"one": screen}, text=SPLIT.replace('two = "train"\n', ""))
    assert "of the cells have the values of another cell" in line


def test_equal_cells_of_a_small_panel_are_no_copies(kang, warnings_of):
    panel = kang[:, np.asarray((kang.X > 0).sum(axis=0)).ravel().argsort()[-30:]].copy()
    panel.X = (panel.X > 0).astype(np.int32) * 2
    assert not warnings_of({"one": panel}, num_hvg=0, values="counts")


def test_fingerprints_that_are_equal_by_chance_are_looked_at(kang, warnings_of, monkeypatch):
    monkeypatch.setattr(copies, "_MIX", (np.uint64(0), np.uint64(0), np.uint64(32)))
    assert not warnings_of({"one": kang})


def test_a_part_of_the_cells_of_a_large_store_is_compared(kang, warnings_of, monkeypatch):
    monkeypatch.setattr(copies, "_MOST_CELLS", 100)
    (line,) = warnings_of({"one": kang, "two": kang}, text=SPLIT)
    assert line.startswith("100.0% of the held-out cells")


def test_copies_in_stores_of_two_machines_are_told_when_they_are_joined(kang, warnings_of, tmp_path):
    for name in ("one", "two"):
        assert not warnings_of({name: kang}, out=f"store-{name}", num_hvg=0)
    parts = [tmp_path / "store-one", tmp_path / "store-two"]
    done = merge_stores(parts, tmp_path / "both", split=None, progress=lambda stage, count, total: None)
    (line,) = done.warnings
    assert line.startswith("100.0% of the cells have the values of another cell")


def test_a_store_of_an_earlier_version_is_read(kang, warnings_of, tmp_path):
    warnings_of({"one": kang, "two": kang})
    assert note_copies(tmp_path / "store")
    path, manifest = (tmp_path / "store" / name for name in ("obs-00001.parquet", "manifest.json"))
    pq.write_table(pq.read_table(path).drop_columns(["fingerprint"]), path)
    fields = json.loads(manifest.read_text())
    fields["obs"][1].update(num_bytes=path.stat().st_size)
    manifest.write_text(json.dumps(fields))
    assert note_copies(tmp_path / "store") == ()
