# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json

import lmdb
import numpy as np
import pytest

from bionemo.scale.data.prepare.inspection import describe_store, verify_store
from bionemo.scale.data.store.format import block_key, decode_block, encode_block
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.run import prepare
from bionemo.scale.types import InputError, Split


def verify(path):
    told = []
    num_cells = verify_store(path, lambda stage, count, total: told.append((stage, count, total)))
    return num_cells, told


def test_a_summary_of_kang(kang_store):
    info = describe_store(kang_store.path)
    assert (info.num_cells, info.num_control_cells, info.num_genes) == (2215, 1050, 2000)
    assert info.cells_by_split == {"train": 656, "val": 41, "test": 468}
    assert info.num_conditions == {"train": 5, "val": 1, "test": 2}
    assert (info.datasets, info.num_cell_types, info.num_perturbations, info.num_batches) == (("kang",), 8, 1, 6)
    assert (info.control, info.codec, info.scale) == ("control", "zstd", kang_store.card.scale)
    assert info.split_sha256 == kang_store.card.split_sha256
    assert info.num_bytes == sum(path.stat().st_size for path in kang_store.path.iterdir())


def test_a_whole_store_passes(kang_store):
    num_cells, told = verify(kang_store.path)
    assert num_cells == kang_store.num_cells
    assert sum(count for stage, count, _ in told if stage == "blocks") == num_cells
    sizes = [count for stage, count, _ in told if stage == "checksums"]
    assert sum(sizes) == {total for stage, _, total in told if stage == "checksums"}.pop()


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_any_flipped_bit_is_found(make_store, screen, codec):
    path = make_store(screen, codec=codec).path
    rng = np.random.default_rng(0)
    for name in ("perturbed-00000.lmdb", "control-00000.lmdb", "obs-00000.parquet"):
        data = (path / name).read_bytes()
        for _ in range(3):
            place = int(rng.integers(len(data)))
            (path / name).write_bytes(
                data[:place] + bytes([data[place] ^ 1 << int(rng.integers(8))]) + data[place + 1 :]
            )
            with pytest.raises(InputError, match=rf"{name}: expected sha256 \w+, found \w+$"):
                verify(path)
        (path / name).write_bytes(data)
    assert verify(path)[0] == screen.n_obs


SPLIT = '[training]\nscreen0 = "train"\n[fewshot."screen0.A"]\ntest = ["p1"]'
FILES = ("perturbed-00000.lmdb", "control-00000.lmdb", "obs-00000.parquet", "split.json", "manifest.json")
DAMAGE = {
    "cut": lambda data: data[: len(data) // 2],
    "cut by a byte": lambda data: data.rstrip()[:-1],
    "emptied": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
    "longer": lambda data: data + b"\0",
    "flipped": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "flipped in the middle": lambda data: data[: len(data) // 2] + b"\xff\xff" + data[len(data) // 2 + 2 :],
}


@pytest.mark.parametrize("name", FILES)
def test_every_file_of_a_store_counts(name, tmp_path, make_store, screen, capsys):
    """Whatever is done to one of them, the command says in a line which it is, or what does not fit it."""
    (tmp_path / "split.toml").write_text(SPLIT)
    with make_store(screen, split=tmp_path / "split.toml") as store:
        path = store.path
    assert sorted(FILES) == sorted(each.name for each in path.iterdir())
    whole = (path / name).read_bytes()
    for how, damage in DAMAGE.items():
        (path / name).write_bytes(damage(whole))
        assert refused(path, capsys), how
    (path / name).unlink()
    assert name in refused(path, capsys)
    (path / name).mkdir()
    assert refused(path, capsys)
    (path / name).rmdir()
    (path / name).symlink_to(name)
    assert refused(path, capsys)
    (path / name).unlink()
    (path / name).write_bytes(whole)
    assert prepare.main(["--verify", str(path)]) == 0


def refused(path, capsys):
    """Return the one line in which the command refuses a store."""
    code, said = prepare.main(["--verify", str(path)]), capsys.readouterr().err.splitlines()
    assert code == 2 and said[-1].startswith(f"error: {path}") and len(said) == 1, said
    return said[-1]


def edit_block(path, change):
    """Change a block, and the manifest so that sizes and checksums fit."""
    shard = path / "perturbed-00000.lmdb"
    before = hash_file(shard), shard.stat().st_size
    with lmdb.open(str(shard), subdir=False, map_size=1 << 24, lock=False) as environment:
        with environment.begin(write=True) as transaction:
            change(transaction)
    manifest = path / "manifest.json"
    text = manifest.read_text().replace(before[0], hash_file(shard))
    manifest.write_text(text.replace(f'"num_bytes": {before[1]},', f'"num_bytes": {shard.stat().st_size},'))


def rewrite(**fields):
    def change(transaction):
        block = decode_block(transaction.get(block_key(0, 0)))
        changed = {name: function(getattr(block, name)) for name, function in fields.items()}
        transaction.put(block_key(0, 0), encode_block(dataclasses.replace(block, **changed)))

    return change


def swap_first(indices):
    return np.concatenate([indices[1::-1], indices[2:]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda transaction: transaction.delete(block_key(0, 0)), "found the key"),
        (lambda transaction: transaction.delete(block_key(11, 0)), "expected 12 blocks, found 11"),
        (lambda transaction: transaction.put(b"later", b""), "expected 12 blocks, found 13"),
        (lambda transaction: transaction.put(block_key(0, 0), b"BSCB"), "a block needs at least 32 bytes"),
        (rewrite(first_row=lambda row: row + 1), r"expected \(first row, cells, genes\) \(0, "),
        (rewrite(indices=swap_first), "genes of a cell do not ascend"),
        (rewrite(indices=lambda indices: indices + 59), r"it has gene \d+ of 60"),
        (rewrite(values=lambda values: values * 0), "values that are not positive"),
        (
            rewrite(values=lambda values: values.astype(np.uint32) * 0 + 2**20),
            "expected values of uint16, found uint32",
        ),
        (rewrite(indptr=lambda indptr: indptr[::-1].copy()), "row pointers do not cover"),
    ],
)
def test_blocks_that_do_not_fit_are_found_behind_right_checksums(make_store, screen, change, message):
    screen.X = screen.X.minimum(1000)
    screen.X[0, 0] = 400
    path = make_store(screen, num_hvg=0, codec="none").path
    edit_block(path, change)
    with pytest.raises(InputError, match=message) as error:
        verify(path)
    assert "perturbed-00000.lmdb" in str(error.value) and "\n" not in str(error.value)


def edit_manifest(path, change):
    fields = json.loads((path / "manifest.json").read_text())
    change(fields)
    (path / "manifest.json").write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fields: fields["groups"]["first_row"].__setitem__(1, 0), "rows that overlap or are left out"),
        (lambda fields: fields["shards"][0].update(num_blocks=3), "expected 12 blocks by the groups, found 3"),
        (lambda fields: fields["obs"][0].update(num_cells=3), "in the files, found 3"),
        (lambda fields: fields["card"].update(split_sha256="ab"), "split.json: expected the split ab, found None"),
        (lambda fields: fields["inputs"].append(fields["inputs"][0]), "expected three files an input"),
    ],
)
def test_tables_that_do_not_fit_are_found(make_store, screen, change, message):
    path = make_store(screen).path
    edit_manifest(path, change)
    with pytest.raises(InputError, match=message):
        verify(path)


def test_a_split_that_was_changed_is_found(tmp_path, make_store, screen):
    (tmp_path / "split.toml").write_text(SPLIT)
    store = make_store(screen, split=tmp_path / "split.toml")
    assert verify(store.path)[0] == store.num_cells
    assert len(store.groups.perturbed_in(Split.TEST)) == 2
    text = (store.path / "split.json").read_text()
    (store.path / "split.json").write_text(text.replace('"p1", "test"', '"p1", "train"'))
    with pytest.raises(InputError, match=r"split.json: expected the split \w+, found \w+"):
        verify(store.path)
