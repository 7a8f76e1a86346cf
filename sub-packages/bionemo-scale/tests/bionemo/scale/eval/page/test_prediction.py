# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The page of predictions alone."""

import base64
import json
import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from bionemo.scale.run.report import main


def write(path, *, table=None, **varm):
    """Two conditions of three genes, the second with the larger change."""
    change = np.array([[0.1, 2.0], [0.0, -1.0], [0.2, 0.0]], dtype=np.float32)
    arrays = {"change": change, "change_low": change - 0.5, "change_high": change + 0.5, **varm}
    if table is None:
        labels = {"cell_type": ["T", "<NK>"], "perturbation": ["A", "B"], "trained_contexts": [3, 0]}
        table = pd.DataFrame({**labels, "is_trained_cell_type": [True, False], "warnings": ["", "few controls"]})
        table.index = table.index.astype(str)
    adata = ad.AnnData(
        X=np.ones((2, 3), dtype=np.float32),
        var=pd.DataFrame(index=["g1", "g2", "g3"]),
        varm={name: values for name, values in arrays.items() if values is not None},
        uns={"conditions": table, "bionemo_scale": {"warnings": "one\ntwo & three", "interval": "90 %"}},
    )
    adata.write_h5ad(path)
    return path


def test_what_the_page_says(tmp_path):
    assert main([str(write(tmp_path / "screen.h5ad"))]) == 0
    text = (tmp_path / "screen.html").read_text()
    before = text.split('id="data"')[0]
    for expected in (
        "Predictions in screen.h5ad",
        "The strongest predicted change is that of B in &lt;NK&gt; (2.24)",
        # g1 and g2 of the second condition, none of the first.
        "In the median pair 1 of 3 genes have a 90 % interval that does not include 0 (at most 2)",
        "1 of 2 pairs have a perturbation that was never trained",
        "1 of 2 pairs are of a cell type that was never trained",
        "two &amp; three",
        "few controls",
    ):
        assert expected in before, expected
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S).group(1))
    first = data["genes"]["entries"][0]
    assert (first["perturbation"], first["context"]) == ("B", "<NK>"), "the strongest first"
    low = np.frombuffer(base64.b64decode(first["low"]), dtype="<f4")
    np.testing.assert_allclose(low, [1.5, -1.5, -0.5])


def test_conditions_have_plain_titles_and_the_rest_is_folded(tmp_path):
    labels = {"cell_type": ["T", "T"], "perturbation": ["A", "B"], "num_cells": [40, 50], "trained_contexts": [0, 2]}
    labels |= {"is_trained_cell_type": [True, True], "nearest_effect": ["C", ""], "effect_distance": [1.25, np.nan]}
    labels |= {"nearest_context": ["T", "T"], "context_distance": [0.5, 0.5], "warnings": ["a; b", ""], "mine": [7, 8]}
    table = pd.DataFrame(labels, index=["a", "b"])
    assert main([str(write(tmp_path / "screen.h5ad", table=table))]) == 0
    text = (tmp_path / "screen.html").read_text()
    part = text[text.index('<section id="conditions">') : text.index('<section id="provenance">')]
    first, folded = part.split("<details>")
    heads = re.findall(r"<th(?: [^>]*)?>(.*?)</th>", first)
    assert heads == ["perturbation", "cell type", "size of the change", "trained in", "most similar trained effect"]
    assert re.findall(r"<td>(.*?)</td>", first, re.S) == [
        *("B", "T", "2.24", "2 cell types", "-"),
        *("A<small>a</small><small>b</small>", "T", "0.224", "never", "C<small>1.25 away</small>"),
    ]
    heads = re.findall(r"<th(?: [^>]*)?>(.*?)</th>", folded)
    assert heads == ["perturbation", "cell type", "predicted cells", "cell type trained", "nearest cell type", "mine"]
    assert "<td>yes</td><td>T<small>0.5 away</small></td><td>8</td>" in folded
    assert not re.search("nearest_|_distance|num_", part), "no name of a column"


def test_gene_sets_of_a_prediction(tmp_path, capsys):
    pytest.importorskip("decoupler")
    change = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    change[:6, 1] += 3
    adata = ad.AnnData(
        X=np.ones((2, 30), dtype=np.float32),
        var=pd.DataFrame(index=[f"g{row}" for row in range(30)]),
        varm={"change": change},
        uns={"conditions": pd.DataFrame({"cell_type": "T", "perturbation": ["A", "B"]}, index=["0", "1"])},
    )
    adata.write_h5ad(tmp_path / "screen.h5ad")
    (tmp_path / "sets.gmt").write_text("first\t-\tg0\tg1\tg2\tg3\tg4\tg5\nlast\t-\tg20\tg21\tg22\tg23\tg24\n")
    options = ["--gene-sets", str(tmp_path / "sets.gmt")]
    assert main([str(tmp_path / "screen.h5ad"), *options]) == 0
    text = (tmp_path / "screen.html").read_text()
    assert "2 of 2 sets have at least 5 of the genes that are scored" in text
    sets = text[text.index('<section id="sets">') : text.index('<section id="conditions">')]
    # The strongest change comes first, and its strongest set.
    assert sets.index("<summary>T, B</summary>") < sets.index("<summary>T, A</summary>")
    assert re.search(r"<th>first</th><td>6</td><td>(\d+\.\d+)</td>", sets) and "observed" not in sets
    capsys.readouterr()
    (tmp_path / "folder").mkdir()
    assert main([str(tmp_path / "folder"), *options]) == 2
    assert "--gene-sets is for an h5ad of predictions, found" in capsys.readouterr().err


def test_predictions_without_intervals_say_so(tmp_path):
    path = write(tmp_path / "screen.h5ad", change_low=None, change_high=None)
    assert main([str(path), "--out", str(tmp_path / "page.html")]) == 0
    assert "The file has no intervals" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ({"change": None}, "expected predictions of this version of bionemo-scale-infer"),
        ({"change": np.full((3, 2), np.nan, dtype=np.float32)}, "expected numbers of shape (3, 2) in varm"),
        ({"table": np.arange(2)}, "expected a table in uns['conditions'], found ndarray"),
        (
            {"table": pd.DataFrame({"x": ["1", "2"]}, index=["a", "b"])},
            "expected rows with cell_type and perturbation",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, capsys, damage, expected):
    path = write(tmp_path / "screen.h5ad", **damage)
    assert main([str(path)]) == 2
    err = capsys.readouterr().err
    assert expected in err and len(err.splitlines()) == 1
    assert not (tmp_path / "screen.html").exists()


def test_the_prediction_is_not_replaced(tmp_path, capsys):
    path = write(tmp_path / "screen.h5ad")
    assert main([str(path), "--out", str(path)]) == 2
    assert "would replace the input" in capsys.readouterr().err
