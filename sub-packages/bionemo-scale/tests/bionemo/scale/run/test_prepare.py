# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The command as users meet it; what it makes is tested in ``data``."""

import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from bionemo.scale.data.store.reader import Store
from bionemo.scale.run.prepare import main
from bionemo.scale.types import Split


EXAMPLES = Path(__file__).parents[6] / "examples"
SPLIT = """
[training]
screen = "train"

[zeroshot]
"screen.B" = "test"
"""


def make_screen() -> ad.AnnData:
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        [
            (cell_type, batch, perturbation)
            for cell_type in "AB"
            for batch in ("b0", "b1")
            for perturbation in ("control", "IFN-beta", "TNF")
            for _ in range(8)
        ],
        columns=["cell_type", "batch", "perturbation"],
    )
    obs.index = [f"cell{number}" for number in range(len(obs))]
    counts = rng.poisson(1.0, size=(len(obs), 12)).astype(np.float32)
    return ad.AnnData(csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"gene{number}" for number in range(12)]))


@pytest.fixture
def folder(tmp_path):
    """A folder with screen.h5ad and split.toml."""
    make_screen().write_h5ad(tmp_path / "screen.h5ad")
    (tmp_path / "split.toml").write_text(SPLIT)
    return tmp_path


def run(folder, *options):
    return main([str(folder / "screen.h5ad"), "--out", str(folder / "store"), *options])


def test_kang_from_the_command_line(tmp_path, capsys):
    out = tmp_path / "store"
    source = EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad"
    split = EXAMPLES / "splits" / "kang.toml"
    options = ["--dataset", "kang", "--split", str(split), "--library-size-key", "n_counts_full", "--hvg", "500"]
    assert main([str(source), "--out", str(out), *options]) == 0
    store = Store.open(out)
    printed = capsys.readouterr().out
    assert "cells     2215: train 656, val 41, test 468, control 1050, excluded 0" in printed
    assert "genes     500 of 4805, values from counts" in printed
    assert store.card.split_sha256 in printed
    assert {store.groups.label(index).cell_type for index in store.groups.perturbed_in(Split.TEST)} == {"CD4 T", "NK"}


def test_papalexi_split_holds_out_perturbations_of_one_replicate(tmp_path, capsys):
    source = EXAMPLES / "data" / "papalexi2021_thp1_eccite.h5ad"
    split = EXAMPLES / "splits" / "papalexi.toml"
    options = ["--dataset", "papalexi", "--cell-type-key", "batch", "--split", str(split)]
    assert main([str(source), "--out", str(tmp_path / "store"), *options]) == 0
    groups = Store.open(tmp_path / "store").groups
    held_out = {split: {groups.label(index) for index in groups.perturbed_in(split)} for split in Split}
    assert len(held_out[Split.TEST]) == 12 and len(held_out[Split.VAL]) == 3
    assert {label.cell_type for split in (Split.VAL, Split.TEST) for label in held_out[split]} == {"rep_2"}
    # Every held-out knock-out is seen in the other replicate.
    seen = {label.perturbation for label in held_out[Split.TRAIN]}
    assert {label.perturbation for split in (Split.VAL, Split.TEST) for label in held_out[split]} <= seen


def test_every_option(folder, capsys):
    screen = make_screen()
    screen.obs = screen.obs.rename(columns={"perturbation": "drug", "cell_type": "line", "batch": "plate"})
    screen.obs["drug"] = screen.obs["drug"].replace({"TNF": "DMSO", "control": "PBS"})
    screen.obs["total"] = 40.0
    screen.var["symbol"] = [f"SYMBOL{number}" for number in range(screen.n_vars)]
    screen.layers["counts"] = screen.X
    screen.X = csr_matrix(screen.shape, dtype=np.float32)
    screen.write_h5ad(folder / "screen.h5ad")
    keys = ["--perturbation-key", "drug", "--cell-type-key", "line", "--batch-key", "plate", "--gene-key", "symbol"]
    values = ["--library-size-key", "total", "--target-sum", "100", "--matrix", "layers/counts", "--hvg", "0"]
    assert run(folder, *keys, *values, "--control", "PBS", "--control", "DMSO", "--dataset", "mine") == 0
    store = Store.open(folder / "store")
    assert (store.card.control, store.card.perturbations) == ("PBS", ("IFN-beta",))
    assert store.groups.datasets == ("mine",) and store.card.genes[0] == "SYMBOL0"
    rows = np.arange(store.num_cells)
    counts = screen[store.obs(rows)["cell"].to_numpy()].layers["counts"].toarray()
    np.testing.assert_allclose(store.read(rows).toarray(), np.log1p(counts / 40 * 100), rtol=1e-6)


def without_columns(*names):
    def apply(folder):
        screen = make_screen()
        screen.obs = screen.obs.drop(columns=list(names))
        screen.write_h5ad(folder / "screen.h5ad")

    return apply


def test_a_file_of_one_line_and_one_batch(folder):
    without_columns("cell_type", "batch")(folder)
    assert run(folder, "--cell-type-key", "none", "--batch-key", "none") == 0
    store = Store.open(folder / "store")
    assert store.card.cell_types == store.card.batches == ("all cells",)


def test_a_store_is_no_input(folder, capsys):
    assert run(folder) == 0
    assert main([str(folder / "store"), "--out", str(folder / "again")]) == 2
    assert "expected h5ad files to prepare, found a store" in capsys.readouterr().err


def with_x(change):
    def apply(folder):
        screen = make_screen()
        values = screen.X.toarray()
        change(values)
        screen.X = csr_matrix(values)
        screen.write_h5ad(folder / "screen.h5ad")

    return apply


def with_genes(names):
    def apply(folder):
        screen = make_screen()
        screen.var_names = names
        screen.write_h5ad(folder / "screen.h5ad")

    return apply


def set_value(value):
    return with_x(lambda values: values.__setitem__((3, 2), value))


def with_split(text):
    return lambda folder: (folder / "split.toml").write_text(text)


def add_log1p_file(folder):
    screen = make_screen()
    screen.X = np.log1p(screen.X.toarray() / screen.X.sum(axis=1).A * 1e4).astype(np.float32)
    screen.write_h5ad(folder / "other.h5ad")


def without_controls_in_b(folder):
    screen = make_screen()
    screen[~((screen.obs["cell_type"] == "B") & (screen.obs["perturbation"] == "control"))].copy().write_h5ad(
        folder / "screen.h5ad"
    )


def drop_x(folder):
    with h5py.File(folder / "screen.h5ad", "a") as file:
        del file["X"]


NOTHING = with_split(SPLIT)
REFUSED = {
    "missing column": (NOTHING, ["--cell-type-key", "celltype"], "obs has no column 'celltype'; did you mean"),
    "missing columns": (
        without_columns("cell_type", "batch"),
        [],
        "obs has no columns 'cell_type' (--cell-type-key) and 'batch' (--batch-key); found 'perturbation'",
    ),
    "control absent": (NOTHING, ["--control", "Control"], "no control label 'Control'; did you mean 'control'?"),
    "no control in context": (without_controls_in_b, [], "dataset 'screen', cell type 'B': expected control cells"),
    "nan": (set_value(np.nan), [], "found nan in cell 'cell3', gene 'gene2'"),
    "infinite": (set_value(np.inf), [], "found inf in cell 'cell3', gene 'gene2'"),
    "negative": (set_value(-2), [], "found -2.0 in cell 'cell3', gene 'gene2'"),
    "scale": (with_x(lambda values: values.__imul__(7.3)), [], "expected integer counts or log1p"),
    "nothing to train on": (with_split('[zeroshot]\n"screen.A" = "test"'), ["split"], "none in the training split"),
    "duplicated genes": (with_genes(["gene0"] * 2 + list("abcdefghij")), [], "must be unique, found 1 duplicated"),
    "genes without names": (with_genes(["", *"abcdefghijk"]), [], "found 1 of 12 without name"),
    "numbered genes": (with_genes([str(number) for number in range(12)]), [], "found the numbers 0 to 11"),
    "text file": (lambda folder: (folder / "screen.h5ad").write_text("x"), [], "expected an h5ad file"),
    "no matrix": (drop_x, [], "expected an expression matrix X, found none"),
    "no file": (lambda folder: (folder / "screen.h5ad").unlink(), [], "no such file"),
    "mixed scales": (add_log1p_file, ["other"], "other.h5ad: expected the scale of"),
    "unknown dataset": (with_split('[training]\nscren = "train"'), ["split"], "'scren'; did you mean 'screen'?"),
    "unknown cell type": (with_split(SPLIT + '"screen.C" = "val"'), ["split"], "has no cell type 'C'"),
    "unknown perturbation": (
        with_split('[training]\nscreen = "train"\n[fewshot."screen.A"]\ntest = ["IFN-bta"]'),
        ["split"],
        "'IFN-bta' is unknown; did you mean 'IFN-beta'?",
    ),
    "val and test": (
        with_split('[training]\nscreen = "train"\n[fewshot."screen.A"]\nval = ["TNF"]\ntest = ["TNF"]'),
        ["split"],
        "'TNF' is in both val and test",
    ),
    "no split file": (lambda folder: (folder / "split.toml").unlink(), ["split"], "no such split file"),
    "library size": (NOTHING, ["--library-size-key", "total"], "obs has no column 'total'"),
    "name too long": (NOTHING, ["--scanned", "x" * 300], "expected the folder that --scan-only made"),
    "layer": (NOTHING, ["--matrix", "layers/counts"], "no layer 'counts'; there is none"),
    "hvg": (NOTHING, ["--hvg", "-1"], "--hvg must be at least 0"),
    "names": (NOTHING, ["--dataset", "a", "--dataset", "b"], "one dataset name for each of 1 files, or one for all"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_one_line_and_leave_nothing(folder, capsys, case):
    spoil, options, message = REFUSED[case]
    spoil(folder)
    known = {"split": ["--split", str(folder / "split.toml")], "other": []}
    arguments = [argument for option in options for argument in known.get(option, [option])]
    inputs = [str(folder / "screen.h5ad")] + ([str(folder / "other.h5ad")] if "other" in options else [])
    before = sorted(folder.rglob("*"))
    assert main([*inputs, "--out", str(folder / "store"), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.strip().splitlines()
    assert line.startswith("error: ") and message in line
    assert sorted(folder.rglob("*")) == before


def test_info_and_verify(folder, capsys):
    assert run(folder, "--split", str(folder / "split.toml")) == 0
    sha256 = Store.open(folder / "store").card.split_sha256
    capsys.readouterr()
    assert main(["--info", str(folder / "store")]) == 0
    printed = capsys.readouterr().out
    assert "cells     96: control 32, train 32 in 2 conditions, val 0 in 0 conditions, test 32 in 2" in printed
    assert "labels    1 data sets, 2 cell types, 2 perturbations and 'control', 2 batches" in printed
    assert f"split     {sha256}" in printed and "codec zstd" in printed
    assert main(["--verify", str(folder / "store")]) == 0
    assert capsys.readouterr().out == f"{folder / 'store'}: whole, 96 cells as they were written\n"
    shard = folder / "store" / "control-00000.lmdb"
    data = bytearray(shard.read_bytes())
    data[5000] ^= 4
    shard.write_bytes(data)
    assert main(["--verify", str(folder / "store")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {shard}: expected sha256 ")


def test_three_commands_for_many_machines(folder, capsys):
    split = ["--split", str(folder / "split.toml"), "--dataset", "screen"]
    for number in range(2):
        part = make_screen()
        part.obs["batch"] = part.obs["batch"] + f" of {number}"
        part.write_h5ad(folder / f"plate{number}.h5ad")
    for number in range(2):
        files = [str(folder / f"plate{number}.h5ad"), "--out", str(folder / f"scan{number}")]
        assert main([*files, "--scan-only", *split]) == 0
    assert "scanned   plate1.h5ad: 96 cells, 12 genes, counts" in capsys.readouterr().out
    scans = ["--scanned", str(folder / "scan0"), str(folder / "scan1")]
    for number in range(2):
        files = [str(folder / f"plate{number}.h5ad"), "--out", str(folder / f"part{number}")]
        assert main([*files, *split, *scans, "--hvg", "5"]) == 0
    parts = [str(folder / "part0"), str(folder / "part1")]
    assert main(["--merge", *parts, "--out", str(folder / "store"), *split[:2]]) == 0
    printed = capsys.readouterr().out
    assert "store, of 2 inputs in 2 stores" in printed and "cells     192\n" in printed
    assert main(["--verify", str(folder / "store")]) == 0


WRONG = {
    "no input": (["--out", "s"], "expected files to convert, found none"),
    "no out": (["a.h5ad"], "expected --out, the folder to make"),
    "two stores": (["--info", "s", "t"], "expected one store, found t"),
    "no store": (["--verify", "nowhere"], "nowhere: not a store"),
    "knockdown": (
        ["a.h5ad", "--out", "s", "--knockdown", "1", "2", "3"],
        "--knockdown must be at most 2 values, found 3",
    ),
    "state": (["a.h5ad", "--out", "s", "--from-state", "c.toml"], "give neither of them besides it"),
    "one part": (["--merge", "a", "--out", "s"], "at least two stores"),
}


@pytest.mark.parametrize("case", WRONG)
def test_commands_that_make_no_sense_are_refused(tmp_path, monkeypatch, capsys, case):
    monkeypatch.chdir(tmp_path)
    arguments, message = WRONG[case]
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and message in line
    assert list(tmp_path.iterdir()) == []


def test_an_existing_store_is_kept(folder, capsys):
    assert run(folder) == 0
    before = (folder / "store" / "manifest.json").read_bytes()
    assert run(folder) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (folder / "store" / "manifest.json").read_bytes() == before
    assert run(folder, "--overwrite", "--target-sum", "500") == 0
    assert Store.open(folder / "store").card.scale.target_sum == 500


def test_help_is_fast_and_imports_nothing_heavy():
    code = (
        "import sys\nfrom bionemo.scale.run.prepare import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'scanpy', 'anndata', 'numpy', 'pandas', 'lmdb', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--library-size-key" in done.stdout
    assert time.monotonic() - start < 10
