# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A screen of known changes: each order against its definition, and what is refused."""

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from bionemo.scale.rank.certainty import GeneErrors
from bionemo.scale.rank.rank import rank, shown
from bionemo.scale.rank.settings import RankSettings
from bionemo.scale.run.rank import main
from bionemo.scale.types import InputError


GENES = ["G0", "G1", "G2", "G3"]
CHANGES = {
    ("T", "A"): [1.0, 0.0, 0.0, 0.0],
    ("T", "B"): [0.0, 1.0, 0.0, 0.0],
    ("T", "A+B"): [2.0, 1.5, 0.0, 0.5],
    ("NK", "A"): [0.0, 0.0, -0.25, 0.25],
    ("NK", "C@0.1"): [0.0, 0.1, 0.0, 0.0],
    ("NK", "C@1"): [0.0, 0.3, 0.0, 0.0],
    ("NK", "C@10"): [0.0, 0.5, 0.0, 0.0],
}


def table(changes, sd=0.1) -> anndata.AnnData:
    control = np.array([1.5, 1.25, 2.125, 0.75])
    cell_types, perturbations = zip(*changes, strict=True)
    obs = pd.DataFrame({"cell_type": cell_types, "perturbation": perturbations, "batch": "b", "num_cells": 10})
    obs.index = [f"condition-{row}" for row in range(len(obs))]
    change = np.array(list(changes.values()))
    layers = {"control": np.broadcast_to(control, change.shape).astype(np.float32)}
    if sd is not None:
        layers["sd"] = np.full(change.shape, sd, dtype=np.float32)
    return anndata.AnnData(
        (change + control).astype(np.float32), obs=obs, var=pd.DataFrame(index=GENES), layers=layers
    )


@pytest.fixture
def write(tmp_path):
    def save(adata):
        adata.write_h5ad(tmp_path / "screen.h5ad")
        return tmp_path / "screen.h5ad"

    return save


@pytest.fixture
def screen(write):
    return write(table(CHANGES))


def test_the_light_packages_are_enough(screen, tmp_path, light_command):
    shown = light_command("rank", screen, "--by", "effect", "--out", tmp_path / "ranks.csv")
    assert "wrote" in shown and len(pd.read_csv(tmp_path / "ranks.csv")) == len(CHANGES)


def test_a_screen_at_a_url_is_ranked_as_the_same_file(screen, tmp_path, web, capsys):
    anndata.read_h5ad(screen).write_zarr(tmp_path / "screen.zarr")
    for name, found in (("here", screen), ("there", web.url(tmp_path / "screen.zarr"))):
        assert main([str(found), "--by", "effect", "--out", str(tmp_path / f"{name}.csv")]) == 0
    assert (tmp_path / "here.csv").read_bytes() == (tmp_path / "there.csv").read_bytes()
    nothing = str(web.url(tmp_path / "none.zarr"))
    assert main([nothing, "--by", "effect", "--out", str(tmp_path / "none.csv")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {nothing}: no such file") and error.count("\n") == 1
    assert not (tmp_path / "none.csv").exists()


def answer(screen, **options) -> pd.DataFrame:
    settings = RankSettings.make(screen=screen, out=screen.with_name("ranks.csv"), overwrite=True, **options)
    found = rank(settings).table
    pd.testing.assert_frame_equal(pd.read_csv(settings.out), found, check_dtype=False)
    return found


def test_effects_are_root_mean_squares_with_intervals(screen):
    found = answer(screen)
    assert found["perturbation"].tolist()[:2] == ["A+B", "A"] and found["rank"].tolist() == list(range(1, 8))
    np.testing.assert_allclose(found["score"][:2], [np.sqrt(6.5 / 4), 0.5], rtol=1e-6)
    np.testing.assert_allclose(found["high"] - found["score"], 1.645 * found["sd"])
    # A alone moves one gene: its size is half that gene's change, so is the error.
    alone = found[(found["cell_type"] == "T") & (found["perturbation"] == "A")]
    np.testing.assert_allclose(alone["sd"], 0.05, rtol=1e-6)


def test_genes_that_change_together_err_together():
    weights = np.array([[1.0, 1.0], [1.0, -1.0]])
    together = GeneErrors(np.repeat([[1.0, 1.0]], 9, axis=0)).variance(weights)
    np.testing.assert_allclose(together, [(9 * 4 + 2) / 10, 2 / 10])
    apart = GeneErrors(np.array([[1.0, 1.0], [1.0, -1.0]] * 8)).variance(weights)
    np.testing.assert_allclose(apart, [2.0, 2.0])


def test_batches_are_put_together_by_their_cells(write):
    adata = table({("T", "A"): [1.0, 0, 0, 0], ("T", "B"): [4.0, 0, 0, 0]})
    adata.obs["perturbation"] = "A"
    adata.obs["num_cells"] = [30, 10]
    adata.layers["sd"][1] = 0.5
    found = answer(write(adata))
    assert len(found) == 1
    np.testing.assert_allclose(found[["score", "sd"]].to_numpy()[0], [1.75 / 2, 0.2 / 2], rtol=1e-6)


def test_reversal_is_minus_the_cosine_over_the_genes_of_the_signature(screen, tmp_path):
    path = tmp_path / "disease.tsv"
    path.write_text("gene\tbaseMean\tlog2FoldChange\nG0\t5\t-3\nG1\t5\t4\nX\t1\t2\nG3\t1\tNA\n")
    found = answer(screen, by="reversal", signature=path).set_index(["cell_type", "perturbation"])
    np.testing.assert_allclose(found.loc[("T", "A"), "score"], 0.6, rtol=1e-6)
    np.testing.assert_allclose(found.loc[("T", "A+B"), "score"], -(4 * 1.5 - 3 * 2.0) / 12.5, atol=1e-6)
    # It changes no gene of the signature.
    assert np.isnan(found.loc[("NK", "A"), "score"]) and found.index[-1] == ("NK", "A")
    assert found["low"].min() >= -1
    # Along the change an error alters its length, not its direction; G1 alone turns the change of A.
    np.testing.assert_allclose(found.loc[("T", "A"), "sd"], 0.8 * 0.1, rtol=1e-6)


def test_a_signature_may_be_lists_of_genes(screen, tmp_path):
    path = tmp_path / "disease.csv"
    path.write_text("gene,direction\nG0,up\nG1,down\n")
    listed = answer(screen, by="reversal", up=["G0"], down=["G1"])
    pd.testing.assert_frame_equal(listed, answer(screen, by="reversal", signature=path))
    assert listed["score"].iloc[0] == pytest.approx(0.5**0.5) and listed["perturbation"].iloc[0] != "A"


def test_a_signature_of_which_the_screen_has_little_is_told(write, tmp_path):
    genes = [f"G{number}" for number in range(30)]
    changes = np.random.default_rng(0).normal(size=(2, 30))
    adata = anndata.AnnData(
        (changes + 5).astype(np.float32),
        obs=pd.DataFrame({"cell_type": "T", "perturbation": ["A", "B"], "num_cells": 10}, index=["0", "1"]),
        var=pd.DataFrame(index=genes),
        layers={"control": np.full((2, 30), 5, dtype=np.float32)},
    )

    def notes(signature):
        path = tmp_path / "disease.csv"
        path.write_text("gene,logFC\n" + "".join(f"{gene},{change}\n" for gene, change in signature.items()))
        settings = dict(screen=write(adata), out=tmp_path / "ranks.csv", by="reversal", overwrite=True)
        found = rank(RankSettings.make(signature=path, **settings)).notes
        return [line for line in found if line.startswith("warning: ")]

    others = {f"X{number}": 1.0 for number in range(200)}
    few, part = notes(dict.fromkeys(genes[:3], 1.0) | others)
    assert few.startswith("warning: scores are of 3 genes alone") and "scores of 0.58 (root mean square)" in few
    assert part.startswith("warning: the screen has 1.5% of the signature (3 of 203 genes, by their squared changes)")
    # Ten genes that are most of it; the rest hardly changes.
    assert notes(dict.fromkeys(genes[:10], 5.0) | others) == []
    assert len(notes(dict.fromkeys(genes[:9], 50.0) | others)) == 1
    assert len(notes(dict.fromkeys(genes[:20], 1.0) | others)) == 1


def test_synergy_is_what_exceeds_the_sum_of_singles_along_it(screen):
    (found,) = answer(screen, by="synergy", combination_separator="+").to_dict("records")
    # The sum is (1, 1, 0, 0), the rest (1, 0.5, 0, 0.5).
    assert (found["cell_type"], found["perturbation"]) == ("T", "A+B")
    assert found["score"] == pytest.approx(1.5 / 2**0.5 / 2, rel=1e-6)
    assert found["beyond"] == pytest.approx((1.5 / 4) ** 0.5, rel=1e-6)
    assert found["low"] < found["score"] < found["high"]


def test_the_slope_on_the_dose_is_per_tenfold_dose(screen):
    (found,) = answer(screen, by="dose", dose_separator="@").to_dict("records")
    assert (found["perturbation"], found["doses"], found["highest_dose"]) == ("C", 3, 10)
    assert found["score"] == pytest.approx(0.1, rel=1e-5)
    # Least squares over three points a decade apart, one gene of four.
    assert found["sd"] == pytest.approx(0.1 / 2**0.5 / 2, rel=1e-5)


def test_uncertainty(write):
    adata = table(CHANGES)
    adata.layers["sd"][4] = 0.3
    found = answer(write(adata), by="uncertainty")
    assert found["perturbation"].iloc[0] == "C@0.1" and found["score"].iloc[0] == pytest.approx(0.3)


def test_cells_are_compared_with_the_controls_of_their_batch(write):
    values = [[1.5, 1, 1, 1], [2.5, 1, 1, 1], [3.5, 2.25, 1, 1], [9.5, 1, 1, 1]]
    obs = pd.DataFrame({"cell_type": "T", "perturbation": ["control", "control", "A", "B"], "batch": list("xyyz")})
    adata = anndata.AnnData(np.array(values, dtype=np.float32), obs=obs, var=pd.DataFrame(index=GENES))
    found = answer(write(adata)).set_index("perturbation")
    assert list(found.columns) == ["rank", "cell_type", "score"]
    # A has controls in its batch; B has none there, and is compared with all of its cell type.
    np.testing.assert_allclose(found.loc[["A", "B"], "score"], [(1 + 1.25**2) ** 0.5 / 2, 7.5 / 2], rtol=1e-6)


def test_a_file_may_state_its_changes(write):
    adata = table(CHANGES)
    adata.uns["conditions"] = pd.DataFrame({"cell_type": ["T", "T"], "perturbation": ["A", "B"]}, index=["0", "1"])
    adata.varm["change"], adata.varm["change_sd"] = np.array([[0.2, 0.1]] * 4), np.full((4, 2), 0.01)
    found = answer(write(adata))
    np.testing.assert_allclose(found["score"], [0.2, 0.1])
    assert (found["sd"] < 0.0101).all()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("uns/bionemo_scale", np.arange(3), "uns/bionemo_scale must be a group, found ndarray"),
        ("varm/change", np.array([["a", "b"]] * 4, dtype="S1"), "varm/change must hold numbers, found ndarray"),
    ],
)
def test_damaged_notes_of_a_file_are_refused(write, capsys, tmp_path, name, value, expected):
    adata = table(CHANGES)
    adata.uns["conditions"] = pd.DataFrame({"cell_type": ["T", "T"], "perturbation": ["A", "B"]}, index=["0", "1"])
    adata.varm["change"] = np.array([[0.2, 0.1]] * 4)
    path = write(adata)
    with h5py.File(path, "r+") as file:
        file.pop(name, None)
        file[name] = value
    assert main([str(path), "--out", str(tmp_path / "ranks.csv")]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--by", "reversal"], "--by reversal needs the signature"),
        (["--up", "G0"], "--signature, --up and --down go with --by reversal"),
        (["--by", "effect", "--next", "2"], "expected one of --by and --next, found both"),
        (["--next", "8"], "--next must be at most 7, the conditions of"),
        (["--by", "reversal", "--up", "g0"], "found none, the first is 'g0'; did you mean 'G0'"),
        (["--by", "reversal", "--up", "G0", "--down", "G0"], "--down: 'G0' is in --up too"),
        (["--by", "synergy"], "--combination-separator says how labels are read"),
        (
            ["--by", "synergy", "--combination-separator", "@"],
            "found none; labels are read with --combination-separator '@'",
        ),
        (["--by", "dose"], "--dose-separator says how labels are read"),
        (["--cell-types", "B"], "no cell type 'B'"),
        (["--control", "A"], "expected what"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_line(screen, options, expected, capsys, tmp_path):
    if options[0] == "--control":
        adata = anndata.read_h5ad(screen)
        del adata.layers["control"]
        adata[adata.obs["cell_type"] == "NK"].copy().write_h5ad(screen)
        options = []
    before = sorted(tmp_path.iterdir())
    assert main([str(screen), "--out", str(tmp_path / "ranks.csv"), *options]) == 2
    found = capsys.readouterr()
    assert expected in found.err and found.err.count("\n") == 1 and sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("G0,1\nG1,2\n", "expected a header in the first line"),
        ("gene,a,b\nG0,1,2\n", "expected a column logFC beside the genes, found 'a', 'b'"),
        ("gene,logFC\nG0,1\nG0,2\n", "expected each gene once, found 'G0' more than once"),
        ("gene,logFC\nG0,big\n", "found 1 other values"),
        ("gene,logFC\nG0,0\n", "expected genes with a change"),
        ("gene,logFC\n,1\n", "found rows without one"),
        ("", "cannot be read as a table"),
    ],
)
def test_a_damaged_signature_is_refused(screen, tmp_path, text, expected):
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=expected):
        answer(screen, by="reversal", signature=path)
    assert not screen.with_name("ranks.csv").exists()


@pytest.mark.parametrize("by", ["uncertainty", None])
def test_screens_without_standard_deviations_have_no_intervals(write, by):
    screen = write(table(CHANGES, sd=None))
    assert "sd" not in answer(screen)
    with pytest.raises(InputError, match="needs standard deviations"):
        answer(screen, **({"by": by} if by else {"next": 2}))


def test_the_command_shows_the_first_rows_and_replaces_nothing_by_itself(screen, capsys, tmp_path):
    command = [str(screen), "--out", str(tmp_path / "ranks.csv"), "--top", "2"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "A+B" in out and "... and 5 more" in out and "C@1" not in out
    assert main(command) == 2 and "exists already" in capsys.readouterr().err
    assert main([str(screen), "--out", str(screen), "--overwrite"]) == 2


def test_long_labels_are_cut_on_the_screen_alone(write):
    name = "x" * 100
    screen = write(table({("T", name): [1.0, 0, 0, 0]}))
    settings = RankSettings.make(screen=screen, out=screen.with_name("ranks.csv"))
    found = rank(settings)
    assert name in settings.out.read_text() and name not in shown(found, 5) and "x" * 37 + "..." in shown(found, 5)
