# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_matrix, csr_matrix

from bionemo.scale.files.anndata import anndata_file as h5ad
from bionemo.scale.files.anndata import csc_rows as columns
from bionemo.scale.files.anndata.anndata_file import H5adSource
from bionemo.scale.types import InputError


def gather(source):
    chunks = list(source.chunks())
    assert [chunk.first_cell for chunk in chunks] == np.cumsum([0, *(c.matrix.shape[0] for c in chunks[:-1])]).tolist()
    return np.concatenate([chunk.matrix.toarray() for chunk in chunks]), len(chunks)


@pytest.mark.parametrize("storage", [csr_matrix, csc_matrix, lambda matrix: matrix.toarray()])
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32", "float64"])
def test_every_storage_gives_the_same_cells(tmp_path, monkeypatch, screen, storage, dtype):
    counts = csr_matrix(screen.X).minimum(200)
    screen.X = storage(counts.astype(dtype))
    screen.write_h5ad(tmp_path / "a.h5ad")
    monkeypatch.setattr(h5ad, "CHUNK_ENTRIES", 700)
    with H5adSource(tmp_path / "a.h5ad") as source:
        cells, num_chunks = gather(source)
    assert num_chunks > 5
    np.testing.assert_array_equal(cells, counts.toarray())


def test_half_precision_is_read(tmp_path, screen):
    screen.X = csr_matrix(screen.X).minimum(200).toarray().astype(np.float16)
    screen.write_h5ad(tmp_path / "a.h5ad")
    with H5adSource(tmp_path / "a.h5ad") as source:
        cells, _ = gather(source)
    np.testing.assert_array_equal(cells, screen.X)


def test_stored_zeros_unsorted_and_duplicated_entries_are_cleaned(tmp_path):
    matrix = csr_matrix((np.array([3, 0, 1, 2, 5]), np.array([4, 1, 0, 0, 2]), np.array([0, 4, 5])), shape=(2, 5))
    adata = ad.AnnData(csr_matrix((2, 5)), var=pd.DataFrame(index=list("abcde")))
    adata.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        for name in ("data", "indices", "indptr"):
            del file["X"][name]
            file["X"][name] = getattr(matrix, name)
    with H5adSource(tmp_path / "a.h5ad") as source:
        (chunk,) = source.chunks()
    assert chunk.matrix.indices.tolist() == [0, 4, 2] and chunk.matrix.data.tolist() == [3, 3, 5]


def test_labels_of_every_kind_are_text(tmp_path, screen):
    screen.obs["text"] = screen.obs["batch"].astype(str)
    screen.obs["number"] = np.arange(screen.n_obs) % 3
    screen.obs["flag"] = np.arange(screen.n_obs) % 2 == 0
    screen.write_h5ad(tmp_path / "a.h5ad")
    with H5adSource(tmp_path / "a.h5ad") as source:
        for key in ("batch", "text", "number", "flag"):
            labels = source.labels(key)
            assert [labels.names[code] for code in labels.codes] == screen.obs[key].astype(str).tolist()
        assert source.cell_names().tolist() == screen.obs_names.tolist()
        assert source.numbers("number").tolist() == screen.obs["number"].tolist()


@pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")
def test_labels_of_anndata_0_7_are_read(tmp_path, screen):
    """That version kept a column's categories apart, in a group of their own."""
    screen.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        obs = file["obs"]
        obs.attrs["encoding-version"] = "0.1.0"
        for key in ("cell_type", "batch", "perturbation"):
            codes, names = obs[key]["codes"][:], obs[key]["categories"][:]
            del obs[key]
            obs[f"__categories/{key}"] = names
            obs[key] = codes
            obs[key].attrs["categories"] = obs[f"__categories/{key}"].ref
    with H5adSource(tmp_path / "a.h5ad") as source:
        labels = source.labels("cell_type")
        assert [labels.names[code] for code in labels.codes] == screen.obs["cell_type"].tolist()
        assert source.cell_names().tolist() == screen.obs_names.tolist()
        with pytest.raises(InputError, match="obs has no column '__categories'"):
            source.labels("__categories")


def test_layer_and_gene_column(tmp_path, screen):
    screen.layers["raw"] = screen.X.copy()
    screen.X = csr_matrix(screen.shape, dtype=np.float32)
    screen.var["symbol"] = [f"S{i}" for i in range(screen.n_vars)]
    screen.write_h5ad(tmp_path / "a.h5ad")
    with H5adSource(tmp_path / "a.h5ad", matrix="layers/raw", gene_key="symbol") as source:
        cells, _ = gather(source)
        assert source.genes[1] == "S1"
    np.testing.assert_array_equal(cells, screen.layers["raw"].toarray())


def read_all(path, **options):
    with H5adSource(path, **options) as source:
        return gather(source)[0], source.genes.tolist()


@pytest.mark.parametrize("storage", [csr_matrix, csc_matrix, lambda matrix: matrix.toarray()])
def test_reading_starts_at_any_chunk(tmp_path, monkeypatch, screen, storage):
    screen.X = storage(csr_matrix(screen.X))
    screen.write_h5ad(tmp_path / "a.h5ad")
    monkeypatch.setattr(h5ad, "CHUNK_ENTRIES", 700)
    with H5adSource(tmp_path / "a.h5ad") as source:
        chunks = list(source.chunks())
        for number in (1, len(chunks) // 2, len(chunks) - 1):
            rest = list(source.chunks(chunks[number].first_cell))
            assert [chunk.first_cell for chunk in rest] == [chunk.first_cell for chunk in chunks[number:]]
            for found, expected in zip(rest, chunks[number:], strict=True):
                assert (found.matrix != expected.matrix).nnz == 0


def test_few_files_are_enough_for_a_large_csc_matrix(tmp_path, monkeypatch, screen):
    screen.X = csc_matrix(screen.X)
    screen.write_h5ad(tmp_path / "a.h5ad")
    monkeypatch.setattr(h5ad, "CHUNK_ENTRIES", 10)
    monkeypatch.setattr(columns, "_MAX_FILES", 4)
    with H5adSource(tmp_path / "a.h5ad") as source:
        cells, num_chunks = gather(source)
    assert num_chunks == 5
    np.testing.assert_array_equal(cells, screen.X.toarray())


@pytest.mark.parametrize("storage", [csr_matrix, csc_matrix, lambda matrix: matrix.toarray()])
def test_a_zarr_store_is_read_like_a_file(tmp_path, monkeypatch, screen, storage):
    screen.X = storage(csr_matrix(screen.X))
    screen.obs["number"] = np.arange(screen.n_obs) / 2
    screen.write_zarr(tmp_path / "a.zarr")
    monkeypatch.setattr(h5ad, "CHUNK_ENTRIES", 700)
    with H5adSource(tmp_path / "a.zarr") as source:
        np.testing.assert_array_equal(gather(source)[0], csr_matrix(screen.X).toarray())
        assert source.genes.tolist() == screen.var_names.tolist()
        assert source.name_column().to_pylist() == screen.obs_names.tolist()
        labels = source.labels("batch")
        assert [labels.names[code] for code in labels.codes] == screen.obs["batch"].tolist()
        assert source.numbers("number").tolist() == screen.obs["number"].tolist()


def test_raw_has_its_own_genes(tmp_path, screen):
    screen.raw = screen.copy()
    small = screen[:, 10:20].copy()
    small.X = small.X.astype(np.float32).log1p()
    small.write_h5ad(tmp_path / "a.h5ad")
    cells, genes = read_all(tmp_path / "a.h5ad", matrix="raw/X")
    np.testing.assert_array_equal(cells, screen.X.toarray())
    assert genes == screen.var_names.tolist()
    assert read_all(tmp_path / "a.h5ad")[1] == screen.var_names[10:20].tolist()


@pytest.mark.parametrize("place", ["uns", "var"])
def test_an_obsm_matrix_has_the_names_of_the_variable_genes(tmp_path, screen, place):
    chosen = np.arange(screen.n_vars) % 3 == 0
    screen.obsm["X_hvg"] = np.log1p(screen.X[:, chosen].toarray().astype(np.float32))
    screen.obsm["X_pca"] = np.ones((screen.n_obs, 3), dtype=np.float32)
    if place == "uns":
        screen.uns["hvg_names"] = screen.var_names[chosen].to_numpy()
    else:
        screen.var["highly_variable"] = chosen
    screen.write_h5ad(tmp_path / "a.h5ad")
    cells, genes = read_all(tmp_path / "a.h5ad", matrix="obsm/X_hvg")
    np.testing.assert_array_equal(cells, screen.obsm["X_hvg"])
    assert genes == screen.var_names[chosen].tolist()
    with pytest.raises(InputError, match=r"each of the 3 columns of obsm/X_pca, found 20 in "):
        H5adSource(tmp_path / "a.h5ad", matrix="obsm/X_pca")


@pytest.mark.parametrize("names", [None, [f"long name of a cell, number {i}" for i in range(337)], list(range(337))])
def test_names_of_cells_as_one_column(tmp_path, monkeypatch, screen, names):
    monkeypatch.setattr(h5ad, "_NAMES_AT_ONCE", 100)
    screen.obs_names = screen.obs_names if names is None else [str(name) for name in names]
    screen.write_h5ad(tmp_path / "a.h5ad")
    with H5adSource(tmp_path / "a.h5ad") as source:
        assert source.name_column().to_pylist() == screen.obs_names.tolist() == source.cell_names().tolist()


def edit(action):
    def change(path):
        with h5py.File(path, "a") as file:
            action(file)

    return change


def rename_genes(names):
    def change(path):
        adata = ad.read_h5ad(path)
        adata.var_names = names(adata.n_vars)
        adata.write_h5ad(path)

    return change


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda path: path.unlink(), {}, "no such file"),
        (lambda path: path.write_text("cell,gene\n"), {}, "expected an h5ad file"),
        (lambda path: path.write_bytes(path.read_bytes()[:3000]), {}, "cannot be opened as HDF5"),
        (edit(lambda file: file.pop("obs")), {}, "expected a group 'obs'"),
        (edit(lambda file: file.pop("X")), {}, "expression matrix X, found none"),
        (lambda path: None, {"matrix": "layers/count"}, "no layer 'count'; did you mean 'counts'"),
        (
            lambda path: None,
            {"matrix": "layers"},
            "expected a matrix X, layers/NAME, raw/X or obsm/NAME, found 'layers'",
        ),
        (lambda path: None, {"matrix": "raw/var"}, "expected a matrix X, layers/NAME"),
        (lambda path: None, {"matrix": "raw/X"}, "no raw matrix 'X'; there is none"),
        (lambda path: None, {"matrix": "obsm/X_hvg"}, "no obsm matrix 'X_hvg'; found 'other'"),
        (
            lambda path: None,
            {"matrix": "obsm/other"},
            r"in uns\['hvg_names'\] or var\['highly_variable'\], found neither",
        ),
        (lambda path: (path.unlink(), path.mkdir()), {}, "expected an h5ad file or a zarr store, found a folder"),
        (lambda path: None, {"gene_key": "symbol"}, "var has no column 'symbol'"),
        (rename_genes(lambda n: ["g"] * 2 + [f"g{i}" for i in range(2, n)]), {}, "must be unique, found 1 duplicated"),
        (rename_genes(lambda n: ["", *(f"g{i}" for i in range(1, n))]), {}, "found 1 of 60 without name"),
        (rename_genes(lambda n: [str(i) for i in range(n)]), {}, "found the numbers 0 to 59"),
    ],
)
def test_unusable_files_are_refused(tmp_path, screen, change, options, message):
    screen.layers["counts"] = screen.X
    screen.obsm["other"] = np.ones((screen.n_obs, 2))
    screen.write_h5ad(tmp_path / "a.h5ad")
    change(tmp_path / "a.h5ad")
    with pytest.raises(InputError, match=message) as error:
        H5adSource(tmp_path / "a.h5ad", **options)
    assert str(tmp_path / "a.h5ad") in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("write", ["write_h5ad", "write_zarr"])
@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ({"log1p": {"base": None}}, None),
        ({"log1p": {}}, None),
        ({"log1p": np.array(1)}, None),
        ({}, None),
        ({"log1p": {"base": np.e}}, None),
        ({"log1p": {"base": 2}}, 2),
        ({"log1p": {"base": 10.0}}, 10),
        ({"log1p": {"base": np.array([2])}}, 2),
        ({"log1p": {"base": "2"}}, 2),
    ],
)
def test_the_base_of_the_logarithm_is_read_alike(tmp_path, screen, write, note, expected):
    screen.uns.update(note)
    getattr(screen, write)(tmp_path / "a.file")
    with H5adSource(tmp_path / "a.file") as source:
        assert source.log_base() == expected


def test_columns_are_checked(tmp_path, screen):
    labels = screen.obs["batch"].astype(object)
    labels.iloc[3] = None
    screen.obs["holes"] = pd.Categorical(labels)
    screen.write_h5ad(tmp_path / "a.h5ad")
    with H5adSource(tmp_path / "a.h5ad") as source:
        with pytest.raises(InputError, match=r"obs has no column 'celltype'; did you mean 'cell_type'"):
            source.labels("celltype")
        with pytest.raises(InputError, match=r"found 1 of \d+ without a label"):
            source.labels("holes")
        with pytest.raises(InputError, match=r"obs\['batch'\] must hold numbers"):
            source.numbers("batch")


def test_entries_outside_the_genes_are_refused(tmp_path, screen):
    screen.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        file["X"]["indices"][5] = 60
    with H5adSource(tmp_path / "a.h5ad") as source, pytest.raises(InputError, match="outside its 60 genes"):
        list(source.chunks())


def test_csc_entries_outside_the_cells_are_refused(tmp_path, screen):
    screen.X = csc_matrix(screen.X)
    screen.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        file["X"]["indices"][5] = 10**6
    with H5adSource(tmp_path / "a.h5ad") as source, pytest.raises(InputError, match="outside its 337 cells"):
        list(source.chunks())
