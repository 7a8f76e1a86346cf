# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import contextlib
import json
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from bionemo.scale.data.prepare import preprocess
from bionemo.scale.data.prepare.conversion import writer
from bionemo.scale.data.prepare.inspection import verify_store
from bionemo.scale.data.prepare.preprocess import prepare
from bionemo.scale.data.prepare.settings import Knockdown, PrepareSettings
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.anndata import anndata_file as h5ad
from bionemo.scale.types import ExpressionScale, InputError, ObsKeys, Split


@pytest.fixture
def screen_file(tmp_path, screen):
    path = tmp_path / "screen.h5ad"
    screen.write_h5ad(path)
    return path


def folder_bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_card_and_the_summary_describe_the_store(tmp_path, screen, screen_file):
    split = tmp_path / "split.toml"
    split.write_text(
        '[training]\nscreen = "train"\n[zeroshot]\n"screen.B c" = "test"\n[fewshot."screen.A"]\nval = ["p1"]'
    )
    calls = []
    config = PrepareSettings(inputs=(screen_file,), out=tmp_path / "made" / "store", split=split, num_hvg=20)
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
        prepare(PrepareSettings(inputs=(screen_file,), out=tmp_path / name))
    assert files_in(tmp_path / "first") == files_in(tmp_path / "second")
    for name in files_in(tmp_path / "first"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_the_manifest_tells_where_the_store_comes_from(screen_file, tmp_path):
    prepare(PrepareSettings(inputs=(screen_file,), datasets=("mine",), out=tmp_path / "store"))
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
    summary = prepare(PrepareSettings(inputs=(path,), out=tmp_path / "store"))
    groups = Store.open(tmp_path / "store").groups
    assert summary.num_fallback_groups == sum(
        groups.label(index).batch == "b1" for index in groups.perturbed_in(Split.TRAIN)
    )


def test_library_size_warnings(tmp_path, screen, make_store):
    screen.obs["size"] = 0.8 * np.asarray(screen.X.sum(axis=1)).ravel()
    path = tmp_path / "a.h5ad"
    screen.write_h5ad(path)
    config = PrepareSettings(inputs=(path,), out=tmp_path / "store", library_size_key="size")
    (warning,) = prepare(config).warnings
    assert warning.startswith(f"{screen.n_obs} cells have a library size in 'size' below the sum")
    assert Store.open(config.out).card.scale.library_size_key == "size"


def test_an_unused_library_size_is_said_and_not_recorded(tmp_path, screen):
    """Genes were taken out after scaling; the library sizes show to what."""
    screen.obs["size"] = 2.0 * screen.X.sum(axis=1).A1
    screen.X = np.log1p(screen.X.toarray() / screen.obs["size"].to_numpy()[:, None] * 1e4).astype(np.float32)
    path = tmp_path / "a.h5ad"
    screen.write_h5ad(path)
    config = PrepareSettings(inputs=(path,), out=tmp_path / "store", library_size_key="size")
    (warning,) = prepare(config).warnings
    assert "only checked their scale" in warning
    assert Store.open(config.out).card.scale == ExpressionScale(source="log1p", library_size_key=None)


def test_overwriting_replaces_a_store_and_nothing_else(tmp_path, screen_file):
    out = tmp_path / "store"
    prepare(PrepareSettings(inputs=(screen_file,), out=out, num_hvg=10))
    with pytest.raises(InputError, match="exists already; .* --overwrite"):
        prepare(PrepareSettings(inputs=(screen_file,), out=out))
    (out / "extra").write_text("gone afterwards")
    prepare(PrepareSettings(inputs=(screen_file,), out=out, num_hvg=20, overwrite=True))
    assert Store.open(out).num_genes == 20 and not (out / "extra").exists()
    other = tmp_path / "notes"
    other.mkdir()
    (other / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="only a store is overwritten"):
        prepare(PrepareSettings(inputs=(screen_file,), out=other, overwrite=True))
    assert files_in(tmp_path) == sorted(
        ["notes", "notes/mine.txt", "screen.h5ad", "store", *(f"store/{path.name}" for path in out.iterdir())]
    )


def test_an_empty_folder_may_be_filled(tmp_path, screen_file):
    (tmp_path / "store").mkdir()
    prepare(PrepareSettings(inputs=(screen_file,), out=tmp_path / "store"))
    assert Store.open(tmp_path / "store").num_cells


@pytest.mark.parametrize("had_store", [False, True])
def test_an_interrupted_run_leaves_the_old_store_and_goes_on(tmp_path, screen_file, monkeypatch, had_store):
    out, config = tmp_path / "store", PrepareSettings(inputs=(screen_file,), out=tmp_path / "store", overwrite=True)
    if had_store:
        prepare(replace(config, num_hvg=10))
    with monkeypatch.context() as patch:
        patch.setattr(preprocess, "Manifest", lambda **fields: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(config)
    assert out.exists() == had_store
    if had_store:
        assert Store.open(out).num_genes == 10
    prepare(config)
    prepare(replace(config, out=tmp_path / "other"))
    assert folder_bytes(out) == folder_bytes(tmp_path / "other")
    assert {path.name for path in tmp_path.iterdir()} == {"screen.h5ad", "store", "other"}


class Stopped(BaseException):
    """What stops a run in these tests; an Exception would be an error of ours, after which nothing is kept."""


@pytest.mark.parametrize("num_inputs", [1, 2])
def test_a_run_stopped_after_any_piece_ends_with_the_same_bytes(tmp_path, monkeypatch, screen, num_inputs):
    """One more piece each time, until it is done."""
    inputs = []
    for number in range(num_inputs):
        inputs.append(tmp_path / f"screen{number}.h5ad")
        screen.write_h5ad(inputs[-1])
    monkeypatch.setattr(h5ad, "CHUNK_ENTRIES", 900)
    monkeypatch.setattr(writer, "_BLOCKS_PER_COMMIT", 3)
    config = PrepareSettings(inputs=tuple(inputs), out=tmp_path / "store", bucket_entries=3000, num_hvg=30)
    prepare(replace(config, out=tmp_path / "whole"))

    def stop_after(limit):
        pieces = []

        def progress(stage, cells, total):
            pieces.append(cells)
            if sum(map(bool, pieces)) > limit:
                raise Stopped

        return progress

    runs = 0
    while not config.out.exists():
        runs += 1
        # What an earlier run has done is told as one piece.
        with contextlib.suppress(Stopped):
            prepare(config, stop_after(1 + 2 * num_inputs + runs % 2))
    assert runs > 4
    assert folder_bytes(config.out) == folder_bytes(tmp_path / "whole")


def test_a_run_stopped_between_blocks_goes_on(tmp_path, monkeypatch, screen_file):
    """At every block in turn, committed or not."""
    monkeypatch.setattr(writer, "_BLOCKS_PER_COMMIT", 2)
    config = PrepareSettings(inputs=(screen_file,), out=tmp_path / "store", bucket_entries=3000)
    prepare(replace(config, out=tmp_path / "whole"))
    put = writer._ShardWriter.put
    for limit in range(1, 1000):
        left = [limit]

        def failing(self, key, value, left=left):
            if not left[0]:
                raise Stopped
            left[0] -= 1
            put(self, key, value)

        monkeypatch.setattr(writer._ShardWriter, "put", failing)
        with contextlib.suppress(Stopped):
            prepare(config)
            break
    assert limit > 3
    # LMDB may reuse other pages when a file is opened again; what it holds is the same.
    verify_store(config.out, lambda stage, count, total: None)
    found, whole = Store.open(config.out), Store.open(tmp_path / "whole")
    rows = np.arange(whole.num_cells)
    assert found.card == whole.card and found.groups.to_columns() == whole.groups.to_columns()
    assert (found.read(rows) != whole.read(rows)).nnz == 0 and found.obs(rows).equals(whole.obs(rows))


def test_another_command_does_not_continue(tmp_path, monkeypatch, screen_file):
    config = PrepareSettings(inputs=(screen_file,), out=tmp_path / "store")
    with monkeypatch.context() as patch:
        patch.setattr(preprocess, "Manifest", lambda **fields: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(config)
    with pytest.raises(
        InputError, match=r"store.partial: holds an unfinished conversion with other num_hvg, target_sum"
    ):
        prepare(replace(config, num_hvg=7, target_sum=3.0))
    assert prepare(config).num_cells


def test_what_was_begun_before_there_was_a_factor_continues(tmp_path, monkeypatch, screen_file):
    config = PrepareSettings(inputs=(screen_file,), out=tmp_path / "store")
    with monkeypatch.context() as patch:
        patch.setattr(preprocess, "Manifest", lambda **fields: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(config)
    (note,) = tmp_path.glob(".store.partial/.work/command.json")
    assert "hvg_factor" not in json.loads(note.read_text())
    with pytest.raises(InputError, match="holds an unfinished conversion with other hvg_factor"):
        prepare(replace(config, hvg_factor=2.0))
    assert prepare(config).num_cells


@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_of_urls_has_the_bytes_of_a_store_of_files(tmp_path, screen, web, workers):
    files = [tmp_path / "a.zarr", tmp_path / "b.zarr"]
    for number, file in enumerate(files):
        screen.obs_names = [f"cell{number}-{row}" for row in range(screen.n_obs)]
        screen.write_zarr(file)
    for name, inputs in (("here", files), ("there", [web.url(file) for file in files])):
        prepare(PrepareSettings.make(inputs=tuple(inputs), out=tmp_path / name, num_hvg=30, workers=workers))
    here, there = (folder_bytes(tmp_path / name) for name in ("here", "there"))
    manifests = [json.loads(found.pop("manifest.json")) for found in (here, there)]
    assert here == there
    entries = [manifest.pop("inputs") for manifest in manifests]
    assert manifests[0] == manifests[1] and [entry["name"] for entry in entries[1]] == ["a.zarr", "b.zarr"]
    assert {path.name for path in tmp_path.iterdir()} == {"a.zarr", "b.zarr", "here", "there"}


def test_a_store_of_urls_is_continued_while_they_stay_as_they_are(tmp_path, screen, web, monkeypatch):
    screen.write_zarr(tmp_path / "a.zarr")
    config = PrepareSettings(inputs=(web.url(tmp_path / "a.zarr"),), out=tmp_path / "store", num_hvg=30)
    with monkeypatch.context() as patch:
        patch.setattr(preprocess, "Manifest", lambda **fields: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(config)
    assert prepare(config).num_cells == screen.n_obs
    screen[:-1].write_zarr(tmp_path / "a.zarr")
    with monkeypatch.context() as patch:
        patch.setattr(preprocess, "Manifest", lambda **fields: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(replace(config, out=tmp_path / "other"))
    screen.write_zarr(tmp_path / "a.zarr")
    with pytest.raises(InputError, match=r"other.partial: holds an unfinished conversion with other inputs"):
        prepare(replace(config, out=tmp_path / "other"))


@pytest.mark.parametrize("missing", [403, 200])
def test_an_h5ad_is_prepared_whatever_its_server_says_of_other_files(tmp_path, screen_file, web, missing, monkeypatch):
    monkeypatch.setattr(web, "missing", missing)
    for name, file in (("here", screen_file), ("there", web.url(screen_file))):
        prepare(PrepareSettings(inputs=(file,), out=tmp_path / name, num_hvg=30))
    here, there = (folder_bytes(tmp_path / name) for name in ("here", "there"))
    assert here.keys() == there.keys() and here.pop("manifest.json") != there.pop("manifest.json") and here == there


def test_a_url_that_fails_half_way_leaves_no_store(tmp_path, screen, web, monkeypatch):
    screen.write_zarr(tmp_path / "a.zarr")
    url = web.url(tmp_path / "a.zarr")
    monkeypatch.setattr(web, "failing", {f"GET {urlsplit(str(url)).path}/X/data/0"})
    with pytest.raises(InputError, match=r"a.zarr: X/data cannot be read: .*503"):
        prepare(PrepareSettings(inputs=(url,), out=tmp_path / "store"))
    assert {path.name for path in tmp_path.iterdir()} == {"a.zarr"}


@pytest.mark.parametrize("workers", [1, 2])
def test_several_files_are_converted_at_once(tmp_path, screen, workers):
    inputs = []
    for number in range(3):
        inputs.append(tmp_path / f"screen{number}.h5ad")
        screen[:, number:].copy().write_h5ad(inputs[-1])
    calls = []
    config = PrepareSettings(inputs=tuple(inputs), out=tmp_path / "store", workers=workers, num_hvg=20)
    summary = prepare(config, lambda stage, cells, total: calls.append((stage, cells)))
    assert summary.num_cells == 3 * screen.n_obs and summary.num_genes_found == 58
    for stage in ("scan", "write"):
        assert sum(cells for name, cells in calls if name == stage) == 3 * screen.n_obs
    if workers == 2:
        prepare(replace(config, workers=1, out=tmp_path / "alone"))
        assert folder_bytes(config.out) == folder_bytes(tmp_path / "alone")


def test_one_name_may_be_for_all_files(tmp_path, screen):
    inputs = []
    for number, batch in enumerate(("b0", "b1")):
        inputs.append(tmp_path / f"plate{number}.h5ad")
        screen[screen.obs["batch"] == batch].copy().write_h5ad(inputs[-1])
    summary = prepare(PrepareSettings(inputs=tuple(inputs), out=tmp_path / "store", datasets=("all",)))
    assert Store.open(summary.out).groups.datasets == ("all",) and summary.num_cells == screen.n_obs


@pytest.mark.parametrize("join", ["inner", "outer"])
def test_genes_of_all_files_or_of_any(tmp_path, screen, join):
    inputs = (tmp_path / "a.h5ad", tmp_path / "b.h5ad")
    screen[:, :50].copy().write_h5ad(inputs[0])
    screen[:, 20:].copy().write_h5ad(inputs[1])
    summary = prepare(PrepareSettings(inputs=inputs, out=tmp_path / "store", join=join, num_hvg=0))
    store = Store.open(summary.out)
    expected = screen.var_names[20:50] if join == "inner" else screen.var_names
    assert store.card.genes == tuple(expected) and summary.num_genes_found == len(expected)
    assert summary.genes_by_input == {"a.h5ad": 50, "b.h5ad": 40}
    missing = [line for line in summary.warnings if "lacks" in line]
    assert len(missing) == (2 if join == "outer" else 0)
    if join == "outer":
        assert missing[0] == "a.h5ad lacks 10 genes of the store: they are 0 in its cells"
        first = store.groups.num_cells[store.groups.shard == 0].sum()
        cells = store.read(np.arange(store.num_cells)).toarray()
        assert not cells[:first, 50:].any() and cells[first:, 50:].any() and not cells[first:, :20].any()


def test_a_gene_is_judged_by_the_cells_that_measured_it(tmp_path, screen):
    """With a second file that lacks a gene, its mean must not fall: the choice is that of the first file alone."""
    inputs = (tmp_path / "a.h5ad", tmp_path / "b.h5ad")
    screen.write_h5ad(inputs[0])
    screen.write_h5ad(inputs[1])
    both = prepare(PrepareSettings(inputs=inputs, out=tmp_path / "both", join="outer", num_hvg=20))
    alone = prepare(PrepareSettings(inputs=inputs[:1], out=tmp_path / "alone", num_hvg=20))
    assert Store.open(both.out).card.genes == Store.open(alone.out).card.genes


def test_another_target_sum_of_log1p_values_is_refused(tmp_path, screen):
    linear = screen.X.toarray() / screen.X.toarray().sum(axis=1)[:, None] * 5000.0
    screen.X = np.log1p(linear).astype(np.float32)
    screen.write_h5ad(tmp_path / "a.h5ad")
    config = PrepareSettings(inputs=(tmp_path / "a.h5ad",), out=tmp_path / "store")
    with pytest.raises(InputError, match=r"scaled to 10000, found .* 5000; give --target-sum 5000"):
        prepare(config)
    assert prepare(replace(config, target_sum=5000.0)).kind == "log1p"


def test_cells_without_knockdown_are_left_out_and_counted(tmp_path, screen):
    screen.obs["perturbation"] = screen.obs["perturbation"].cat.rename_categories(
        {"p0": "gene0", "p1": "gene1", "p2": "gene2"}
    )
    values = screen.X.toarray()
    values[screen.obs["perturbation"] == "gene1", 1] = 0
    values[screen.obs["perturbation"] == "control", :3] = 5
    values[np.isin(screen.obs["perturbation"], ["gene0", "gene2"]), :3] = 5
    screen.X = values
    screen.write_h5ad(tmp_path / "a.h5ad")
    config = PrepareSettings(
        inputs=(tmp_path / "a.h5ad",), out=tmp_path / "store", knockdown=Knockdown(group=0.3, cell=0.3)
    )
    summary = prepare(config)
    kept = screen.obs["perturbation"].isin(["control", "gene1"])
    assert Store.open(config.out).card.perturbations == ("gene1",)
    assert (
        summary.num_cells == kept.sum() and summary.num_filtered == summary.cells_by_split["excluded"] == (~kept).sum()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"datasets": ("a", "b")}, "one dataset name for each of 1 files"),
        ({"num_hvg": -1}, "--hvg must be at least 0, found -1"),
        ({"target_sum": 0.0}, "--target-sum must be at least 1"),
    ],
)
def test_settings_are_checked(tmp_path, screen_file, options, message):
    with pytest.raises(InputError, match=message):
        prepare(PrepareSettings(inputs=(screen_file,), out=tmp_path / "store", **options))


def test_a_file_given_twice_is_refused(tmp_path, screen_file):
    with pytest.raises(InputError, match="given twice"):
        prepare(PrepareSettings(inputs=(screen_file, screen_file), out=tmp_path / "store"))


def test_genes_that_never_vary_are_refused(tmp_path, screen):
    screen.X = np.ones(screen.shape, dtype=np.int32)
    screen.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(InputError, match="expected genes that vary"):
        prepare(PrepareSettings(inputs=(tmp_path / "a.h5ad",), out=tmp_path / "store", num_hvg=5, values="counts"))


def test_blanks_at_the_ends_of_labels_make_no_other_labels(tmp_path, screen, make_store):
    expected = make_store(screen, out=tmp_path / "plain")
    spoilt = screen.copy()
    for column in ("perturbation", "cell_type", "batch"):
        labels = spoilt.obs[column].astype(str).to_numpy(dtype=object)
        labels[::2] += " "
        spoilt.obs[column] = labels
    spoilt.write_h5ad(tmp_path / "screen0.h5ad")
    config = PrepareSettings(inputs=(tmp_path / "screen0.h5ad",), out=tmp_path / "store", controls=(" control",))
    warnings = prepare(config).warnings
    assert sum("blanks at the ends" in line for line in warnings) == 3
    store = Store.open(config.out)
    assert store.card == expected.card and store.groups.to_columns() == expected.groups.to_columns()


@pytest.mark.parametrize("label", ["nan", "", " ", "None"])
@pytest.mark.parametrize("column", ["perturbation", "cell_type", "batch"])
def test_cells_without_a_label_are_refused(tmp_path, screen, column, label):
    labels = screen.obs[column].astype(str).to_numpy(dtype=object)
    labels[3] = label
    screen.obs[column] = labels
    screen.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(InputError, match=rf"obs\['{column}'\] must label every cell, found 1 of"):
        prepare(PrepareSettings(inputs=(tmp_path / "a.h5ad",), out=tmp_path / "store"))
    assert files_in(tmp_path) == ["a.h5ad"]


def test_labels_that_differ_in_capitals_are_told_across_files(tmp_path, screen, make_store):
    other = screen.copy()
    other.obs["cell_type"] = other.obs["cell_type"].astype(str).str.replace("B c", "b C")
    for name, adata in (("one", screen), ("two", other)):
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    config = PrepareSettings(inputs=(tmp_path / "one.h5ad", tmp_path / "two.h5ad"), out=tmp_path / "store")
    assert "cell types: taken as different labels: 'B c' and 'b C'" in prepare(config).warnings
    with pytest.raises(InputError, match="--dataset must be text that is not empty, found ' '"):
        PrepareSettings(inputs=(tmp_path,), out=tmp_path, datasets=(" ",))


def _named_files(tmp_path, screen, *names):
    """Files of the screen with genes of these names; the second has other batches."""
    paths = []
    for number, genes in enumerate(names):
        part = screen.copy()
        part.var_names = genes
        part.obs["batch"] = [f"{number}{batch}" for batch in part.obs["batch"]]
        paths.append(tmp_path / f"file{number}.h5ad")
        part.write_h5ad(paths[-1])
    return tuple(paths)


@pytest.mark.parametrize("join", ["inner", "outer"])
def test_files_with_few_genes_in_common_are_refused(tmp_path, screen, join):
    symbols = list(screen.var_names)
    for shared, found in ((0, "found none"), (4, r"found 4 of 60; .* --least-shared-genes 0")):
        others = symbols[:shared] + [f"ENSG{i}" for i in range(60 - shared)]
        settings = PrepareSettings(
            inputs=_named_files(tmp_path, screen, symbols, others), out=tmp_path / "store", join=join, num_hvg=0
        )
        with pytest.raises(InputError, match=found):
            prepare(settings)
    summary = prepare(replace(settings, least_shared_genes=0.0))
    assert summary.num_genes == (4 if join == "inner" else 116)
    assert "the files have 4 genes in common by name, 7% of the 60 of file0.h5ad" in summary.warnings


def test_files_may_be_joined_through_a_third(tmp_path, screen):
    first, last = [f"a{i}" for i in range(60)], [f"b{i}" for i in range(60)]
    inputs = _named_files(tmp_path, screen, first, last, first[:30] + last[:30])
    assert prepare(PrepareSettings(inputs=inputs, out=tmp_path / "store", join="outer", num_hvg=0)).num_genes == 120


def test_empty_cells_and_empty_controls_are_told(tmp_path, screen):
    counts = screen.X.toarray()
    is_control = ((screen.obs["perturbation"] == "control") & (screen.obs["cell_type"] == "B c")).to_numpy()
    counts[is_control] = 0
    counts[np.flatnonzero(~is_control)[:2]] = 0
    screen.X = csr_matrix(counts)
    screen.write_h5ad(tmp_path / "a.h5ad")
    warnings = prepare(PrepareSettings(inputs=(tmp_path / "a.h5ad",), out=tmp_path / "store")).warnings
    assert f"{is_control.sum() + 2} cells have no counts at all: they are kept as zeros" in warnings
    assert "every control cell of 'B c' is empty: nothing is known of its state" in warnings


@pytest.fixture
def pairs(screen):
    """Combinations as public data sets spell them: in any order, singles with a control beside them."""
    names = {"p0": ["A+control", "control+A"], "p1": ["A+B"], "p2": ["B+A"]}
    labels = screen.obs["perturbation"].astype(str).tolist()
    screen.obs["perturbation"] = [names[x][i % len(names[x])] if x in names else x for i, x in enumerate(labels)]
    return screen


def test_combinations_are_one_perturbation_in_any_order(tmp_path, pairs):
    path, split = tmp_path / "screen.h5ad", tmp_path / "split.toml"
    pairs.write_h5ad(path)
    split.write_text('[training]\nscreen = "train"\n[fewshot."screen.A"]\ntest = ["B+A"]')
    config = PrepareSettings(inputs=(path,), out=tmp_path / "store", split=split, combination_separator="+")
    summary = prepare(config)
    store = Store.open(config.out)
    assert store.card.perturbations == ("A", "A+B")
    assert (store.card.combination_separator, store.card.dose_separator) == ("+", "")
    assert summary.agents == "2 in 2 perturbations, 1 combinations of up to 2 agents: 'A', 'B'"
    assert any("spelled in one way now, the first: 'A+control' is 'A'" in line for line in summary.warnings)
    parts = {store.groups.split[i] for i in range(len(store.groups)) if store.groups.label(i)[1:3] == ("A", "A+B")}
    assert parts == {Split.TEST}, "the other order must not train"
    assert (store.obs(np.arange(store.num_cells))["perturbation"].isin(["A", "A+B", "control"])).all()


def test_a_perturbation_in_two_splits_under_two_spellings_is_refused(tmp_path, pairs):
    path, split = tmp_path / "screen.h5ad", tmp_path / "split.toml"
    pairs.write_h5ad(path)
    split.write_text('[training]\nscreen = "train"\n[fewshot."screen.A"]\ntest = ["B+A"]\nval = ["A+B"]')
    config = PrepareSettings(inputs=(path,), out=tmp_path / "store", split=split, combination_separator="+")
    with pytest.raises(
        InputError, match=r"perturbation '.\+.' is in (val|test), and as '.\+.' in (val|test); keep one"
    ):
        prepare(config)


def test_combinations_that_nobody_declared_are_warned_of(tmp_path, pairs):
    pairs.obs["perturbation"] = pairs.obs["perturbation"].replace({"B+A": "B"})
    pairs.write_h5ad(tmp_path / "screen.h5ad")
    warnings = prepare(PrepareSettings(inputs=(tmp_path / "screen.h5ad",), out=tmp_path / "store")).warnings
    assert any("look like combinations" in line and "--combination-separator '+'" in line for line in warnings)


def test_perturbations_that_may_be_controls_are_told(tmp_path, screen):
    names = screen.obs["perturbation"].astype(str).to_numpy(dtype=object)
    names[np.flatnonzero(names == "control")[::2]] = "control_2"
    screen.obs["perturbation"] = names
    screen.write_h5ad(tmp_path / "screen.h5ad")
    given = dict(inputs=(tmp_path / "screen.h5ad",), num_hvg=0)
    (warning,) = prepare(PrepareSettings(out=tmp_path / "one", **given)).warnings
    assert warning.startswith("taken as perturbations, though they are called like controls: 'control_2'; if they are")
    assert prepare(PrepareSettings(out=tmp_path / "two", controls=("control", "control_2"), **given)).warnings == ()


def test_a_filter_that_leaves_no_perturbed_cell_is_refused(tmp_path, screen):
    screen.write_h5ad(tmp_path / "a.h5ad")
    config = PrepareSettings(inputs=(tmp_path / "a.h5ad",), out=tmp_path / "store", knockdown=Knockdown(group=0.3))
    with pytest.raises(
        InputError, match=r"--knockdown 0.3: expected perturbed cells .*, found none of \d+; .*--gene-key"
    ):
        prepare(config)


def test_controls_in_batches_of_their_own_are_told_of_each_data_set(tmp_path, screen):
    screen.write_h5ad(tmp_path / "crossed.h5ad")
    is_control = screen.obs["perturbation"] == "control"
    screen.obs["batch"] = np.where(is_control, "plate 1", "plate 2")
    screen.write_h5ad(tmp_path / "apart.h5ad")
    both = PrepareSettings(inputs=(tmp_path / "crossed.h5ad", tmp_path / "apart.h5ad"), out=tmp_path / "store")
    (warning,) = prepare(both).warnings
    assert warning.startswith("apart: no batch has both controls and perturbed cells")


def test_controls_of_other_covariates_in_the_batch_are_controls_in_it(tmp_path, screen):
    """Batch b1 has controls at 0h and perturbed cells at 24h, b2 has controls at 24h."""
    is_control = (screen.obs["perturbation"] == "control").to_numpy()
    is_second = is_control & (np.cumsum(is_control) % 2 == 0)
    screen.obs["batch"] = np.where(is_second, "b2", "b1")
    screen.obs["time"] = np.where(is_control & ~is_second, "0h", "24h")
    screen.write_h5ad(tmp_path / "screen.h5ad")
    keys = ObsKeys(covariate="time")
    warnings = prepare(PrepareSettings(inputs=(tmp_path / "screen.h5ad",), out=tmp_path / "store", keys=keys)).warnings
    assert not [line for line in warnings if "no batch has both" in line]
