# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The ready protocols, each run on small files with the columns and labels of the atlas it is for."""

import os
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
from bionemo.scale.types import Split


PROTOCOLS = Path(__file__).parents[2] / "examples" / "protocols"
TAHOE_LINES = ["CVCL_0334", "CVCL_0480", "CVCL_1097", "CVCL_1098", "CVCL_1285"]


def write(path: Path, columns: dict[str, list[str]], num_genes: int = 12) -> None:
    """Three cells of every combination of labels."""
    rng = np.random.default_rng(0)
    rows = [row for row in product(*columns.values()) for _ in range(3)]
    obs = pd.DataFrame(rows, columns=list(columns)).astype("category")
    obs.index = [f"{path.stem}-{number}" for number in range(len(obs))]
    counts = rng.poisson(8.0, size=(len(obs), num_genes)).astype(np.float32)
    if "gene" in columns:
        for number in range(2):
            counts[obs["gene"] == f"G{number}", number] = 0
    var = pd.DataFrame({"gene_name": [f"G{number}" for number in range(num_genes)]})
    var.index = [f"ENSG{number}" for number in range(num_genes)]
    ad.AnnData(csr_matrix(counts), obs=obs, var=var).write_h5ad(path)


def run(tmp_path: Path, name: str, *inputs: Path) -> tuple[Store, str]:
    """As a user does, with the command on the path."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "bionemo-scale-prepare"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m bionemo.scale.run.prepare "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", str(PROTOCOLS / f"{name}.sh"), str(tmp_path / "store"), *map(str, inputs)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return Store.open(tmp_path / "store"), done.stdout


def held_out(store: Store, split: Split) -> set[tuple[str, str]]:
    groups = store.groups
    return {groups.label(index)[1:3] for index in groups.perturbed_in(split)}


def test_parse_pbmc(tmp_path):
    split = tomllib.loads((PROTOCOLS / "parse_pbmc.toml").read_text())
    sections = list(split["fewshot"].values())
    assert list(split["fewshot"]) == [f"parse.Donor{number}" for number in (1, 4, 9, 12)]
    assert all(section == sections[0] for section in sections)
    # 62 and 4 of 90; the other 24 of the held-out donors are trained on.
    assert len(set(sections[0]["test"])) == 62 and len(set(sections[0]["val"])) == 4
    cytokines = [*sections[0]["val"], *sections[0]["test"], "TPO", "APRIL"]
    donors = [f"Donor{number}" for number in (1, 2, 4, 9, 12)]
    columns = {"cytokine": ["PBS", *cytokines], "donor": donors, "cell_type": ["B", "NK"]}
    write(tmp_path / "pbmc.h5ad", columns)
    store, printed = run(tmp_path, "parse_pbmc", tmp_path / "pbmc.h5ad")
    assert held_out(store, Split.TEST) == set(product([d for d in donors if d != "Donor2"], sections[0]["test"]))
    assert held_out(store, Split.VAL) == set(product([d for d in donors if d != "Donor2"], sections[0]["val"]))
    assert "controls  0 groups matched by cell type" in printed


def test_tahoe(tmp_path):
    dmso = "[('DMSO_TF', 0.0, 'uM')]"
    inputs = []
    for plate in ("plate1", "plate2"):
        drugs = [dmso, f"[('Drug{plate[-1]}', 0.05, 'uM')]", "[('Both', 5.0, 'uM')]"]
        columns = {"drugname_drugconc": drugs, "cell_line": [*TAHOE_LINES, "CVCL_0023"], "plate": [plate]}
        inputs.append(tmp_path / f"{plate}.h5ad")
        write(inputs[-1], columns)
    store, _ = run(tmp_path, "tahoe100m", *inputs)
    assert {cell_type for cell_type, _ in held_out(store, Split.TEST)} == set(TAHOE_LINES)
    assert {cell_type for cell_type, _ in held_out(store, Split.TRAIN)} == {"CVCL_0023"}
    assert store.card.control == dmso and store.groups.datasets == ("tahoe",)


def test_replogle_nadig(tmp_path):
    inputs = []
    for line in ("k562", "rpe1", "hepg2", "jurkat"):
        inputs.append(tmp_path / f"{line}.h5ad")
        genes = ["non-targeting", "G0", "G1", "G5"]
        write(inputs[-1], {"gene": genes, "cell_line": [line], "gem_group": ["1", "2"]})
    store, printed = run(tmp_path, "replogle_nadig", *inputs)
    assert held_out(store, Split.TEST) == {("hepg2", "G0"), ("hepg2", "G1")}
    assert store.card.perturbations == ("G0", "G1"), "G5 is not down and is left out"
    assert "excluded 24 (24 without knockdown)" in printed


@pytest.mark.parametrize("name", ["parse_pbmc", "tahoe100m", "replogle_nadig"])
def test_every_protocol_has_a_split_and_a_script(name):
    assert (PROTOCOLS / f"{name}.toml").is_file() and (PROTOCOLS / f"{name}.sh").is_file()
