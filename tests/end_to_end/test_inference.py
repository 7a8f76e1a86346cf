# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Inference on several processes, after a kill, and as a screen: always the same numbers."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch
from scipy import sparse

from bionemo.scale import api
from bionemo.scale.data.store.reader import Store
from bionemo.scale.notebook.predictor import join_process_group
from bionemo.scale.progress import Progress
from bionemo.scale.types import InputError, Split


KANG = Path(__file__).parents[2] / "examples" / "data" / "kang2018_pbmc_ifnb.h5ad"

pytestmark = pytest.mark.slow

SMALL_PARTS = """
import sys
from bionemo.scale.megatron import cpu
cpu.install()
from functools import partial
from bionemo.scale.infer import job
job.infer = partial(job.infer, part_cells=64)
from bionemo.scale.run.infer import main
if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.fixture(scope="module")
def small_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, with small parts, so that every process has some."""
    script = tmp_path_factory.mktemp("script") / "small_parts.py"
    script.write_text(SMALL_PARTS)
    return script


def infer(**chosen: object) -> str:
    """Predict in this process, in small parts, as the command does."""
    from bionemo.scale.infer import job
    from bionemo.scale.infer.settings import InferSettings

    join_process_group()
    torch.set_num_threads(1)
    with tempfile.TemporaryFile("w+") as screen:
        job.infer(InferSettings(**chosen), Progress(screen), part_cells=64)
        screen.seek(0)
        return screen.read()


def start(*command: object) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def finish(process: subprocess.Popen) -> str:
    out, error = process.communicate(timeout=400)
    assert process.returncode == 0, out + error
    return out + error


@pytest.fixture(scope="module")
def alone(api_run: Path, api_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    screen = infer(checkpoint=api_run, store=api_store, out=out)
    assert re.search(r"[\d,]+ predicted cells, [\d,]+ cells/s", screen)
    return out / "adata_pred.h5ad"


def test_three_processes_predict_what_one_does(
    alone: Path, api_run: Path, api_store: Path, small_parts: Path, tmp_path: Path
):
    out = tmp_path / "out"
    options = ("--checkpoint", api_run, "--store", api_store, "--out", out)
    screen = finish(start("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3", small_parts, *options))
    assert screen.count("predicted cells") == 1, "the first process alone speaks"
    one, three = anndata.read_h5ad(alone), anndata.read_h5ad(out / "adata_pred.h5ad")
    np.testing.assert_array_equal(three.X, one.X)
    assert three.obs.equals(one.obs)
    assert sorted(path.name for path in out.iterdir()) == ["adata_pred.h5ad", "adata_real.h5ad"]


def test_a_killed_run_continues_with_the_missing_parts(
    alone: Path, api_run: Path, api_store: Path, small_parts: Path, tmp_path: Path
):
    options = ["--checkpoint", api_run, "--store", api_store, "--out", tmp_path / "out"]
    process = start(small_parts, *options)
    folder = tmp_path / "out" / ".adata_pred.h5ad.parts"
    deadline = time.monotonic() + 200
    while len(list(folder.glob("part-*.npy"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = len(list(folder.glob("part-*.npy")))
    assert not (tmp_path / "out" / "adata_pred.h5ad").exists()
    screen = infer(checkpoint=api_run, store=api_store, out=tmp_path / "out")
    number = int(re.search(r"\(([\d,]+) kept from an interrupted run\)", screen).group(1).replace(",", ""))
    assert 0 < number <= 64 * kept
    np.testing.assert_array_equal(
        anndata.read_h5ad(tmp_path / "out" / "adata_pred.h5ad").X, anndata.read_h5ad(alone).X
    )
    assert not folder.exists()


class Stopped(Exception):
    """In place of an interrupt, which would end the tests."""


class StopsAfter(Progress):
    """Stops a prediction when two parts of it are finished."""

    def add(self, count: int) -> None:
        if len(list(self.folder.glob("part-*.npy"))) == 2:
            raise Stopped
        super().add(count)


def test_parts_of_other_cells_of_the_same_names_are_not_used(
    api_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A file that was written anew with other counts, under its old name and with its old labels."""
    cells, file, out = anndata.read_h5ad(KANG)[:400].copy(), tmp_path / "cells.h5ad", tmp_path / "out.h5ad"
    cells.write_h5ad(file)
    options = {
        "checkpoint": api_run,
        "adata": file,
        "perturbations": ("IFN-beta",),
        "library_size_key": "n_counts_full",
    }
    StopsAfter.folder = tmp_path / ".out.h5ad.parts"

    def stop() -> None:
        with monkeypatch.context() as patched, pytest.raises(Stopped):
            patched.setattr(f"{__name__}.Progress", StopsAfter)
            infer(**options, out=out)

    stop()
    assert "kept from an interrupted run" in infer(**options, out=out)
    out.unlink()
    stop()
    cells.X[0] = cells.X[1]
    cells.write_h5ad(file)
    assert "kept from an interrupted run" not in infer(**options, out=out)
    infer(**options, out=tmp_path / "fresh.h5ad")
    found, fresh = (anndata.read_h5ad(path).X for path in (out, tmp_path / "fresh.h5ad"))
    np.testing.assert_array_equal(found, fresh)


def test_a_screen_carries_the_same_controls_to_every_perturbation(api_run: Path, api_store: Path, tmp_path: Path):
    out = tmp_path / "screen.h5ad"
    infer(
        checkpoint=api_run,
        store=api_store,
        all_perturbations=True,
        cells_per_condition=7,
        cell_types=("NK", "B"),
        out=out,
    )
    predicted = anndata.read_h5ad(out)
    with Store.open(api_store) as store:
        control_rows = np.concatenate([store.groups.rows(i) for i in np.flatnonzero(store.groups.is_control).tolist()])
        names = set(store.obs(control_rows)["cell"])
    assert set(predicted.obs["cell_type"]) == {"NK", "B"}
    assert predicted.obs.groupby(["cell_type", "perturbation", "batch"], observed=True).size().max() == 7
    assert set(predicted.obs["control_cell"]) <= names
    assert sorted(tmp_path.iterdir()) == [out]


def test_counts_have_the_means_of_the_cells(alone: Path, api_run: Path, api_store: Path, tmp_path: Path):
    infer(checkpoint=api_run, store=api_store, out=tmp_path, output="counts", with_controls=True)
    found, cells = anndata.read_h5ad(tmp_path / "adata_pred.h5ad"), anndata.read_h5ad(alone)
    real, source = anndata.read_h5ad(tmp_path / "adata_real_counts.h5ad"), anndata.read_h5ad(KANG)
    assert sparse.issparse(found.X) and (found.X.data == np.round(found.X.data)).all() and found.X.data.min() >= 1
    # A cell with one gene of two counts looks like one with a single count and half the library; there are few.
    measured = source[real.obs_names, real.var_names]
    assert (real.X.toarray() == measured.X.toarray()).all(axis=1).mean() > 0.98
    ratio = real.obs["library_size"].to_numpy() / measured.obs["n_counts_full"].to_numpy()
    assert (abs(ratio - 1) < 1e-5).mean() > 0.98
    # The measured controls follow the predicted cells, which have the library sizes of those they began as.
    controls = found[found.obs["perturbation"] == "control"]
    np.testing.assert_array_equal(controls.X.toarray(), real[controls.obs_names].X.toarray())
    predicted = found[: cells.n_obs]
    begun = real.obs["library_size"].reindex(predicted.obs["control_cell"].astype(str)).to_numpy()
    known = np.isfinite(begun)
    # Cells without counts have the median of those beside them.
    assert (
        known.any() and (abs(predicted.obs["library_size"].to_numpy()[known] / begun[known] - 1) < 1e-5).mean() > 0.98
    )
    log1p = np.log1p(predicted.X.toarray() * (1e4 / predicted.obs["library_size"].to_numpy())[:, None])
    error = log1p.mean(axis=0) - np.asarray(cells.X).mean(axis=0)
    assert abs(error).max() < 5 * (log1p.std(axis=0) / np.sqrt(len(log1p))).max()
    # What is said of mean changes is what was predicted, not what was drawn.
    np.testing.assert_allclose(found.varm["change"], cells.varm["change"], atol=1e-4)


def test_controls_that_are_no_counts_have_no_counts_predicted(api_run: Path, api_store: Path, tmp_path: Path):
    controls = anndata.read_h5ad(KANG)
    controls = controls[controls.obs["perturbation"] == "control"][:60].copy()
    values = controls.X.toarray() + np.random.default_rng(0).gamma(1.0, 0.05, controls.shape)
    controls.X = np.log1p(values * (1e4 / values.sum(axis=1))[:, None]).astype(np.float32)
    controls.write_h5ad(tmp_path / "smooth.h5ad")
    chosen = dict(checkpoint=api_run, adata=tmp_path / "smooth.h5ad", out=tmp_path / "out.h5ad", output="counts")
    with pytest.raises(InputError, match="--output counts: expected control cells of scaled counts"):
        infer(**chosen, values="log1p", sum_as_library_size=True, target_sum=1e4)
    assert not (tmp_path / "out.h5ad").exists()


def test_pseudobulk_is_the_mean_of_the_cells(alone: Path, api_run: Path, api_store: Path, tmp_path: Path):
    out = tmp_path / "bulk.h5ad"
    infer(checkpoint=api_run, store=api_store, out=out, output="pseudobulk")
    bulk, cells = anndata.read_h5ad(out), anndata.read_h5ad(alone)
    keys = ["cell_type", "perturbation", "batch"]
    assert bulk.n_obs == len(cells.obs[keys].drop_duplicates())
    real = anndata.read_h5ad(tmp_path / "adata_real.h5ad")
    for row in range(bulk.n_obs):
        label = bulk.obs.iloc[row]
        members = np.logical_and.reduce([(cells.obs[key].astype(str) == str(label[key])).to_numpy() for key in keys])
        assert label["num_cells"] == members.sum()
        np.testing.assert_allclose(bulk.X[row], cells.X[members].mean(0, dtype=np.float64), atol=1e-5)
        controls = real[cells.obs["control_cell"][members].astype(str).to_numpy()].X.toarray()
        np.testing.assert_allclose(bulk.layers["control"][row], controls.mean(0), atol=1e-5)


def test_bfloat16_is_close(alone: Path, api_run: Path, api_store: Path, tmp_path: Path):
    infer(checkpoint=api_run, store=api_store, out=tmp_path / "low.h5ad", precision="bf16")
    low, full = anndata.read_h5ad(tmp_path / "low.h5ad").X, anndata.read_h5ad(alone).X
    assert 0 < np.abs(low - full).mean() < 0.02


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU may have FP8")
def test_fp8_without_a_device_is_refused(api_run: Path, api_store: Path, tmp_path: Path):
    for chosen, found in (({"precision": "fp8"}, "--precision fp8 needs"), ({"spec": "te"}, "--spec te needs")):
        with pytest.raises(api.InputError, match=f"{found} .*, found no CUDA device"):
            infer(checkpoint=api_run, store=api_store, out=tmp_path / "out", **chosen)
    assert not list(tmp_path.iterdir())


def test_a_cell_type_without_controls_is_refused(api_run: Path, api_store: Path, tmp_path: Path):
    with pytest.raises(api.InputError, match="cell type 'Nk', found none; did you mean 'NK'"):
        infer(checkpoint=api_run, store=api_store, all_perturbations=True, cell_types=("Nk",), out=tmp_path / "p.h5ad")
    assert list(tmp_path.iterdir()) == []


def test_the_measured_cells_of_a_split_are_the_store_s(alone: Path, api_store: Path):
    with Store.open(api_store) as store:
        expected = sum(len(store.groups.rows(i)) for i in store.groups.perturbed_in(Split.TEST).tolist())
    assert anndata.read_h5ad(alone, backed="r").n_obs == expected
