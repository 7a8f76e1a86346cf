# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Every refusal names the file, what was expected and what was found."""

import anndata as ad
import numpy as np
import pytest

from bionemo.scale.eval.cells import alignment, stored
from bionemo.scale.eval.cells.alignment import align, note_copies
from bionemo.scale.eval.cells.read_population import read_population
from bionemo.scale.files.anndata.matrix_on_disk import MatrixOnDisk
from bionemo.scale.types import FileLabels, InputError


def test_genes_in_another_order_are_aligned_and_reported(read, kang):
    real = read(kang, "real.h5ad")
    pred = align(read(kang[:, ::-1].copy()), real)
    np.testing.assert_array_equal(pred.population.dense(), real.population.dense())
    assert any("put into the order of real.h5ad by name" in note for note in pred.notes)


def test_other_genes(read, kang):
    other = kang[:, 1:].copy()
    other.var_names = ["NOVEL", *other.var_names[1:]]
    with pytest.raises(InputError, match=rf"genes differ .*2 missing \('{kang.var_names[0]}'.*1 unknown \('NOVEL'\)"):
        align(read(other), read(kang, "real.h5ad"))


def test_perturbations_missing_on_either_side(read, kang):
    renamed = kang.copy()
    renamed.obs["perturbation"] = renamed.obs["perturbation"].replace({"IFN-beta": "IFN-gamma"})
    real = read(kang, "real.h5ad")
    with pytest.raises(InputError, match=r"pred.h5ad: no cells with perturbation 'IFN-beta', .*found 'IFN-gamma'"):
        align(read(renamed), real)
    both = ad.concat([kang, renamed[renamed.obs["perturbation"] == "IFN-gamma"]])
    found = align(read(both), real)
    assert "2 predicted (cell type x perturbation) pairs of pred.h5ad are not in real.h5ad" in found.notes[-1]
    assert set(found.population.perturbation) == {"IFN-beta", "control"}
    assert len(found.row_sums) == len(found.population) == len(kang)


def test_cell_types_missing_on_either_side(read, kang):
    real = read(kang, "real.h5ad")
    one = read(kang[kang.obs["cell_type"] == "NK"].copy(), "one.h5ad")
    with pytest.raises(InputError, match=r"one.h5ad: no cells with cell_type 'CD8 T'"):
        align(one, real)
    assert set(align(real, one).population.select(~align(real, one).is_control).cell_type) == {"NK"}


def test_pairs_missing(read, kang):
    relabelled = kang.copy()
    relabelled.obs.loc[relabelled.obs["cell_type"] == "NK", "perturbation"] = relabelled.obs["perturbation"].replace(
        {"IFN-beta": "other"}
    )
    both = ad.concat([kang, relabelled[relabelled.obs["perturbation"] == "other"]])
    both.obs_names_make_unique()
    lacking = both[~((both.obs["cell_type"] == "NK") & (both.obs["perturbation"] == "IFN-beta"))].copy()
    with pytest.raises(InputError, match=r"no cells of 1 \(cell type x perturbation\) pairs .*'NK x IFN-beta'"):
        align(read(lacking), read(both, "real.h5ad"))


def test_measured_cells_in_a_prediction_are_told(read, kang):
    real = read(kang, "real.h5ad")
    perturbed = kang[kang.obs["perturbation"] != "control"].copy()
    perturbed.X = perturbed.X.toarray() if hasattr(perturbed.X, "toarray") else perturbed.X
    num_copies = perturbed.n_obs // 2
    mixed = perturbed.copy()
    mixed.X[num_copies:] *= np.float32(0.9)
    (note,) = note_copies(align(read(mixed[:, ::-1].copy()), real), real)
    assert note.startswith(f"warning: {num_copies} of {perturbed.n_obs} predicted cells of pred.h5ad are measured")
    # Cells with the same sum of other values are others.
    shuffled = perturbed.copy()
    shuffled.X = np.roll(shuffled.X, 1, axis=1)
    assert note_copies(align(read(shuffled), real), real) == ()


@pytest.mark.parametrize("is_shuffled", [False, True])
def test_copies_in_files_on_disk_are_told_without_reading_them_again(write, kang, monkeypatch, is_shuffled):
    perturbed = kang[kang.obs["perturbation"] != "control"].copy()
    order = np.random.default_rng(0).permutation(perturbed.n_obs) if is_shuffled else np.arange(perturbed.n_obs)
    files = [("pred.h5ad", perturbed[order].copy()), ("real.h5ad", kang)]
    pred, real = (
        read_population(write(cells, name), labels=FileLabels(target_sum=1e4), in_memory=0) for name, cells in files
    )
    num_read, rows = [], MatrixOnDisk.rows

    def counted(self, first, last):
        num_read.append(last - first)
        return rows(self, first, last)

    monkeypatch.setattr(MatrixOnDisk, "rows", counted)
    # As many blocks and as small a sample as of a large file.
    monkeypatch.setattr(stored, "BLOCK_VALUES", 32 * perturbed.n_vars)
    monkeypatch.setattr(alignment, "_SAMPLE", 20)
    (note,) = note_copies(pred, real)
    assert f"{perturbed.n_obs} of {perturbed.n_obs} predicted cells" in note
    assert sum(num_read) == 2 * 20


def test_controls_as_a_prediction_are_no_copies_of_what_is_predicted(read, kang):
    is_control = (kang.obs["perturbation"] == "control").to_numpy()
    unchanged = kang[is_control].copy()
    unchanged.obs["perturbation"] = "IFN-beta"
    real = read(kang, "real.h5ad")
    assert note_copies(align(read(unchanged), real), real) == ()
