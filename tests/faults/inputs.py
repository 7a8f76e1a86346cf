# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A screen of a few dozen cells and what the commands make of it: inputs to damage, and results to compare."""

import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import yaml
from scipy.sparse import csc_matrix, csr_matrix

from bionemo.scale.files.network_weight import WEIGHT_NAME


NUM_GENES = 30
SPLIT = '[training]\nd = "train"\n\n[zeroshot]\n"d.C" = "test"\n\n[fewshot."d.B c"]\nval = ["p1"]\ntest = ["p2"]\n'
STATE = '[datasets]\nd = "screen.h5ad"\n\n' + SPLIT


def make_screen() -> ad.AnnData:
    """Return counts of 3 cell types x 2 batches x (control, p0, p1, p2), 4 cells each."""
    rng = np.random.default_rng(0)
    labels = [
        (cell_type, batch, perturbation)
        for cell_type in ("A", "B c", "C")
        for batch in ("b0", "b1")
        for perturbation in ("control", "p0", "p1", "p2")
        for _ in range(4)
    ]
    counts = rng.poisson(rng.gamma(0.5, 4.0, size=NUM_GENES), size=(len(labels), NUM_GENES)).astype(np.float32)
    obs = pd.DataFrame(labels, columns=["cell_type", "batch", "perturbation"]).astype("category")
    obs["time"] = pd.Categorical(np.where(np.arange(len(obs)) % 2, "6h", "24h"))
    obs["total"] = counts.sum(axis=1).astype(np.float64)
    obs.index = [f"cell{number}" for number in range(len(obs))]
    genes = [f"gene{number}" for number in range(NUM_GENES)]
    return ad.AnnData(csr_matrix(counts), obs=obs, var=pd.DataFrame({"symbol": genes}, index=genes))


def make_inputs(folder: Path) -> None:
    """Write everything: files by name, and a run of a few steps with its predictions and scores."""
    screen = make_screen()
    screen.write_h5ad(folder / "screen.h5ad", compression="gzip")
    screen.write_zarr(folder / "screen.zarr")
    shutil.make_archive(str(folder / "zipped"), "zip", folder / "screen.zarr")
    dense, columns = screen.copy(), screen.copy()
    # Another plate of the same screen.
    dense.obs["batch"] = dense.obs["batch"].cat.rename_categories({"b0": "b2", "b1": "b3"})
    dense.obs_names = [f"other{name}" for name in dense.obs_names]
    dense.X = screen.X.toarray()
    dense.write_h5ad(folder / "dense.h5ad")
    columns.X = csc_matrix(screen.X)
    columns.write_h5ad(folder / "csc.h5ad")
    screen[screen.obs["perturbation"] == "control"].copy().write_h5ad(folder / "controls.h5ad")
    _write_texts(folder)
    _write_knowledge(folder)
    _run_commands(folder)


def _write_texts(folder: Path) -> None:
    (folder / "split.toml").write_text(SPLIT)
    (folder / "state.toml").write_text(STATE)
    (folder / "labels.txt").write_text("p0\np1\n")
    rng = np.random.default_rng(1)
    names = ["control", "p0", "p1", "p2", "p9"]
    features = pd.DataFrame(rng.normal(size=(len(names), 4)), index=pd.Index(names, name="name"))
    features.columns = [f"f{number}" for number in range(4)]
    features.to_csv(folder / "features.csv")
    features.to_parquet(folder / "features.parquet")
    site = {
        "account": "lab",
        "partition": "cpu",
        "job_dir": str(folder / "jobs"),
        "gpus_per_node": 0,
        "setup": ["source /opt/scale/bin/activate"],
        "srun_args": ["--exclusive"],
        "env": {"A_NAME": "a value"},
        "qos": "normal",
        "constraint": "h100|a100",
        "steps": {"cpu": {"memory": "64G", "setup": ["module load python"]}, "train": {"time": "08:00:00"}},
    }
    (folder / "site.yaml").write_text(yaml.safe_dump(site))


def _write_knowledge(folder: Path) -> None:
    """Write what describes perturbations and genes: sources of vectors, and a signature."""
    (folder / "sets.gmt").write_text("first\tnone\tp0\tp1\nsecond\tnone\tp1\tp2\tp9\nthird\tnone\tp0\tp9\n")
    (folder / "edges.tsv").write_text("from\tto\tweight\np0\tp1\t0.5\np1\tp2\t0.25\np2\tp9\t1\np9\tp0\t0.125\n")
    (folder / "drugs.csv").write_text("name,smiles\np0,CCO\np1,CC(=O)Oc1ccccc1C(=O)O\np2,CN1CCC[C@H]1c1cccnc1\n")
    (folder / "targets.csv").write_text("name,gene,edit\np0,p0,knock-out\np1,p9,CRISPRi\np2,p2,knock-out\n")
    (folder / "signature.csv").write_text("gene,logFC\n" + "".join(f"gene{n},{(n - 4) / 4}\n" for n in range(9)))
    (folder / "folds.toml").write_text('"first half" = ["A", "B c"]\n"second half" = ["C"]\n')
    sets = {"first": range(8), "second": range(5, 20), "third": range(0, 30, 3), "fourth": range(12, 26)}
    lines = ["\t".join([name, "none", *(f"gene{n}" for n in members)]) for name, members in sets.items()]
    (folder / "members.gmt").write_text("\n".join(lines) + "\n")
    panel = folder / "panel"
    panel.mkdir()
    (panel / "gene_names.csv").write_text("gene_name\n" + "".join(f"gene{n}\n" for n in range(9)))
    (panel / "pert_counts.csv").write_text("target_gene\np0\np2\n")
    (panel / "manifest.json").write_text('{"contexts": ["A", "C"], "partition": "validation"}')
    vectors = dict(zip(("p0", "p1", "p2", "p9"), np.random.default_rng(2).normal(size=(4, 3)), strict=True))
    np.savez(folder / "vectors.npz", **vectors)
    with h5py.File(folder / "vectors.h5", "w") as file:
        for name, vector in vectors.items():
            file[name] = vector


def _run_commands(folder: Path) -> None:
    small = ("--size", "tiny", "--max-steps", 4, "--val-interval", 4, "--log-interval", 1, "--set-size", 4)
    for words in (
        ("prepare", "screen.h5ad", "--out", "store", "--dataset", "d", "--split", "split.toml", "--hvg", 0),
        ("prepare", "dense.h5ad", "--out", "other", "--dataset", "d", "--split", "split.toml", "--hvg", 0),
        (
            *("prepare", "screen.h5ad", "--out", "timed", "--dataset", "d", "--split", "split.toml", "--hvg", 0),
            *("--covariate-key", "time"),
        ),
        ("train", *small, "--write-config", "settings.yaml"),
        ("config.recipe", *small, "--dest", "recipe.yaml"),
        ("train", "--store", "store", "--out", "run", *small, "--perturbation-features", "features.csv"),
        ("infer", "--checkpoint", "run", "--store", "store", "--out", "predicted", "--with-controls"),
        (
            *("infer", "--checkpoint", "run", "--adata", "controls.h5ad", "--perturbations", "p0,p1,p2"),
            *("--output", "pseudobulk", "--out", "ranked.h5ad"),
        ),
        (
            *("infer", "--checkpoint", "run", "--adata", "controls.h5ad", "--perturbations", "p0,p1,p2"),
            *("--output", "counts", "--out", "counts.h5ad"),
        ),
        (
            *("evaluate", "--pred", "predicted/adata_pred.h5ad", "--real", "predicted/adata_real.h5ad"),
            *("--no-baselines", "--out", "scores"),
        ),
        ("export", "run", "--out", "export"),
        ("export", "run", "--out", "megatron", "--format", "megatron"),
        (
            *("crossval", "screen.h5ad", "--out", "cv", "--leave-out", "cell-type", "--fold-file", "folds.toml"),
            *("--no-network", "--baselines", "additive", "--dataset", "d", "--hvg", 20),
        ),
    ):
        _command(folder, *words)
    # A run of so few groups measures none, and every prediction reads it.
    (folder / "run" / WEIGHT_NAME).write_text('{"network_weight": 0.5, "interval_scale": 1.25}')
    # The newest checkpoint is the one that is read; without another, all damage is damage of it.
    for checkpoint in (folder / "run" / "checkpoints").iterdir():
        if not checkpoint.name.endswith("-last"):
            shutil.rmtree(checkpoint)


def _command(folder: Path, name: str, *words: object) -> None:
    command = [sys.executable, "-m", f"bionemo.scale.run.{name}", *map(str, words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True)
    make_inputs(Path(sys.argv[1]))
