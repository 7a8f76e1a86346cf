# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The report of a real evaluation, opened in a real browser: nothing fetched, nothing wrong, choosers work."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from bionemo.scale.run.evaluate import main as evaluate
from bionemo.scale.run.report import main
from bionemo.scale.types import DataCard, ExpressionScale, ObsKeys


PAPALEXI = Path(__file__).parents[6] / "examples" / "data" / "papalexi2021_thp1_eccite.h5ad"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
KNOCK_OUTS = ("ATF2", "IFNGR2", "JAK2", "STAT1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder as the examples leave it: run/, predicted/ and scores/."""
    folder = tmp_path_factory.mktemp("report")
    cells = ad.read_h5ad(PAPALEXI)
    cells = cells[cells.obs["perturbation"].isin(["control", *KNOCK_OUTS]), :100]
    cells = cells[np.random.default_rng(0).permutation(len(cells))[:900]]
    values = np.log1p(cells.X.toarray() / cells.X.sum(axis=1).A.clip(1) * 1e4).astype(np.float32)
    real = ad.AnnData(X=sparse.csr_matrix(values), obs=cells.obs[["perturbation", "cell_type", "batch"]].astype(str))
    real.var_names = list(cells.var_names)
    card = DataCard(
        genes=tuple(cells.var_names),
        cell_types=("THP-1",),
        perturbations=KNOCK_OUTS,
        batches=("rep_1", "rep_2"),
        control="control",
        scale=ExpressionScale(),
        keys=ObsKeys(),
    )
    real.uns["bionemo_scale"] = {"card": card.to_json(), "split": "test", "store": "/nowhere/store"}
    pred = real[real.obs["perturbation"] != "control"].copy()
    pred.X = 0.5 * pred.X.toarray() + 0.5 * pred.X.toarray()[np.random.default_rng(1).permutation(len(pred))]
    pred.uns["bionemo_scale"]["checkpoint"] = "runs/x/checkpoints/last"
    (folder / "predicted").mkdir()
    for name, adata in (("real", real), ("pred", pred)):
        adata.write_h5ad(folder / "predicted" / f"adata_{name}.h5ad")
    files = [str(folder / "predicted" / f"adata_{name}.h5ad") for name in ("pred", "real")]
    command = ["--pred", files[0], "--real", files[1], "--name", "A & <B>", "--out", str(folder / "scores")]
    assert evaluate(command) == 0
    _write_run(folder / "run")
    return folder


def _write_run(run: Path) -> None:
    run.mkdir()
    (run / "config.yaml").write_text(
        "run: {store: some/store, out: some/run, size: small, max_steps: 20, seed: 3, overrides: {anchor: none}}\n"
        "model: {num_genes: 100, hidden_size: 128}\n"
    )
    (run / "metrics.csv").write_text("step,loss,val_loss\n10,2.5,\n20,1.5,1.75\n")
    conditions = [["papalexi", "THP-1", name, "test", 50] for name in KNOCK_OUTS]
    counts = {"train": (7, 1234), "val": (1, 1), "test": (4, 200)}
    counts = {name: {"conditions": number, "cells": cells} for name, (number, cells) in counts.items()}
    columns = ["dataset", "cell_type", "perturbation", "split", "cells"]
    split = {"sha256": "f" * 64, "counts": counts, "control_cells": 99, "columns": columns, "conditions": conditions}
    (run / "split.json").write_text(json.dumps(split))


@pytest.fixture(scope="module")
def page(folder) -> Path:
    assert main([str(folder), "--out", str(folder / "page.html")]) == 0
    return folder / "page.html"


def test_a_page_needs_the_light_packages_alone(folder, tmp_path, light_command):
    shown = light_command("report", folder, "--out", tmp_path / "page.html")
    assert "wrote" in shown and (tmp_path / "page.html").stat().st_size > 100_000
    refused = light_command("report", folder, "--umap", "--out", tmp_path / "page.html", code=2)
    assert "needs the Python package umap" in refused


def data_of(page: Path) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.S).group(1))


def test_one_file_that_asks_for_nothing(page):
    text = page.read_text()
    own = text.replace(_plotly(), "")
    assert not re.search(r"(src|href)=.?(https?:)?//", own), "nothing is fetched"
    assert re.findall(r"https?://[^\"' <]+", own) == []
    assert text.count("<script") == 3 and "@import" not in own


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def test_what_the_page_says(page):
    text = page.read_text()
    for expected in (
        "A &amp; &lt;B&gt; on papalexi",
        "The correlation of predicted and observed changes is",
        "The file of the prediction has no intervals",
        "train: 7 conditions, 1,234 cells; val: 1 condition, 1 cell; test: 4 conditions",
        "some/store",
        "4 conditions and their part",
        "Only 4 (cell type, perturbation) pairs were scored",
        "bionemo-scale-train --store some/store --out some/run --size small --max-steps 20 --seed 3 --set anchor=none",
        "--control-policy same-real --seed 0",
        "appendix A writes a norm",
        "runs/x/checkpoints/last",
    ):
        assert expected in text, expected
    assert "<B>" not in text.replace(_plotly(), "").split('id="data"')[0]


def test_the_numbers_of_the_page_are_those_of_the_evaluation(page, folder):
    text, summary = page.read_text(), json.loads((folder / "scores" / "summary.json").read_text())
    for name in ("control", "ceiling"):
        assert f"{summary['models'][name]['pearson_delta']['mean']:.3f}" in text
    interval = summary["models"]["control"]["mse"]["interval"]
    assert f"{interval['low']:.4f}, {interval['high']:.4f} p" in text
    data = data_of(page)
    assert data["models"] == ["A & <B>"] and data["curves"]["loss"] == [2.5, 1.5]
    shown = [entry["perturbation"] for entry in data["genes"]["entries"]]
    assert set(shown) == set(KNOCK_OUTS)
    sizes = {item["perturbation"]: item["real"] for item in data["effects"]}
    assert shown == sorted(shown, key=lambda name: -sizes[name]), "the strongest is shown first"
    assert {cloud["kind"] for cloud in data["clouds"][0]["clouds"]} == {"control", "observed", "predicted"}


def test_same_command_same_bytes(page, folder, tmp_path):
    assert main([str(folder), "--out", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


PROBE = """<script>
const probe = document.createElement("pre");
probe.id = "probe";
const title = (id) => document.getElementById(id).querySelectorAll(".point").length;
const before = Array.from(document.getElementById("top-genes").querySelectorAll("th"), (cell) => cell.textContent);
const pair = document.getElementById("gene-pair");
pair.value = "3";
pair.dispatchEvent(new Event("change"));
const after = Array.from(document.getElementById("top-genes").querySelectorAll("th"), (cell) => cell.textContent);
const metric = document.getElementById("pair-metric");
metric.value = "mse";
metric.dispatchEvent(new Event("change"));
document.getElementById("pair-baseline").value = "control";
document.getElementById("pair-baseline").dispatchEvent(new Event("change"));
const find = document.getElementById("gene-find");
const wanted = document.getElementById("top-genes").querySelector("th").textContent;
find.value = wanted;
find.dispatchEvent(new Event("input"));
const matches = Array.from(document.getElementById("top-genes").querySelectorAll("th"), (cell) => cell.textContent);
setTimeout(() => {
  const plots = ["forest", "pairs", "change", "intervals", "clouds", "effects", "effect-sizes", "curves"];
  const points = document.getElementById("pairs").data[1];
  probe.textContent = JSON.stringify({
    wanted, matches, wide: document.documentElement.scrollWidth > window.innerWidth,
    options: pair.options.length, before, after, hover: points.text, y: points.y,
    axis: document.getElementById("pairs").layout.yaxis.title.text,
    empty: plots.filter((id) => !document.getElementById(id).querySelector(".cartesianlayer path")),
  });
  document.body.append(probe);
}, 2000);
</script>"""


def browse(page: Path, profile: Path, *options: str) -> subprocess.CompletedProcess:
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={profile}", "--enable-logging=stderr", "--virtual-time-budget=20000", *options]
    return subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=240)


def pixels_of(page: Path, folder: Path, *options: str) -> np.ndarray:
    """Return what a browser shows, [height, width, 3] of 0 to 255."""
    browse(page, folder / "profile", "--hide-scrollbars", f"--screenshot={folder / 'shot.png'}", *options)
    from matplotlib.image import imread

    return (imread(folder / "shot.png")[..., :3] * 255).round().astype(int)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: the page was not opened in a browser")
def test_the_page_opens_and_its_choosers_work(page, folder, tmp_path):
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    done = browse(probed, tmp_path / "profile", "--window-size=1366,900", "--dump-dom")
    complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    assert complaints == []
    assert 'data-ready="yes"' in done.stdout
    found = json.loads(
        re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.S)
        .group(1)
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
    )
    assert found["empty"] == [], "every figure is drawn"
    assert found["options"] == len(KNOCK_OUTS)
    assert found["before"] != found["after"] and len(found["after"]) == 25
    assert found["matches"] and all(found["wanted"].lower() in name.lower() for name in found["matches"])
    assert not found["wide"]
    assert found["axis"].endswith("MSE (mse)") and len(found["y"]) == len(KNOCK_OUTS)
    assert [text.split("<br>")[0] for text in found["hover"]] == list(KNOCK_OUTS), "hovering names the perturbation"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: no screenshot was taken")
def test_the_page_has_colour_on_a_laptop_screen(page, tmp_path):
    pixels = pixels_of(page, tmp_path, "--window-size=1366,3600")
    assert pixels.shape[:2] == (3600, 1366)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (np.abs(pixels - colour).max(axis=2) < 12).sum() > 200, "observed is blue, predicted vermillion"
    right = pixels[:, 1330:1350]
    assert (right.min(axis=2) > 225).mean() > 0.95, "nothing runs over the right edge"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: no screenshot was taken")
def test_the_page_fits_a_phone(page, tmp_path):
    probe = "<script>setTimeout(() => { document.title = document.documentElement.scrollWidth; }, 1500);</script>"
    framed, probed = tmp_path / "framed.html", tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", probe + "</body>"))
    # Windows of a browser without a screen are at least 500 wide; a frame is as wide as it is told.
    framed.write_text('<iframe id="phone" src="probed.html" width="400" height="900"></iframe>')
    watch = "<script>setTimeout(() => { document.title = 'w' + phone.contentDocument.title; }, 6000);</script>"
    framed.write_text(framed.read_text() + watch)
    done = browse(framed, tmp_path / "profile", "--allow-file-access-from-files", "--dump-dom")
    assert int(re.search(r"<title>w(\d+)</title>", done.stdout).group(1)) <= 400


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: no screenshot was taken")
def test_the_page_is_dark_where_the_reader_wants_it(page, tmp_path):
    options = ("--blink-settings=preferredColorScheme=0", "--window-size=1366,3600")
    pixels = pixels_of(page, tmp_path, *options)
    assert np.median(pixels.max(axis=2)) < 60, "paper and plots are dark"
    assert ((pixels.min(axis=2) > 200).mean()) < 0.1


PICTURES = {
    1280: """
2222222222222211
2222222222211111
2222222222111111
2222222222222222
2222222222000000
2222222222222112
1211111111111112
1222211111111111
2222222222222221
2222222222222221
2222222222222000
2222222222222000
2222222222222210
2222222222221111
1221122221111112
1000222121100002
""",
    390: """
2222222222222221
2222222222222222
1222222222222222
1222222222222222
2222222222222222
2222222222222222
2222222222222222
2222222222222221
2222222222222222
2122222111211222
2022112112222112
2222222222222222
2222222222222222
2222222222222222
2222222222222222
2222222222222221
""",
}
"""The first 2,400 pixels at two widths in 16 x 16 tiles: 0 is paper alone, 1 is 2.5 % of something else, 2 is more."""
MOST_STRANGE = {1280: 0.15, 390: 0.08}
"""Serifs, letters of one width and wider lines change at most 0.12 and 0.04; lost plots at least 0.20 and 0.11."""


def coarse(page: Path, folder: Path, width: int) -> np.ndarray:
    """Return a coarse picture of a page, [16, 16] of 0 to 2."""
    # Windows of a browser without a screen are at least 500 wide; a frame is as wide as it is told.
    frame = f'<iframe src="{page.as_uri()}" width="{width}" height="2400" style="border: 0"></iframe>'
    (folder / "framed.html").write_text(f'<body style="margin: 0">{frame}')
    options = ("--allow-file-access-from-files", f"--window-size={max(500, width)},2400")
    pixels = pixels_of(folder / "framed.html", folder, *options)[:, :width]
    ink = pixels.min(axis=2) < 245
    tiles = ink[:, : width // 16 * 16].reshape(16, 150, 16, -1)
    return np.minimum(np.ceil(tiles.mean(axis=(1, 3)) * 40), 2).astype(int)


def strange(found: np.ndarray, expected: np.ndarray) -> float:
    """Return how much of the expected picture is elsewhere, 0 to 1 or more, by means over 3 x 3 tiles."""
    found, expected = (_smooth(tiles.astype(float)) for tiles in (found, expected))
    return float(np.abs(found - expected).sum() / expected.sum())


def _smooth(tiles: np.ndarray) -> np.ndarray:
    around = np.pad(tiles, 1, mode="edge")
    rows, columns = tiles.shape
    return np.mean([around[r : r + rows, c : c + columns] for r in range(3) for c in range(3)], axis=0)


def picture(text: str) -> np.ndarray:
    return np.array([list(line) for line in text.split()], dtype=int)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: no screenshot was taken")
@pytest.mark.parametrize("width", PICTURES)
def test_the_page_looks_as_it_did(page, tmp_path, width):
    """If it should look otherwise now, the picture that was found is in the message."""
    found = coarse(page, tmp_path, width)
    text = "\n".join("".join(map(str, row)) for row in found)
    assert strange(found, picture(PICTURES[width])) <= MOST_STRANGE[width], f"found\n{text}"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: no screenshot was taken")
@pytest.mark.parametrize(
    ("width", "damage"),
    [(1280, ".plot { visibility: hidden }"), (1280, "table { display: none }"), (390, "main { width: 250% }")],
)
def test_a_page_that_is_broken_looks_otherwise(page, tmp_path, width, damage):
    (tmp_path / "broken.html").write_text(page.read_text().replace("</style>", damage + "</style>", 1))
    found = coarse(tmp_path / "broken.html", tmp_path, width)
    assert strange(found, picture(PICTURES[width])) > MOST_STRANGE[width]


def test_scores_of_another_tool_need_no_run(folder, tmp_path, capsys):
    assert main([str(folder / "scores"), "--out", str(tmp_path / "only.html")]) == 0
    assert "holds no config.yaml" in capsys.readouterr().out
    text = (tmp_path / "only.html").read_text()
    assert "No split.json of a training run was found" in text and data_of(tmp_path / "only.html")["curves"] == {}


def test_a_run_without_scores_has_a_page_of_its_training(folder, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run)
    (run / "network_weight.json").write_text('{"network_weight": 0.25}')
    assert main([str(run)]) == 0
    assert "the page is of the training alone" in capsys.readouterr().out
    text = (run / "report.html").read_text()
    for expected in (
        "Training on papalexi",
        "went from 2.5 at step 10 to 1.5 at step 20",
        "lowest validation loss is 1.75, at step 20",
        "weight is 0.25",
        "no proof of good predictions",
        "train: 7 conditions, 1,234 cells; val: 1 condition, 1 cell; test: 4 conditions",
        "4 conditions and their part",
        "bionemo-scale-train --store some/store",
    ):
        assert expected in text, expected
    assert "bionemo-scale-evaluate --pred" not in text and data_of(run / "report.html")["curves"]["loss"] == [2.5, 1.5]
    before = (run / "report.html").read_bytes()
    (run / "network_weight.json").write_text('{"network_weight": 2}')
    assert main([str(run)]) == 2
    assert "network_weight.json: expected a network_weight of 0 to 1" in capsys.readouterr().err
    assert (run / "report.html").read_bytes() == before


CURVE = """<script>setTimeout(() => {
  const ticks = Array.from(document.querySelectorAll("#curves .ytick text"), (tick) => tick.textContent);
  document.title = JSON.stringify({ ready: document.body.dataset.ready, ticks });
}, 2000);</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: the page was not opened in a browser")
def test_ticks_of_a_loss_are_written_out(folder, tmp_path):
    """Also 20 and 50, of which plotly shows the first digit."""
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run)
    (run / "metrics.csv").write_text("step,loss,val_loss\n10,60,\n20,6,30\n")
    assert main([str(run)]) == 0
    probed = tmp_path / "probed.html"
    probed.write_text((run / "report.html").read_text().replace("</body>", CURVE + "</body>"))
    done = browse(probed, tmp_path / "profile", "--window-size=1366,900", "--dump-dom")
    assert [line for line in done.stderr.splitlines() if ":CONSOLE" in line] == []
    found = json.loads(re.search(r"<title>(.*?)</title>", done.stdout).group(1).replace("&quot;", '"'))
    assert found["ready"] == "yes" and {"10", "20", "50"} <= set(found["ticks"])


def test_cells_that_are_gone_leave_out_the_populations(folder, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(folder / "scores", moved)
    summary = json.loads((moved / "summary.json").read_text())
    summary["inputs"]["real"]["path"] = "/nowhere/real.h5ad"
    (moved / "summary.json").write_text(json.dumps(summary))
    assert main([str(folder / "run"), "--scores", str(moved), "--out", str(tmp_path / "page.html")]) == 0
    assert "no plots of cells, because" in capsys.readouterr().out
    assert data_of(tmp_path / "page.html")["clouds"] == []
    real = str(folder / "predicted" / "adata_real.h5ad")
    assert (
        main([str(folder / "run"), "--scores", str(moved), "--real", real, "--out", str(tmp_path / "page.html")]) == 0
    )
    assert data_of(tmp_path / "page.html")["clouds"] != []


def test_a_folder_that_was_moved_keeps_its_populations(folder, tmp_path, capsys, monkeypatch):
    shutil.copytree(folder, tmp_path / "moved")
    summary = json.loads((tmp_path / "moved" / "scores" / "summary.json").read_text())
    for file in (summary["inputs"]["real"], next(iter(summary["inputs"]["pred"].values()))):
        file["path"] = file["path"].replace(str(folder), "/nowhere")
    (tmp_path / "moved" / "scores" / "summary.json").write_text(json.dumps(summary))
    page = tmp_path / "moved" / "page.html"
    assert main([str(tmp_path / "moved"), "--out", str(page)]) == 0
    assert data_of(page)["clouds"] != []
    with (tmp_path / "moved" / "predicted" / "adata_real.h5ad").open("ab") as file:
        file.write(b"other content")
    assert main([str(tmp_path / "moved"), "--out", str(page)]) == 0
    assert "no plots of cells" in capsys.readouterr().out


def test_refusals(folder, tmp_path, capsys):
    def refuse(*command, expected):
        assert main([str(part) for part in command]) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1 and expected in err, err

    out = ("--out", tmp_path / "page.html")
    refuse(tmp_path / "none", *out, expected="no such folder")
    refuse(tmp_path, *out, expected="no scores: expected summary.json")
    refuse(folder, "--scores", tmp_path, *out, expected="--scores says where")
    refuse(folder, "--pred", tmp_path / "x.h5ad", *out, expected="x.h5ad: no such file")
    refuse(folder, "--out", tmp_path, expected="expected an HTML file to write, found a folder")
    refuse(folder, "--seed", -1, *out, expected="--seed must be at least 0")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "manifest.json").touch()
    refuse(tmp_path / "store", *out, expected="expected a run folder or a result folder, found a store")
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "summary.json").write_text('{"models": {}}')
    refuse(tmp_path, *out, expected="is no result folder of this version")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("run: 3")
    refuse(tmp_path, *out, expected="is no run folder of bionemo-scale-train")
    assert not (tmp_path / "page.html").exists()


def test_a_damaged_key_of_the_scores_is_refused(folder, tmp_path, capsys):
    shutil.copytree(folder / "scores", tmp_path / "scores")
    summary = tmp_path / "scores" / "summary.json"
    summary.write_text(summary.read_text().replace("equals cell-eval", "equals cell-evam"))
    assert main([str(tmp_path / "scores"), "--out", str(tmp_path / "page.html")]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and f"{summary}: expected scores of bionemo-scale-evaluate, found that" in err
    assert not (tmp_path / "page.html").exists()


def test_no_input_is_replaced(folder, capsys):
    for name in ("predicted/adata_pred.h5ad", "scores/summary.json", "run/metrics.csv"):
        before = (folder / name).read_bytes()
        assert main([str(folder), "--out", str(folder / name)]) == 2
        assert "would replace the input" in capsys.readouterr().err and (folder / name).read_bytes() == before
