# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Conversions that are killed, starved or disturbed: the same store in the end, or one clear line."""

import contextlib
import ctypes
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from bionemo.scale.data.prepare.conversion import writer
from bionemo.scale.data.prepare.inspection import verify_store
from bionemo.scale.data.prepare.preprocess import prepare
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.anndata import anndata_file as h5ad
from bionemo.scale.run.prepare import main
from bionemo.scale.types import InputError


def make_screen(num_cells: int, seed: int = 0, batch: str = "b") -> ad.AnnData:
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame(
        {
            "perturbation": rng.choice(["control", "p0", "p1", "p2", "p3"], size=num_cells),
            "cell_type": rng.choice(["A", "B"], size=num_cells),
            "batch": batch,
        },
        index=[f"{batch}{number}" for number in range(num_cells)],
    )
    counts = rng.poisson(0.3, size=(num_cells, 100)).astype(np.float32)
    return ad.AnnData(csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"gene{number}" for number in range(100)]))


@pytest.fixture
def config(tmp_path) -> PrepareSettings:
    """Some twenty pieces in each pass, and as many commits."""
    make_screen(20_000).write_h5ad(tmp_path / "a.h5ad")
    return PrepareSettings(
        inputs=(tmp_path / "a.h5ad",), out=tmp_path / "store", num_hvg=60, bucket_entries=40_000, datasets=("d",)
    )


def in_small_pieces() -> None:
    h5ad.CHUNK_ENTRIES = 30_000
    writer._BLOCKS_PER_COMMIT = 4


@pytest.fixture(autouse=True)
def restore_pieces(monkeypatch):
    monkeypatch.setattr(h5ad, "CHUNK_ENTRIES", h5ad.CHUNK_ENTRIES)
    monkeypatch.setattr(writer, "_BLOCKS_PER_COMMIT", writer._BLOCKS_PER_COMMIT)


def in_child(body) -> int:
    """Start a forked process that does something and leaves without cleaning up."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            body()
            code = 0
        except InputError as error:
            os.write(2, f"error: {error}\n".encode())
            code = 2
        finally:
            os._exit(code)
    return process


def assert_same_cells(path: Path, expected: Path) -> None:
    found, whole = Store.open(path), Store.open(expected)
    rows = np.arange(whole.num_cells)
    assert found.card == whole.card and found.groups.to_columns() == whole.groups.to_columns()
    assert (found.read(rows) != whole.read(rows)).nnz == 0
    assert found.obs(rows).equals(whole.obs(rows))


def test_a_conversion_killed_at_twenty_moments_ends_the_same(tmp_path, config):
    in_small_pieces()
    start = time.monotonic()
    prepare(PrepareSettings(**{**vars(config), "out": tmp_path / "whole"}))
    duration = time.monotonic() - start
    rng = random.Random(0)
    kills = 0
    for attempt in range(400):
        process = in_child(lambda: prepare(config))
        if kills < 20:
            # Early kills leave little, so that twenty of them fit before the end.
            time.sleep(rng.uniform(0, duration / 4))
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        status = os.waitpid(process, 0)[1]
        if os.WIFSIGNALED(status) and not config.out.exists():
            kills += 1
        elif kills < 20:
            # It was faster than the kill, or had just published a whole store: once more from the start.
            assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
            os.rename(config.out, tmp_path / f"done{attempt}")
            assert_same_cells(tmp_path / f"done{attempt}", tmp_path / "whole")
        else:
            break
    assert kills == 20 and config.out.exists()
    assert verify_store(config.out, lambda *told: None) == 20_000
    assert_same_cells(config.out, tmp_path / "whole")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_killing_the_command_stops_its_workers_and_the_next_one_goes_on(tmp_path):
    for number in range(3):
        make_screen(60_000, seed=number, batch=f"b{number}").write_h5ad(tmp_path / f"plate{number}.h5ad")
    inputs = [str(tmp_path / f"plate{number}.h5ad") for number in range(3)]
    options = ["--workers", "2", "--dataset", "d", "--hvg", "60"]
    command = [sys.executable, "-m", "bionemo.scale.run.prepare", *inputs, "--out", str(tmp_path / "store"), *options]
    work = tmp_path / ".store.partial" / ".work"
    for wanted in ("scan-*.npz", "written-*.json"):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as run:
            deadline = time.monotonic() + 120
            while not list(work.glob(wanted)) and run.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            # Only the process that a user sees; its workers have to notice.
            run.send_signal(signal.SIGKILL)
            run.communicate()
            assert run.returncode == -signal.SIGKILL
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert main([*inputs, "--out", str(tmp_path / "whole"), "--dataset", "d", "--hvg", "60"]) == 0
    assert verify_store(tmp_path / "store", lambda *told: None) == 180_000
    assert_same_cells(tmp_path / "store", tmp_path / "whole")


def test_a_file_that_may_not_grow_is_one_line_and_goes_on_later(tmp_path, config, capfd):
    """A limit on the size of files stands for a full disk where none can be mounted."""

    def starved():
        in_small_pieces()
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        prepare(config)

    assert os.WEXITSTATUS(os.waitpid(in_child(starved), 0)[1]) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {config.out}: stopped by ") and line.endswith("the same command continues")
    assert not config.out.exists()
    prepare(config)
    assert verify_store(config.out, lambda *told: None) == 20_000


@contextlib.contextmanager
def small_disk(folder: Path, size: int):
    libc = ctypes.CDLL(None, use_errno=True)
    folder.mkdir()
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, f"size={size}".encode()):
        pytest.skip(f"a small disk cannot be mounted here: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        libc.umount2(str(folder).encode(), 2)


def test_a_full_disk_is_one_line_and_goes_on_with_room(tmp_path, config, capfd):
    disk = tmp_path / "disk"
    with small_disk(disk, 3_000_000):
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(2_000_000))
        on_disk = PrepareSettings(**{**vars(config), "out": disk / "store"})
        assert os.WEXITSTATUS(os.waitpid(in_child(lambda: prepare(on_disk)), 0)[1]) == 2
        (line,) = capfd.readouterr().err.strip().splitlines()
        assert "No space left on device" in line and line.endswith("the same command continues")
        ballast.unlink()
        prepare(on_disk)
        assert verify_store(on_disk.out, lambda *told: None) == 20_000


@pytest.mark.skipif(os.geteuid() == 0 and sys.platform != "linux", reason="root may write everywhere")
def test_a_read_only_folder_is_one_line(tmp_path, config, capfd):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)

    def as_nobody():
        os.chmod(tmp_path, 0o755)
        for parent in tmp_path.parents[:3]:
            os.chmod(parent, 0o755)
        if os.geteuid() == 0:
            os.setuid(65534)
        prepare(PrepareSettings(**{**vars(config), "out": folder / "store"}))

    modes = [(parent, parent.stat().st_mode) for parent in (tmp_path, *tmp_path.parents[:3])]
    try:
        assert os.WEXITSTATUS(os.waitpid(in_child(as_nobody), 0)[1]) == 2
    finally:
        for parent, mode in modes:
            parent.chmod(mode)
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line == f"error: {folder / 'store'}: cannot be made: Permission denied"
    assert list(folder.iterdir()) == []


def test_two_writers_at_once_are_one_store_and_one_line(tmp_path, config, capfd):
    in_small_pieces()
    first, second = in_child(lambda: prepare(config)), in_child(lambda: prepare(config))
    codes = sorted(os.WEXITSTATUS(os.waitpid(process, 0)[1]) for process in (first, second))
    assert codes == [0, 2]
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert "another process" in line or "exists already" in line
    assert verify_store(config.out, lambda *told: None) == 20_000


@pytest.mark.parametrize("storage", ["csr", "csc"])
def test_an_input_that_is_cut_off_is_one_line(tmp_path, config, storage):
    screen = make_screen(20_000)
    screen.X = screen.X.tocsc() if storage == "csc" else screen.X
    screen.write_h5ad(config.inputs[0])
    data = bytearray(config.inputs[0].read_bytes())
    # The matrix comes first in the file; its middle is overwritten, the structure stays.
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    config.inputs[0].write_bytes(data)
    with pytest.raises(InputError) as error:
        prepare(config)
    assert str(config.inputs[0]) in str(error.value) or str(config.out) in str(error.value)
    assert "\n" not in str(error.value) and not config.out.exists()
    # Nothing could continue: the file will be another one when it is mended.
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5ad"] and "continue" not in str(error.value)
    screen.write_h5ad(config.inputs[0])
    prepare(config)
    assert verify_store(config.out, lambda *told: None) == 20_000


@pytest.mark.parametrize("data", [b"\xff\x00\x81", b"a = " + b"[" * 5000, b"[training]\nd = " + b"9" * 5000])
def test_a_split_that_is_no_toml_is_one_line(tmp_path, config, data, capsys):
    split = tmp_path / "split.toml"
    split.write_bytes(data)
    options = ["--out", str(config.out), "--dataset", "d", "--split", str(split)]
    assert main([str(config.inputs[0]), *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {split}: expected ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5ad", "split.toml"]


@pytest.mark.parametrize("text", ["", "{", "[1, 2", '{"conditions": [1]}'])
def test_a_split_of_a_store_that_is_cut_off_is_one_line(tmp_path, config, text, capsys):
    (tmp_path / "split.toml").write_text('[training]\nd = "train"\n')
    prepare(PrepareSettings(**{**vars(config), "split": tmp_path / "split.toml"}))
    (config.out / "split.json").write_text(text)
    capsys.readouterr()
    assert main(["--verify", str(config.out)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {config.out / 'split.json'}: expected ")


@pytest.mark.parametrize("name", ["perturbed-00000.lmdb", "control-00000.lmdb", "obs-00000.parquet"])
@pytest.mark.parametrize("fault", ["truncated", "missing"])
def test_a_shard_that_is_cut_off_or_missing_is_one_line(config, capsys, name, fault):
    prepare(config)
    shard = config.out / name
    if fault == "missing":
        shard.unlink()
    else:
        os.truncate(shard, shard.stat().st_size // 2)
    assert main(["--verify", str(config.out)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {shard}: ")
    with pytest.raises(InputError, match="found none" if fault == "missing" else r"expected \d+ bytes, found \d+"):
        Store.open(config.out)
