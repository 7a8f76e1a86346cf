# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Vectors of genes and drugs: each kind against its definition, and one file of several."""

import sys

import h5py
import numpy as np
import pytest
from scipy import sparse

from bionemo.scale.data.features.build import make_features, read_description
from bionemo.scale.data.features.drugs import drugs
from bionemo.scale.data.features.embedding import embedding
from bionemo.scale.data.features.from_store import coexpression, loadings_of
from bionemo.scale.data.features.gene_knowledge import gene_sets, network
from bionemo.scale.data.features.settings import FeaturesSettings
from bionemo.scale.data.labels.agents import read_features
from bionemo.scale.types import InputError


def write(path, text):
    path.write_text(text)
    return path


@pytest.fixture
def sets(tmp_path):
    return write(tmp_path / "sets.gmt", "one\t\tA\tB\tC\ntwo\thttp://x\tC\tD\nthree\t-\tA\tB\n")


def make(tmp_path, **options):
    return make_features(FeaturesSettings.make(out=tmp_path / "out.parquet", **options))


def test_loadings_are_those_of_the_correlation_within_groups():
    rng = np.random.default_rng(0)
    owner = np.repeat([0, 1], [70, 50])
    cells = np.maximum(rng.normal(1, 1, (120, 9)) + 3 * owner[:, None], 0)
    cells[:, 4] = cells[:, 3] + 0.1 * rng.random(120)
    cells[:, 8] = 0
    kept, loadings = loadings_of(sparse.csr_matrix(cells), owner, 7)
    np.testing.assert_array_equal(kept, np.arange(8))
    centred = np.concatenate([cells[owner == g, :8] - cells[owner == g, :8].mean(axis=0) for g in (0, 1)])
    correlation = np.corrcoef(centred.T)
    values, vectors = np.linalg.eigh(correlation)
    expected = vectors[:, 1:] * values[1:] @ vectors[:, 1:].T
    np.testing.assert_allclose(loadings @ loadings.T, expected, atol=1e-10)
    assert (loadings[3] @ loadings[4]) > 0.95


def test_coexpression_reads_control_cells_alone(make_store, screen, tmp_path):
    first = coexpression(make_store(screen, num_hvg=0).path, 4)
    other = screen.copy()
    perturbed = (other.obs["perturbation"] != "control").to_numpy()
    dense = other.X.toarray()
    dense[perturbed] = np.roll(dense[perturbed], 7, axis=1)
    other.X = sparse.csr_matrix(dense)
    again = coexpression(make_store(other, out=tmp_path / "second", num_hvg=0).path, 4)
    assert first.facts["cells"] == int((~perturbed).sum()) and first.names == again.names
    np.testing.assert_allclose(first.values, again.values, atol=1e-5)


def test_gene_sets_keep_the_products_of_memberships(sets):
    found = gene_sets(sets, 3)
    assert found.names == ("A", "B", "C", "D")
    membership = np.array([[3**-0.5, 0, 2**-0.5], [3**-0.5, 0, 2**-0.5], [3**-0.5, 2**-0.5, 0], [0, 2**-0.5, 0]])
    np.testing.assert_allclose(found.values @ found.values.T, membership @ membership.T, atol=1e-12)
    assert found.facts["sets"] == 3


@pytest.mark.parametrize("text", ["one\tx\n", "one\tx\tA\none\tx\tB\n", "\n", "one two three\n"])
def test_what_is_no_gmt_file_is_refused(tmp_path, text):
    with pytest.raises(InputError, match=r"sets\.gmt: (line \d: )?expected"):
        gene_sets(write(tmp_path / "sets.gmt", text), 2)


@pytest.mark.parametrize("gap", ["\t", " "])
def test_a_network_is_embedded_by_its_spectrum(tmp_path, gap):
    lines = ["node1 node2 score", "A B 2", "B A 1", "B C 1", "A A 5", "C D 4", "# a remark"]
    found = network(write(tmp_path / "edges.tsv", "\n".join(lines).replace(" ", gap).replace(f"#{gap}", "# ")), 4)
    weights = np.array([[0, 2, 0, 0], [2, 0, 1, 0], [0, 1, 0, 4], [0, 0, 4, 0]], dtype=float)
    degrees = weights.sum(axis=0)
    root = np.diag((degrees + degrees.mean()) ** -0.5)
    values, vectors = np.linalg.eigh(root @ weights @ root)
    above = values > 0
    expected = vectors[:, above] * values[above] @ vectors[:, above].T
    assert found.names == ("A", "B", "C", "D") and found.facts["edges"] == 3
    np.testing.assert_allclose(found.values @ found.values.T, expected, atol=1e-12)


@pytest.mark.parametrize("line", ["A B", "A B -1", "A B nan", "A B x", "A B 1 2"])
def test_what_is_no_edge_is_refused(tmp_path, line):
    with pytest.raises(InputError, match=r"line 2: expected two names and a weight above 0"):
        network(write(tmp_path / "edges.tsv", f"A B 1\n{line}\n"), 2)


def test_embeddings_of_every_layout_are_the_same(tmp_path):
    vectors = {"A": np.array([1.0, 2, 3]), "B": np.array([4.0, 5, 6])}
    np.savez(tmp_path / "each.npz", **vectors)
    np.savez(tmp_path / "table.npz", names=np.array(["A", "B"]), x=np.stack(list(vectors.values())))
    with h5py.File(tmp_path / "each.h5", "w") as file:
        for name, vector in vectors.items():
            file[name] = vector[None]
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["genes"], file["embedding"] = ["A", "B"], np.stack(list(vectors.values()))
    write(tmp_path / "table.csv", "name,x,y,z\nA,1,2,3\nB,4,5,6\n")
    for path in sorted(tmp_path.iterdir()):
        found = embedding(path)
        assert found.names == ("A", "B"), path
        np.testing.assert_array_equal(found.values, [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"A": [1.0, 2], "B": [1.0]}, r"expected one array of numbers for each name, .* found A \(2,\), B \(1,\)"),
        ({"names": ["A"], "x": [[1.0], [2.0]]}, "expected a name for each of 2 rows, found 1 names"),
        ({"A": [np.nan, 1.0]}, "expected vectors of finite numbers, found 1 that are not finite"),
        ({"A": np.array([{}])}, r"cannot be read as \.npz without pickles"),
    ],
)
def test_what_is_no_embedding_is_refused(tmp_path, arrays, expected):
    np.savez(tmp_path / "x.npz", **{name: np.asarray(values) for name, values in arrays.items()})
    with pytest.raises(InputError, match=expected):
        embedding(tmp_path / "x.npz")


DRUGS = """drug,dose note,SMILES
aspirin,"a, b",CC(=O)Oc1ccccc1C(=O)O
salt,,CC(=O)Oc1ccccc1C(=O)[O-].[Na+]

thalidomide,,O=C1CCC(N2C(=O)c3ccccc3C2=O)C(=O)N1
R-thalidomide,,O=C1CC[C@@H](N2C(=O)c3ccccc3C2=O)C(=O)N1
broken,,C1CC
"""


def test_drugs_are_told_line_by_line(tmp_path):
    pytest.importorskip("rdkit")
    fingerprints, descriptors = drugs(write(tmp_path / "drugs.csv", DRUGS))
    assert fingerprints.names == ("aspirin", "salt", "thalidomide", "R-thalidomide") == descriptors.names
    notes = "\n".join(fingerprints.notes)
    assert "line 3: 'salt': salt or mixture of 2 fragments, kept CC(=O)Oc1ccccc1C(=O)O" in notes
    assert "line 5: 'thalidomide': stereochemistry of 1 of 1 centres and bonds is not specified" in notes
    assert "'salt': the same molecule as 'aspirin'" in notes and "R-thalidomide" not in notes
    assert list(fingerprints.refused) == ["broken"] and "line 7" in fingerprints.refused["broken"]
    np.testing.assert_array_equal(fingerprints.values[0], fingerprints.values[1])
    assert (fingerprints.values[2] != fingerprints.values[3]).any()
    assert descriptors.values[0, 0] == pytest.approx(180.159, abs=0.01)


def test_a_drug_that_cannot_be_read_is_refused_or_left_out(tmp_path):
    pytest.importorskip("rdkit")
    path = write(tmp_path / "drugs.csv", DRUGS)
    with pytest.raises(InputError, match=r"line 7: 'broken': expected SMILES, found 'C1CC'; --leave-out"):
        make(tmp_path, smiles=path)
    assert not (tmp_path / "out.parquet").exists()
    done = make(tmp_path, smiles=path, leave_out=True)
    assert done.num_names == 4 and any("left out: " in note and "broken" in note for note in done.notes)


def test_without_rdkit_one_line_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(InputError, match=r"^--smiles needs RDKit, .*bionemo-scale\[drugs\]"):
        drugs(write(tmp_path / "drugs.csv", DRUGS))


def test_kinds_count_equally(tmp_path, sets):
    table = write(tmp_path / "vectors.csv", "name,x,y\nA,100,0\nB,300,1\nC,-100,2\nE,0,0\n")
    done = make(tmp_path, gene_sets=sets, embedding=table, names=["C", "A"])
    assert done.kinds == {"gene_sets": 3, "embedding": 2} and done.num_names == 3
    description = read_description(done.out)
    assert [kind["kind"] for kind in description["kinds"]] == ["gene_sets", "embedding"]
    # What is asked for comes first; the scale is that of all names of a source.
    values = read_features(done.out, ["C", "A", "B"])
    whole = np.array([[100, 0], [300, 1], [-100, 2], [0, 0]], dtype=float)
    centred = whole - whole.mean(axis=0)
    expected = centred / np.sqrt((centred**2).sum(axis=1).mean())
    np.testing.assert_allclose(values[:, 3:], expected[[2, 0, 1]], rtol=1e-5)
    assert "left out: 2 names that only some of gene_sets, embedding describe" in done.notes


def test_names_without_a_vector_are_refused_with_the_list(tmp_path, sets):
    with pytest.raises(
        InputError, match=r"for 3 names, found none for 2: gene_sets has none for 'a', 'X' \(1 of them"
    ):
        make(tmp_path, gene_sets=sets, names=["A", "a", "X"])
    done = make(tmp_path, gene_sets=sets, names=["A", "a", "X"], leave_out=True)
    assert done.left_out == ("a", "X") == tuple(read_description(done.out)["left_out"])
    with pytest.raises(InputError, match="expected a row for each of 1 perturbations"):
        read_features(done.out, ["X"])


def test_agents_of_a_store_must_have_vectors(make_store, screen, tmp_path):
    store = make_store(screen).path
    with pytest.raises(InputError, match="coexpression has none for 'p0', 'p1', 'p2'"):
        make(tmp_path, from_store=store)
    done = make(tmp_path, from_store=store, leave_out=True, size=3)
    assert done.kinds == {"coexpression": 3} and done.left_out == ("p0", "p1", "p2")


def test_a_later_file_gets_the_scale_of_an_earlier_one(tmp_path, sets):
    first = write(tmp_path / "first.csv", "name,x\nA,1\nB,3\nC,5\n")
    later = write(tmp_path / "later.csv", "name,x\nD,5\nE,1\n")
    out = make(tmp_path, embedding=first).out
    done = make_features(FeaturesSettings.make(out=tmp_path / "later.parquet", embedding=later, like=out))
    np.testing.assert_allclose(read_features(done.out, ["D", "E"]), read_features(out, ["C", "A"]), rtol=1e-6)
    again = make_features(FeaturesSettings.make(out=tmp_path / "sets.parquet", gene_sets=sets))
    other = write(tmp_path / "other.gmt", sets.read_text() + "four\t-\tA\tD\n")
    settings = FeaturesSettings.make(out=tmp_path / "n.parquet", gene_sets=other, like=again.out, size=3)
    with pytest.raises(InputError, match="expected gene_sets of the same source"):
        make_features(settings)


def test_guides_have_the_vectors_of_their_genes(tmp_path, sets):
    table = write(tmp_path / "targets.csv", "label,gene\nA_g1,A\nA_g2,A\nD,C\nB,unknown\n")
    done = make(tmp_path, gene_sets=sets, targets=table, names=["A_g1", "A_g2", "D"])
    found = read_features(done.out, ["A_g1", "A_g2", "D", "A", "B", "C"])
    plain = make_features(FeaturesSettings.make(out=tmp_path / "plain.parquet", gene_sets=sets))
    np.testing.assert_array_equal(found, read_features(plain.out, ["A", "A", "C", "A", "B", "C"]))


def test_the_kind_of_edit_is_a_kind_of_vector(tmp_path, sets):
    table = write(tmp_path / "targets.csv", "label,Gene,Edit\nA,A,knock-out\nA_on,A,CRISPRa\nB,B,CRISPRa\n")
    done = make(tmp_path, gene_sets=sets, targets=table)
    assert done.kinds == {"gene_sets": 3, "edit": 2} and done.num_names == 3
    on, off, other = read_features(done.out, ["A_on", "A", "B"])
    np.testing.assert_array_equal(on[:3], off[:3])
    assert (on[3:] != off[3:]).all() and (on[3:] == other[3:]).all()
    later = write(tmp_path / "later.csv", "label,gene,edit\nC_on,C,CRISPRa\n")
    options = {"gene_sets": sets, "like": done.out, "names": ["C_on"]}
    again = make_features(FeaturesSettings.make(out=tmp_path / "later.parquet", targets=later, **options))
    np.testing.assert_array_equal(read_features(again.out, ["C_on"])[0, 3:], on[3:])
    write(later, "label,gene,edit\nC_off,C,CRISPRi\n")
    with pytest.raises(
        InputError, match="'C_off': expected an edit that the earlier file has, 'CRISPRa', 'knock-out'"
    ):
        make_features(FeaturesSettings.make(out=tmp_path / "x.parquet", targets=later, **options))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("label,target\nA,A\n", "expected names in the first column and a column gene, found 1 lines"),
        ("label,gene\nA,\n", "line 2: 'A': expected a value in gene, found none"),
        ("label,gene,edit\nA,A,x\nB,B\n", "line 3: 'B': expected a value in edit, found none"),
        ("label,gene\nA,A\nA,B\n", "expected each name once, found 'A' more than once"),
    ],
)
def test_what_is_no_table_of_targets_is_refused(tmp_path, sets, text, expected):
    with pytest.raises(InputError, match=expected):
        make(tmp_path, gene_sets=sets, targets=write(tmp_path / "targets.csv", text))


def test_vectors_that_are_all_alike_say_nothing(tmp_path):
    with pytest.raises(InputError, match="expected vectors that differ, found embedding all alike"):
        make(tmp_path, embedding=write(tmp_path / "x.csv", "name,x\nA,1\nB,1\n"))


def test_numbers_that_are_too_large_to_compare_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"expected numbers whose squares can be added up, found embedding up to 1e\+300"
    ):
        make(tmp_path, embedding=write(tmp_path / "x.csv", "name,x\nA,1e300\nB,1\n"))


def test_neither_inputs_nor_files_are_replaced(tmp_path, sets):
    out = make(tmp_path, gene_sets=sets).out
    with pytest.raises(InputError, match="exists already"):
        make(tmp_path, gene_sets=sets)
    with pytest.raises(InputError, match="would replace the input"):
        make(tmp_path, embedding=out, overwrite=True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "expected at least one of --from-store"),
        ({"gene_sets": ["a.gmt", "a.gmt"]}, "given twice"),
        ({"gene_sets": "a.gmt", "out": "x.csv"}, "--out must end with .parquet"),
        ({"gene_sets": "a.gmt", "size": 0}, "--size must be at least 1"),
        ({"gene_sets": "a.gmt"}, "a.gmt: cannot be read"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, options, expected, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=expected):
        make_features(FeaturesSettings.make(**{"out": "x.parquet", **options}))
