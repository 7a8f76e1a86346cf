# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The protocols of the paper, run whole on small files with the columns and labels of the data sets they are for."""

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from itertools import product
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from bionemo.scale.data.store.reader import Store
from bionemo.scale.recipes.protocol import Protocol
from bionemo.scale.run.inner.protocol import main
from bionemo.scale.types import Split


REPOSITORY = Path(__file__).parents[2]
PROTOCOLS = REPOSITORY / "recipes" / "protocols"
NAMES = ("tahoe100m", "parse_pbmc", "replogle_nadig")
DMSO = "[('DMSO_TF', 0.0, 'uM')]"
SMALL = ("--sizes", "tiny", "--max-steps", "2", "--train.set-size", "4", "--micro-batch-size", "2", "--devices", "1")
"""A network and a training that end in seconds."""


def protocol(name: str) -> Protocol:
    """What a script declares."""
    spec = importlib.util.spec_from_file_location(name, PROTOCOLS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PROTOCOL


LINES = tuple(protocol("tahoe100m").variants["unseen"].rule["cell_types"])


def write(path: Path, columns: dict[str, list[str]], num_genes: int = 12) -> Path:
    """Three cells of every combination of labels; G0 and G1 are down in their knock-downs."""
    rng = np.random.default_rng(0)
    rows = [row for row in product(*columns.values()) for _ in range(3)]
    obs = pd.DataFrame(rows, columns=list(columns)).astype("category")
    obs.index = [f"{path.stem}-{number}" for number in range(len(obs))]
    counts = rng.poisson(8.0, size=(len(obs), num_genes)).astype(np.float32)
    if "gene" in columns:
        for number in range(6):
            counts[obs["gene"] == f"G{number}", number] = 0
    var = pd.DataFrame({"gene_name": [f"G{number}" for number in range(num_genes)]})
    var.index = [f"ENSG{number}" for number in range(num_genes)]
    ad.AnnData(csr_matrix(counts), obs=obs, var=var).write_h5ad(path)
    return path


def tahoe(folder: Path) -> list[Path]:
    lines = [*LINES, "CVCL_0023", "CVCL_0069", "CVCL_0131"]
    files = []
    for plate in ("plate1", "plate2"):
        drugs = [DMSO, f"[('Drug{plate[-1]}', 0.05, 'uM')]", "[('Both', 5.0, 'uM')]"]
        columns = {"drugname_drugconc": drugs, "cell_line": lines, "plate": [plate]}
        files.append(write(folder / f"{plate}.h5ad", columns))
    return files


def parse(folder: Path) -> list[Path]:
    section = tomllib.loads((PROTOCOLS / "parse_pbmc.toml").read_text())["fewshot"]["parse.Donor1"]
    cytokines = ["PBS", *section["val"], *section["test"], "TPO", "APRIL"]
    donors = [f"Donor{number}" for number in (1, 2, 4, 9, 12)]
    return [write(folder / "pbmc.h5ad", {"cytokine": cytokines, "donor": donors, "cell_type": ["B"]})]


def replogle(folder: Path) -> list[Path]:
    # G7 is expressed in all cells: without knock-down, it is left out.
    genes = ["non-targeting", *(f"G{number}" for number in range(6)), "G7"]
    columns = {"gene": genes, "gem_group": ["1", "2"]}
    return [
        write(folder / f"{line}.h5ad", {**columns, "cell_line": [line]})
        for line in ("k562", "rpe1", "hepg2", "jurkat")
    ]


FILES = dict(zip(NAMES, (tahoe, parse, replogle), strict=True))


def held_out(store: Store, split: Split) -> set[tuple[str, str]]:
    groups = store.groups
    return {groups.label(index)[1:3] for index in groups.perturbed_in(split)}


@pytest.fixture(scope="module", params=NAMES)
def done(request, tmp_path_factory) -> tuple[str, Path]:
    """Each script as a user starts it, on this machine; answers its name and what it made."""
    folder = tmp_path_factory.mktemp(request.param)
    files = FILES[request.param](folder)
    command = [sys.executable, PROTOCOLS / f"{request.param}.py", "--out", folder / "out", *SMALL, "--inputs", *files]
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900, cwd=folder)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    return request.param, folder / "out"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_protocol_ends_in_tables_and_pages(done):
    name, out = done
    for part in ("val", "test"):
        summary = json.loads((out / part / "scores" / "summary.json").read_text())
        assert "SCALE-tiny" in json.dumps(summary) and (out / part / "report-tiny.html").stat().st_size > 10_000
        with Store.open(out / "store") as store:
            real = ad.read_h5ad(out / part / "adata_real.h5ad", backed="r")
            keys, control = store.card.keys, store.card.control
            pairs = set(zip(real.obs[keys.cell_type], real.obs[keys.perturbation], strict=True))
            assert {pair for pair in pairs if pair[1] != control} == held_out(store, Split(part))
    config = (out / "run-tiny" / "config.yaml").read_text()
    assert re.search(r"preset: paper", config)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_each_protocol_holds_out(done):
    name, out = done
    with Store.open(out / "store") as store:
        test, val, train = (held_out(store, part) for part in (Split.TEST, Split.VAL, Split.TRAIN))
        own_controls = {store.groups.label(index).cell_type for index in store.groups.training_controls().tolist()}
        control, perturbations = store.card.control, set(store.card.perturbations)
    types = {part: {cell_type for cell_type, _ in pairs} for part, pairs in (("test", test), ("val", val))}
    if name == "tahoe100m":
        assert types["test"] == set(LINES) and len(types["val"]) == 1 and control == DMSO
        # No cell of a held-out line is for training, its DMSO cells included.
        assert own_controls == {cell_type for cell_type, _ in train} and not own_controls & (set(LINES) | types["val"])
    elif name == "parse_pbmc":
        donors = {f"Donor{number}" for number in (1, 4, 9, 12)}
        assert types["test"] == types["val"] == donors and own_controls == donors | {"Donor2"}
        assert len({cytokine for _, cytokine in test}) == 62 and len({cytokine for _, cytokine in val}) == 4
        assert {("Donor1", "TPO"), ("Donor1", "APRIL")} <= train
    else:
        assert types["test"] == types["val"] == {"hepg2"} and "hepg2" in own_controls
        assert perturbations == {f"G{number}" for number in range(6)}, "G7 is not down and is left out"
        assert len(test) == 2 and len(val) == 1 and {line for line, _ in train} == {"k562", "rpe1", "hepg2", "jurkat"}


def steps(text: str) -> list[tuple[str, str]]:
    """Name of the command and its line."""
    return [(re.search(r"run\.(\w+)", line)[1], line) for line in text.splitlines() if line.startswith("python -m")]


def dryrun(name: str, capsys, tmp_path: Path, *words: str) -> list[tuple[str, str]]:
    file = tmp_path / "in.h5ad"
    file.touch()
    code = main(protocol(name), ["--inputs", str(file), "--out", str(tmp_path / "out"), "--dryrun", *words])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert not (tmp_path / "out").exists()
    return steps(captured.out)


@pytest.mark.parametrize("name", NAMES)
def test_both_sizes_of_table_3_are_trained_with_the_papers_preset(name, capsys, tmp_path):
    found = dryrun(name, capsys, tmp_path)
    trained = [line for command, line in found if command == "train"]
    assert [re.search(r"--size (\w+)", line)[1] for line in trained] == ["184m", "280m"]
    assert all("--preset paper" in line and "--sets mixed" in line for line in trained)
    scored = [line for command, line in found if command == "evaluate"]
    assert len(scored) == 2 and all("--name SCALE-184m --name SCALE-280m" in line for line in scored)
    assert len([line for command, line in found if command == "report"]) == 4
    assert all(("--split val" in line) != ("--split test" in line) for command, line in found if command == "infer")


@pytest.mark.parametrize(
    ("name", "variant", "rule", "validates"),
    [
        ("tahoe100m", "unseen", "--hold-out cell-types .*--val-share 0.067 .*--cell-types CVCL_0334 .*--hold-c", True),
        ("tahoe100m", "unseen-by-pca", "--hold-out distinct-cell-types --share 0.1 --val-share 0.06 .*--hold-c", True),
        ("tahoe100m", "zeroshot", "--hold-out cell-types .*--val-share 0.067 .*--cell-types CVCL_1285 --seed", True),
        ("tahoe100m", "fewshot", "--hold-out random --share 0.646 --val-share 0.0475 .*CVCL_1285 --seed", True),
        ("replogle_nadig", "fewshot", "--hold-out random --share 0.3083 --val-share 0.0514 .*hepg2 --seed", True),
        ("replogle_nadig", "zeroshot", "--hold-out cell-types .*--cell-types hepg2 --seed", False),
        ("replogle_nadig", "unseen", "--hold-out cell-types .*--cell-types hepg2 --hold-controls", False),
    ],
)
def test_variants_by_name(name, variant, rule, validates, capsys, tmp_path):
    (command, line), *rest = dryrun(name, capsys, tmp_path, "--variant", variant)
    assert command == "split" and re.search(rule, line)
    parts = {re.search(r"--split (\w+)", line)[1] for command, line in rest if command == "infer"}
    assert parts == ({"val", "test"} if validates else {"test"})


def test_a_split_file_and_options_of_ones_own(capsys, tmp_path):
    split = tmp_path / "published.toml"
    split.write_text('[training]\ntahoe = "train"\n[fewshot."tahoe.CVCL_0334"]\ntest = ["a"]\n')
    words = [
        "--split",
        str(split),
        "--batch-key",
        "lane",
        "--preset",
        "default",
        "--hvg-factor",
        "10",
        "--sizes",
        "base",
    ]
    found = dryrun("tahoe100m", capsys, tmp_path, *words)
    assert [command for command, _ in found] == ["prepare", "train", "infer", "evaluate", "report"]
    assert "--batch-key lane" in found[0][1] and "--cell-type-key cell_line" in found[0][1]
    assert "--hvg-factor 10.0" in found[0][1] and f"--split {split}" in found[0][1]
    assert "--preset default" in found[1][1] and "--sets batch" in found[1][1] and "--size base" in found[1][1]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--variant", "zero"], "--variant must be one of unseen, unseen-by-pca, zeroshot, fewshot, found 'zero'"),
        (["--sizes", "184"], "--sizes must be one of tiny, small, base, 184m, 280m, found '184'"),
        (["--split", "no.toml"], "no.toml: expected a file, found none"),
        (["--name", "A"], "unknown option --name"),
    ],
)
def test_refusals(words, found, capsys, tmp_path):
    (tmp_path / "in.h5ad").touch()
    code = main(protocol("tahoe100m"), ["--inputs", str(tmp_path / "in.h5ad"), "--out", str(tmp_path / "out"), *words])
    error = capsys.readouterr().err
    assert code == 2 and found in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_slurm_waits_for_what_a_step_needs_and_no_more(capsys, tmp_path):
    (tmp_path / "in.h5ad").touch()
    words = ["--inputs", str(tmp_path / "in.h5ad"), "--out", str(tmp_path / "out"), "--on", "slurm", "--dryrun"]
    assert main(protocol("tahoe100m"), words, site=REPOSITORY / "recipes" / "site.yaml") == 0
    jobs = dict(
        re.findall(
            r"# Job \d+ of 14: (\S+?)(?:; starts when (.+) (?:has|have) succeeded|$)", capsys.readouterr().out, re.M
        )
    )
    assert jobs["split"] == "" and jobs["prepare"] == "split"
    assert jobs["train-184m"] == jobs["train-280m"] == "prepare"
    assert jobs["infer-280m-test"] == "train-280m and infer-184m-test"
    assert jobs["evaluate-test"] == "infer-184m-test and infer-280m-test"
    assert jobs["report-280m-val"] == "evaluate-val"
