# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From a run on real data to a file that the challenge takes."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import anndata
import numpy as np
import pytest

from bionemo.scale import api
from bionemo.scale.run.submit import main


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def submitted(api_run: Path, api_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with predicted counts, the lists of a panel, and the submission of both held-out cell types."""
    folder = tmp_path_factory.mktemp("submitted")
    api.infer(api_run, folder / "counts", store=api_store, output="counts", with_controls=True)
    genes = anndata.read_h5ad(folder / "counts" / "adata_pred.h5ad", backed="r").var_names
    (folder / "gene_names.csv").write_text("gene_name\n" + "\n".join(sorted(genes)) + "\n")
    (folder / "pert_counts.csv").write_text("target_gene\nIFN-beta\n")
    lists = ("--genes", folder / "gene_names.csv", "--perturbations", folder / "pert_counts.csv")
    options = ("--contexts", "NK,CD4 T", "--cells-per-condition", 50, "--out", folder / "submission.h5ad")
    assert main([*map(str, (folder / "counts" / "adata_pred.h5ad", *lists, *options))]) == 0
    return folder


def test_predicted_counts_become_a_submission(submitted: Path):
    found = anndata.read_h5ad(submitted / "submission.h5ad")
    predicted = anndata.read_h5ad(submitted / "counts" / "adata_pred.h5ad")
    assert "control" in set(predicted.obs["perturbation"]) and set(found.obs["target_gene"]) == {"IFN-beta"}
    assert found.obs["context"].value_counts().to_dict() == {"NK": 50, "CD4 T": 50}
    assert found.var_names.tolist() == sorted(predicted.var_names) and not found.uns
    # Every submitted cell is a predicted one, and none is there twice as often.
    rows = [{tuple(row) for row in cells.X.toarray().tolist()} for cells in (found, predicted[:, found.var_names])]
    assert rows[0] <= rows[1] and len(rows[0]) > 80
    np.testing.assert_array_equal(found.X.data, np.rint(found.X.data))


@pytest.mark.skipif(importlib.util.find_spec("cell_eval2") is None, reason="cell-eval2 is not installed here")
def test_cell_eval2_takes_it(submitted: Path):
    from cell_eval2.norm import check_scale_limit, validate_input_type

    found = anndata.read_h5ad(submitted / "submission.h5ad")
    validate_input_type(found, "counts")
    check_scale_limit(found, "counts", 1e6)


@pytest.mark.skipif(shutil.which("vcc") is None, reason="the challenge's vcc-cli is not on the PATH")
def test_the_tool_of_the_challenge_packages_it(submitted: Path, tmp_path: Path):
    lists = ("-g", submitted / "gene_names.csv", "--perts", submitted / "pert_counts.csv", "--contexts", "NK,CD4 T")
    words = ("vcc", "prep", submitted / "submission.h5ad", *lists, "--cells-per-pert", 50, "-o", tmp_path / "out.vcc")
    done = subprocess.run([*map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CD4 T=50, NK=50" in done.stdout and "verified against the official list" in done.stdout
    assert "dropped:" not in done.stdout and "out of order" not in done.stdout
    assert (tmp_path / "out.vcc").stat().st_size > 0
