# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import anndata as ad
import pytest

from bionemo.scale.data.labels.guides import guides_of_genes, note_guides_apart
from bionemo.scale.data.labels.split import Condition, ResolvedSplit
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.types import Split


@pytest.mark.parametrize(
    "labels",
    [
        ["STAT1g1", "STAT1g2"],
        ["STAT1-g1", "STAT1-g2"],
        ["STAT1 sg1", "STAT1 sg3"],
        ["STAT1_sgRNA1", "STAT1_sgRNA-2"],
        ["STAT1_guide1", "STAT1_guide2"],
        ["STAT1_SG1", "STAT1_SG2"],
        ["STAT1_1", "STAT1_2"],
        ["STAT1.1", "STAT1-2"],
        ["STAT1_GGAGACTTCCTCTACAGGA", "STAT1_TTAGACTTCCTCTACAGCC"],
        ["STAT1_+_191014052.23-P1P2", "STAT1_-_191014099.23-P1P2"],
    ],
)
def test_guides_are_recognised(labels):
    assert guides_of_genes([*labels, "IRF7", "NTg1", "NTg2"], {"STAT1", "IRF7"}) == {"STAT1": tuple(labels)}


@pytest.mark.parametrize(
    "labels",
    [
        ["drug_10uM", "drug_100uM"],
        ["dexamethasone_1", "dexamethasone_10", "dexamethasone_100"],
        ["DEX@1", "DEX@10"],
        ["HLA-A", "HLA-B", "HLA-G1", "HLA-G2"],
        ["IL2", "IL2RA", "IL2RB"],
        ["NKX2-1", "NKX2-2", "NKX2-5"],
        ["IFN-alpha1", "IFN-alpha2", "IFN-beta"],
        ["Arg1", "Arg2", "ARG1", "ARG2", "Reg1"],
        ["MT-CO1", "MT-CO2", "KRTAP5-1", "KRTAP5-2"],
        ["non-targeting_1", "non-targeting_2", "NTg1", "NTg2", "control_1", "control_2"],
        ["chr14.2418_top_two", "chr14.2419_top_two", "VAPA_TSS", "CITED2_TSS"],
        ["STAT1", "STAT1+IRF7", "STAT1g1"],
        ["IL2_1", "IL2_10", "IL2_100", "IFNg10", "IFNg100"],
        ["STAT1-1", "STAT1-5"],
    ],
)
def test_other_labels_are_no_guides(labels):
    assert guides_of_genes(labels, {"STAT1", "IRF7", "IL2", "NKX2-1", "NKX2-2", "MT-CO1", "KRTAP5-1"}) == {}


def test_the_guides_of_a_public_screen_are_those_of_its_targets(papalexi_file):
    obs = ad.read_h5ad(papalexi_file, backed="r").obs
    found = guides_of_genes(obs["guide_id"].astype(str), frozenset())
    pairs = obs[obs["grna_target"] != "non-targeting"].groupby("grna_target", observed=True)["guide_id"].unique()
    assert {gene: set(guides) for gene, guides in found.items()} == {
        gene: set(guides) for gene, guides in pairs.items() if len(guides) > 1
    }
    assert guides_of_genes(obs["grna_target"].astype(str), frozenset()) == {}


def split_of(parts):
    assignments = {Condition("d", cell_type, label): part for (cell_type, label), part in parts.items()}
    return ResolvedSplit(
        control="control", assignments=assignments, num_cells=dict.fromkeys(assignments, 9), absent=()
    )


def test_a_gene_on_both_sides_is_told():
    parts = {("A", "STAT1g1"): Split.TRAIN, ("A", "STAT1g2"): Split.TEST, ("A", "control"): Split.TRAIN}
    (line,) = note_guides_apart(split_of(parts), Grammar(controls=("control",)), ())
    assert line.startswith(
        "of 1 genes the split seems to train one guide and hold out another, the first is 'STAT1' ("
    )
    assert "trained 'STAT1g1', held out 'STAT1g2'" in line and "--perturbation-key" in line


@pytest.mark.parametrize(
    "parts",
    [
        {("A", "STAT1g1"): Split.TEST, ("A", "STAT1g2"): Split.TEST, ("A", "IRF7g1"): Split.TRAIN},
        # Another cell type: there the gene is meant to be known.
        {("A", "STAT1g1"): Split.TRAIN, ("B", "STAT1g2"): Split.TEST},
        {("A", "STAT1g1"): Split.TRAIN, ("A", "STAT1g2"): None},
        {("A", "STAT1g1"): Split.TRAIN, ("A", "STAT1g2"): Split.TRAIN, ("A", "STAT1g1+IRF7g1"): Split.TEST},
    ],
)
def test_other_splits_are_not_told(parts):
    grammar = Grammar(combination="+", controls=("control",))
    assert note_guides_apart(split_of(parts), grammar, {"STAT1", "IRF7"}) == ()
