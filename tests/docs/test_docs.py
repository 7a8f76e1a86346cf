# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The pages say what the code does: the tutorial runs, the command reference is complete, links lead somewhere."""

import csv
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from bionemo.scale import api


REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
MADE = {"commands.md", "settings.md"}
"""Pages that scripts of their names write when the site is built."""


def test_every_page_is_in_the_navigation():
    text = (REPOSITORY / "mkdocs.yml").read_text()
    pages = set(re.findall(r"[\w-]+\.(?:md|ipynb)", text))
    there = {path.name for kind in ("md", "ipynb") for path in DOCS.glob(f"*.{kind}")}
    assert pages - MADE == there - MADE
    assert yaml.safe_load(text)["strict"] is True


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_links_between_pages(page: Path):
    targets = re.findall(r"\]\(([^)#:]+)[^)]*\)", page.read_text())
    others = (*MADE, "http", "https")
    missing = [name for name in targets if not (DOCS / name).exists() and name not in others]
    assert missing == []


def _hook(name: str):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    return hook


def test_a_narrow_screen_keeps_options_whole_and_gives_sentences_room():
    whole = '<span class="whole">{}</span>'.format
    shown = _hook("phone").on_page_content(
        f"<td><code>a-b --out-x C -o --in=D.h5ad</code></td><td>{'word ' * 9}</td><p>--out</p>", page=None
    )
    code = f"a-b {whole('--out-x')} C {whole('-o')} {whole('--in')}=D.h5ad"
    assert shown == f'<td><code>{code}</code></td><td class="long">{"word " * 9}</td><p>--out</p>'
    assert "docs/phone.py" in (REPOSITORY / "mkdocs.yml").read_text()


def test_links_of_notebooks_become_links_of_the_site():
    """The notebook plugin does not do it: without the hook a reader of the site gets to no page."""
    hook = _hook("notebook_links")
    known = {"concepts.md": SimpleNamespace(url_relative_to=lambda _: "../concepts/")}
    files = SimpleNamespace(get_file_from_path=known.get)
    notebook = SimpleNamespace(file=SimpleNamespace(src_uri="a.ipynb"))
    html = '<a href="concepts.md#words">Words</a> <a href="https://x.org/y.md">y</a> <a href="#here">here</a>'
    changed = html.replace("concepts.md#words", "../concepts/#words")
    assert hook.on_page_content(html, page=notebook, files=files, config=None) == changed
    page = SimpleNamespace(file=SimpleNamespace(src_uri="a.md"))
    assert hook.on_page_content(html, page=page, files=files) == html
    with pytest.raises(ValueError, match=r"a\.ipynb: expected a page, found a link to gone\.md"):
        hook.on_page_content('<a href="gone.md">', page=notebook, files=files)


def test_the_command_reference_has_every_option(tmp_path: Path):
    out = tmp_path / "commands.md"
    subprocess.run([sys.executable, DOCS / "commands.py", out], check=True)
    text = out.read_text()
    scripts = tomllib.loads((REPOSITORY / "sub-packages/bionemo-scale/pyproject.toml").read_text())["project"][
        "scripts"
    ]
    assert all(f"## {name}\n" in text for name in scripts)
    for option in ("--library-size-key", "--tensor-parallel", "--all-perturbations", "--control-policy"):
        assert f"\n- `{option}" in text
    assert "usage: bionemo-scale-export RUN --out FOLDER [OPTIONS]" in text
    assert "- `--split SPLIT.toml`: Split file that names the held-out conditions;" in text


def test_the_settings_have_every_field(tmp_path: Path):
    """Also a link's target for each class that a docstring of the API names."""
    out = tmp_path / "settings.md"
    subprocess.run([sys.executable, DOCS / "settings.py", out], check=True)
    text = out.read_text()
    named = set(re.findall(r":class:`(bionemo[\w.]+Settings)`", inspect.getsource(api)))
    assert named and all(f"{{ #{name} }}" in text for name in named)
    assert "| `max_steps` | int<br>default `500`<br>100 with --size tiny<br>" in text
    assert "| `num_hvg`<br>`--hvg` | int<br>default `2000` |" in text and "| `out` | path<br>required |" in text
    assert not re.search(r"\| *\|$", text, flags=re.MULTILINE), "every field has a description"


@pytest.mark.slow
def test_a_new_gene_is_predicted_as_the_page_says(tmp_path: Path):
    """The commands of the page on vectors, with few steps."""
    (block,) = re.findall(r"```bash\n(.*?)```", (DOCS / "features.md").read_text(), flags=re.DOTALL)
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    for line in block.replace("\\\n", " ").replace("--max-steps 200", "--max-steps 4").splitlines():
        command, *options = line.split()
        module = f"bionemo.scale.run.{command.removeprefix('bionemo-scale-')}"
        done = subprocess.run(
            [sys.executable, "-m", module, *options], cwd=tmp_path, capture_output=True, text=True, timeout=300,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert "kernel_ridge" in done.stdout and "mean_of_trained" in done.stdout


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_hold_their_outputs(path: Path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    # What ran on another machine would not be what the reader types.
    assert "site-packages" not in path.read_text() and "Warning:" not in path.read_text()


@pytest.mark.slow
def test_the_notebook_gives_what_it_shows(tmp_path: Path):
    """Its code as one script, beside the examples: the same genes, and the pathway's knock-outs among the first."""
    cells = json.loads((DOCS / "screen-to-answer.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    shown = next(
        "".join(output["text"]) for cell in cells for output in cell.get("outputs", ())
        if "response = [" in "".join(cell["source"]) and output["output_type"] == "stream"
    )  # fmt: skip
    script = tmp_path / "docs" / "notebook.py"
    script.parent.mkdir()
    script.write_text("\n".join(["import matplotlib", 'matplotlib.use("Agg")', *code]))
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    done = subprocess.run(
        [sys.executable, script], cwd=script.parent, capture_output=True, text=True, timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert shown.strip() in done.stdout
    with (tmp_path / "runs" / "screen-to-answer" / "reversal.csv").open() as file:
        first = [row["perturbation"] for row in csv.DictReader(file)][:8]
    assert {"STAT1", "JAK2", "IFNGR1", "IFNGR2"} <= set(first)


@pytest.mark.slow
def test_pairs_and_doses_are_predicted_as_the_page_says(tmp_path: Path):
    (block,) = re.findall(r"```bash\n(.*?)```", (DOCS / "pairs.md").read_text(), flags=re.DOTALL)
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    for line in block.replace("\\\n", " ").replace("--max-steps 200", "--max-steps 4").splitlines():
        command, *options = line.split()
        module = f"bionemo.scale.run.{command.removeprefix('bionemo-scale-')}"
        done = subprocess.run(
            [sys.executable, "-m", module, *options], cwd=tmp_path, capture_output=True, text=True, timeout=300,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    with (tmp_path / "runs" / "pairs" / "synergy.csv").open() as file:
        assert {row["perturbation"] for row in csv.DictReader(file)} == {"STAT1+SMAD4"}


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path):
    """The page's code as one script, from a folder that has the examples."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "tutorial.md").read_text(), flags=re.DOTALL)
    script = tmp_path / "tutorial.py"
    script.write_text("\n".join(blocks))
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "PDCorr" in done.stdout
    assert (tmp_path / "runs" / "tutorial" / "nk.png").stat().st_size > 5000
