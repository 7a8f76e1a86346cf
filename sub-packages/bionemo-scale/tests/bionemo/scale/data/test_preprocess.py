# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from bionemo.scale.data import preprocess
from bionemo.scale.data.preprocess import PrepareConfig, prepare
from bionemo.scale.data.reader import Store
from bionemo.scale.types import ExpressionScale, InputError, ObsKeys, Split


@pytest.fixture
def screen_file(tmp_path, screen):
    path = tmp_path / "screen.h5ad"
    screen.write_h5ad(path)
    return path


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_card_and_the_summary_describe_the_store(tmp_path, screen, screen_file):
    split = tmp_path / "split.toml"
    split.write_text(
        '[training]\nscreen = "train"\n[zeroshot]\n"screen.B c" = "test"\n[fewshot."screen.A"]\nval = ["p1"]'
    )
    calls = []
    config = PrepareConfig(inputs=(screen_file,), out=tmp_path / "made" / "store", split=split, num_hvg=20)
    summary = prepare(config, lambda stage, cells, total: calls.append((stage, cells, total)))
    store = Store.open(config.out)
    card = store.card
    assert (
        card.cell_types == ("A", "B c") and card.perturbations == ("p0", "p1", "p2") and card.batches == ("b0", "b1")
    )
    assert card.control == "control" and card.keys == ObsKeys()
    assert card.scale == ExpressionScale(target_sum=1e4, source="counts", library_size_key=None)
    assert card.genes == tuple(name for name in screen.var_names if name in set(card.genes))
    obs = screen.obs
    is_control = obs["perturbation"] == "control"
    expected = {
        "train": ((obs["cell_type"] == "A") & obs["perturbation"].isin(["p0", "p2"])).sum(),
        "val": ((obs["cell_type"] == "A") & (obs["perturbation"] == "p1")).sum(),
        "test": ((obs["cell_type"] == "B c") & ~is_control).sum(),
        "control": is_control.sum(),
        "excluded": 0,
    }
    assert summary.cells_by_split == expected
    assert summary.num_cells == store.num_cells == screen.n_obs
    assert (summary.num_genes, summary.num_genes_found, summary.kind) == (len(card.genes), 60, "counts")
    assert summary.num_bytes == sum(path.stat().st_size for path in config.out.iterdir())
    assert summary.split_sha256 == card.split_sha256 == json.loads(store.split_json)["sha256"]
    for stage in ("scan", "write"):
        assert sum(cells for name, cells, _ in calls if name == stage) == screen.n_obs
    assert {total for *_, total in calls} == {screen.n_obs}


def test_the_same_input_gives_the_same_bytes(tmp_path, screen_file):
    for name in ("first", "second"):
        prepare(PrepareConfig(inputs=(screen_file,), out=tmp_path / name))
    assert files_in(tmp_path / "first") == files_in(tmp_path / "second")
    for name in files_in(tmp_path / "first"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_the_manifest_tells_where_the_store_comes_from(screen_file, tmp_path):
    prepare(PrepareConfig(inputs=(screen_file,), datasets=("mine",), out=tmp_path / "store"))
    text = (tmp_path / "store" / "manifest.json").read_text()
    fields = json.loads(text)
    (entry,) = fields["inputs"]
    assert (entry["name"], entry["dataset"], entry["num_bytes"]) == (
        "screen.h5ad",
        "mine",
        screen_file.stat().st_size,
    )
    assert str(tmp_path) not in text, "a store must not carry paths of the machine it was made on"
    assert {"anndata", "lmdb", "numpy"} <= set(fields["versions"])


def test_held_out_controls_and_fallbacks_are_counted(tmp_path, screen, make_store):
    """Without controls in batch b1, its groups take those of b0."""
    kept = ~((screen.obs["perturbation"] == "control") & (screen.obs["batch"] == "b1"))
    path = tmp_path / "few.h5ad"
    screen[kept].copy().write_h5ad(path)
    summary = prepare(PrepareConfig(inputs=(path,), out=tmp_path / "store"))
    groups = Store.open(tmp_path / "store").groups
    assert summary.num_fallback_groups == sum(
        groups.label(index).batch == "b1" for index in groups.perturbed_in(Split.TRAIN)
    )


def test_library_size_warnings(tmp_path, screen, make_store):
    screen.obs["size"] = 1.0
    path = tmp_path / "a.h5ad"
    screen.write_h5ad(path)
    config = PrepareConfig(inputs=(path,), out=tmp_path / "store", library_size_key="size")
    (warning,) = prepare(config).warnings
    assert warning.startswith(f"{screen.n_obs} cells have a library size in 'size' below the sum")
    assert Store.open(config.out).card.scale.library_size_key == "size"


def test_an_unused_library_size_is_said_and_not_recorded(tmp_path, screen):
    screen.obs["size"] = 100.0
    screen.X = screen.X.astype(np.float32).log1p()
    path = tmp_path / "a.h5ad"
    screen.write_h5ad(path)
    config = PrepareConfig(inputs=(path,), out=tmp_path / "store", library_size_key="size")
    (warning,) = prepare(config).warnings
    assert "were not used" in warning
    assert Store.open(config.out).card.scale == ExpressionScale(source="log1p", library_size_key=None)


def test_overwriting_replaces_a_store_and_nothing_else(tmp_path, screen_file):
    out = tmp_path / "store"
    prepare(PrepareConfig(inputs=(screen_file,), out=out, num_hvg=10))
    with pytest.raises(InputError, match="exists already; .* --overwrite"):
        prepare(PrepareConfig(inputs=(screen_file,), out=out))
    (out / "extra").write_text("gone afterwards")
    prepare(PrepareConfig(inputs=(screen_file,), out=out, num_hvg=20, overwrite=True))
    assert Store.open(out).num_genes == 20 and not (out / "extra").exists()
    other = tmp_path / "notes"
    other.mkdir()
    (other / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="only a store is overwritten"):
        prepare(PrepareConfig(inputs=(screen_file,), out=other, overwrite=True))
    assert files_in(tmp_path) == sorted(
        ["notes", "notes/mine.txt", "screen.h5ad", "store", *(f"store/{path.name}" for path in out.iterdir())]
    )


def test_an_empty_folder_may_be_filled(tmp_path, screen_file):
    (tmp_path / "store").mkdir()
    prepare(PrepareConfig(inputs=(screen_file,), out=tmp_path / "store"))
    assert Store.open(tmp_path / "store").num_cells


@pytest.mark.parametrize("had_store", [False, True])
def test_nothing_is_left_of_a_failed_run(tmp_path, screen_file, monkeypatch, had_store):
    """Whatever happens while the last file is written; an older store stays as it was."""
    out = tmp_path / "store"
    if had_store:
        prepare(PrepareConfig(inputs=(screen_file,), out=out, num_hvg=10))
    before = files_in(tmp_path)
    monkeypatch.setattr(preprocess, "Manifest", lambda **fields: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare(PrepareConfig(inputs=(screen_file,), out=out, overwrite=True))
    assert files_in(tmp_path) == before
    if had_store:
        assert Store.open(out).num_genes == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"datasets": ("a", "b")}, "one dataset name for each of 1 files"),
        ({"num_hvg": -1}, "hvg of at least 0"),
        ({"target_sum": 0.0}, "positive target sum"),
    ],
)
def test_settings_are_checked(tmp_path, screen_file, options, message):
    with pytest.raises(InputError, match=message):
        prepare(PrepareConfig(inputs=(screen_file,), out=tmp_path / "store", **options))


def test_a_file_given_twice_is_refused(tmp_path, screen_file):
    with pytest.raises(InputError, match="given twice"):
        prepare(PrepareConfig(inputs=(screen_file, screen_file), out=tmp_path / "store"))


def test_genes_that_never_vary_are_refused(tmp_path, screen):
    screen.X = np.ones(screen.shape, dtype=np.int32)
    screen.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(InputError, match="expected genes that vary"):
        prepare(PrepareConfig(inputs=(tmp_path / "a.h5ad",), out=tmp_path / "store", num_hvg=5))
