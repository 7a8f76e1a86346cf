# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The pages say what the code does: the tutorial runs, the command reference is complete, links lead somewhere."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml


REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"


def test_every_page_is_in_the_navigation():
    text = (REPOSITORY / "mkdocs.yml").read_text()
    pages = set(re.findall(r"[\w-]+\.md", text))
    assert pages - {"commands.md"} == {path.name for path in DOCS.glob("*.md")} - {"commands.md"}
    assert yaml.safe_load(text)["strict"] is True


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_links_between_pages(page: Path):
    targets = re.findall(r"\]\(([^)#:]+)[^)]*\)", page.read_text())
    missing = [name for name in targets if not (DOCS / name).exists() and name != "commands.md"]
    assert missing == []


def test_the_command_reference_has_every_option(tmp_path: Path):
    out = tmp_path / "commands.md"
    subprocess.run([sys.executable, DOCS / "commands.py", out], check=True)
    text = out.read_text()
    scripts = tomllib.loads((REPOSITORY / "sub-packages/bionemo-scale/pyproject.toml").read_text())["project"][
        "scripts"
    ]
    assert all(f"## {name}\n" in text for name in scripts)
    for option in ("--library-size-key", "--tensor-parallel", "--all-perturbations", "--control-policy"):
        assert option in text


@pytest.mark.slow
def test_a_new_gene_is_predicted_as_the_page_says(tmp_path: Path):
    """The commands of the page on vectors, with few steps."""
    (block,) = re.findall(r"```bash\n(.*?)```", (DOCS / "features.md").read_text(), flags=re.DOTALL)
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    for line in block.replace("--max-steps 200", "--max-steps 4").splitlines():
        command, *options = line.split()
        module = f"bionemo.scale.run.{command.removeprefix('bionemo-scale-')}"
        done = subprocess.run(
            [sys.executable, "-m", module, *options], cwd=tmp_path, capture_output=True, text=True, timeout=300,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert "kernel_ridge" in done.stdout and "mean_of_trained" in done.stdout


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
