# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The container's files, as far as they can be checked without building it."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


REPOSITORY = Path(__file__).parents[2]
DOCKER = REPOSITORY / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
# What the BioNeMo framework image brings and nobody else may install: docs/container.md.
OF_THE_IMAGE = {
    "torch", "transformer-engine", "megatron-core", "nemo-toolkit", "nemo-run", "lightning", "bionemo-llm",
    "bionemo-core", "numpy", "anndata", "einops",
}  # fmt: skip


def pinned(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in found}


def tool(name: str) -> str:
    found = shutil.which(name) or str(Path(sys.executable).with_name(name))
    assert Path(found).is_file(), f"{name} is missing: pip install {name}-bin or {name}-py"
    return found


def pip_steps() -> list[str]:
    """Return the pip commands of the Dockerfile, lines joined."""
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    runs = [line.removeprefix("RUN ") for line in text.splitlines() if line.startswith("RUN ")]
    steps = [part.strip() for run in runs for part in run.split("&&")]
    return [step for step in steps if re.match(r"(python -m )?pip (install|wheel)", step)]


def test_hadolint():
    done = subprocess.run(
        [tool("hadolint"), "-c", DOCKER / ".hadolint.yaml", DOCKER / "Dockerfile"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_entrypoint_runs_any_command():
    script = DOCKER / "entrypoint.sh"
    subprocess.run([tool("shellcheck"), script], check=True)
    # The image's `python` is the one that has the packages; here that is the one that runs the tests.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [script, "bash", "-c", "exit 7"], capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 7
    assert re.search(r"torch \d+\.\d+.*megatron-core \d+\.\d+.*cell-eval 0\.6\.6", done.stderr)


def test_the_image_is_pinned_and_named_alike():
    tag = re.search(r"^ARG BIONEMO_IMAGE=nvcr.io/nvidia/clara/bionemo-framework:([\d.]+)$", DOCKERFILE, re.M).group(1)
    assert f'base.name="nvcr.io/nvidia/clara/bionemo-framework:{tag}"' in DOCKERFILE
    assert f"bionemo-framework:{tag}" in (REPOSITORY / "docs" / "container.md").read_text()


def test_every_install_is_constrained():
    steps = pip_steps()
    assert len(steps) == 3
    for step in steps:
        assert "--no-deps" in step or "--constraint /opt/scale/image.txt" in step, step


def test_nothing_of_the_image_is_installed_again():
    assert not OF_THE_IMAGE & set(pinned(DOCKER / "additions.txt"))


def test_the_additions_are_the_versions_that_are_tested():
    tested = pinned(REPOSITORY / "requirements" / "cpu.txt")
    additions = pinned(DOCKER / "additions.txt")
    assert additions == {name: tested[name] for name in additions}


def test_the_image_and_the_additions_are_all_the_package_needs():
    project = tomllib.loads((REPOSITORY / "sub-packages" / "bionemo-scale" / "pyproject.toml").read_text())["project"]
    needed = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    # Of the second line the first three come with anndata and NeMo-Run, the others with NeMo and transformers; of the
    # third one with torch, with bionemo-llm and with pdex.
    general = {"matplotlib", "pandas", "pyarrow", "pyyaml", "scipy"} | {
        "h5py", "zarr", "fiddle", "scikit-learn", "tqdm", "safetensors",
        "fsspec", "pydantic", "numba",
    }  # fmt: skip
    # Only a bound on what newer releases of NeMo-Run need; that of the image does not.
    bounds = {"leptonai"}
    assert needed - bounds <= OF_THE_IMAGE | general | set(pinned(DOCKER / "additions.txt"))


@pytest.mark.slow
def test_the_constraints_resolve(tmp_path: Path):
    """pip finds one set of versions, with numpy and anndata held where the image has them; nothing is installed."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "empty"], check=True)
    held = tmp_path / "image.txt"
    held.write_text("numpy==1.26.4\n")
    done = subprocess.run(
        [tmp_path / "empty" / "bin" / "python", "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-",
         "--constraint", held, "--constraint", REPOSITORY / "requirements" / "cpu.txt",
         "--requirement", DOCKER / "additions.txt"],
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    chosen = {
        canonicalize_name(each["metadata"]["name"]): each["metadata"]["version"]
        for each in yaml.safe_load(done.stdout)["install"]
    }
    assert chosen["numpy"] == "1.26.4"
    assert not {"torch", "nemo-toolkit", "megatron-core", "transformer-engine"} & set(chosen)


def test_compose_builds_this_dockerfile():
    service = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["scale"]
    assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DOCKER / "Dockerfile"
