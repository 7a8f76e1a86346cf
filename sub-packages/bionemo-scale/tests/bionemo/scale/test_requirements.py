# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The package's metadata: what is imported is declared, and what was tested is within the bounds."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


PACKAGE = Path(__file__).parents[3]
REPOSITORY = PACKAGE.parents[1]
PROJECT = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
# Packages that hold others back, and say so in pyproject.toml.
NOT_IMPORTED = {"leptonai"}
# Peers in environments of their own, which their scripts start.
OF_OTHER_ENVIRONMENTS = {"cell_load"}


@cache
def distributions() -> dict[str, list[str]]:
    return packages_distributions()


def declared(*extras: str) -> dict[str, Requirement]:
    texts = [*PROJECT["dependencies"], *(text for name in extras for text in PROJECT["optional-dependencies"][name])]
    return {canonicalize_name(each.name): each for each in map(Requirement, texts)}


def imported(*folders: Path) -> set[str]:
    """Names of the distributions that files import, at any level and at any time."""
    found = set()
    for file in (file for folder in folders for file in folder.rglob("*.py")):
        # A script may import the one beside it.
        beside = {other.stem for other in file.parent.glob("*.py")}
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names} - beside
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module not in beside:
                found.add(node.module)
    return {distribution(module) for module in found} - {None}


def distribution(module: str) -> str | None:
    top, *rest = module.split(".")
    if top == "bionemo":
        # A namespace: its parts are distributions. This package is one of them.
        return None if rest[:1] in ([], ["scale"]) else f"bionemo-{rest[0]}"
    if top in sys.stdlib_module_names or top in OF_OTHER_ENVIRONMENTS:
        return None
    return canonicalize_name(distributions().get(top, [top])[0])


def test_a_distribution_is_found_by_its_module():
    found = {
        name: distribution(name) for name in ("yaml", "os.path", "bionemo.llm.utils", "bionemo.scale.flow", "umap")
    }
    assert found == {
        "yaml": "pyyaml",
        "os.path": None,
        "bionemo.llm.utils": "bionemo-llm",
        "bionemo.scale.flow": None,
        "umap": "umap-learn",
    }


def test_everything_that_is_imported_is_declared():
    used = imported(PACKAGE / "src", REPOSITORY / "recipes", REPOSITORY / "examples")
    # Extras are what single options need; the options say so where they are missing.
    extras = PROJECT["optional-dependencies"].keys() - {"test"}
    assert used - declared(*extras).keys() == set()


def test_everything_that_tests_import_is_declared():
    used = imported(PACKAGE / "tests", REPOSITORY / "tests")
    assert used - declared("test").keys() == set()


def test_everything_that_is_declared_is_imported():
    assert declared().keys() - imported(PACKAGE / "src") == NOT_IMPORTED


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("Megatron-core", ["megatron-core"]),
        ("NeMo", ["nemo-toolkit"]),
        ("NeMo-Run", ["nemo-run"]),
        ("bionemo-llm, bionemo-core", ["bionemo-llm"]),
    ],
)
def test_versions_of_the_container_and_of_the_tests_are_within_the_bounds(row, names):
    """As pip decides it for what is installed: pre-releases count."""
    text = (REPOSITORY / "docs" / "container.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith(f"| {row} |"))
    versions = re.findall(r"\d+\.\d+\.\d+\w*", line)
    assert len(versions) >= 2
    for name in names:
        specifier = declared()[name].specifier
        assert [version for version in versions if not specifier.contains(version, prereleases=True)] == []


def test_versions_that_were_pinned_are_within_the_bounds():
    pins = [
        Requirement(line)
        for line in (REPOSITORY / "requirements" / "cpu.txt").read_text().splitlines()
        if "==" in line
    ]
    pinned = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    for name, requirement in declared("test").items():
        assert requirement.specifier.contains(pinned[name], prereleases=True), (name, pinned[name])


def test_no_bound_lets_pip_prefer_a_pre_release():
    assert [name for name, requirement in declared("test").items() if requirement.specifier.prereleases] == []


@pytest.mark.parametrize(
    ("version", "fits"), [("0.13.1", False), ("0.14.0rc2", True), ("0.15.3", True), ("0.16.0rc0", False)]
)
def test_megatrons_bounds(version, fits):
    assert declared()["megatron-core"].specifier.contains(version, prereleases=True) is fits


def pins(name: str) -> set[str]:
    lines = (REPOSITORY / "requirements" / name).read_text().splitlines()
    return {line for line in lines if "==" in line and not line.startswith("#")}


def test_small_installations_have_the_versions_that_were_tested():
    light, scores = pins("light.txt"), pins("scores.txt")
    assert light | scores <= pins("cpu.txt") and not light & scores
    heavy = {"torch", "nemo-toolkit", "megatron-core", "lightning", "bionemo-llm"}
    assert not heavy & {canonicalize_name(line.partition("==")[0]) for line in light}


def test_preparation_splits_and_vectors_need_the_light_packages_alone(screen, tmp_path, light_command):
    """test_report.py and test_rank.py have the other commands of such an installation."""
    screen.write_h5ad(tmp_path / "screen.h5ad")
    split, store = tmp_path / "split.toml", tmp_path / "store"
    assert "wrote" in light_command("split", tmp_path / "screen.h5ad", "--share", 0.4, "--out", split)
    assert "next" in light_command("prepare", tmp_path / "screen.h5ad", "--out", store, "--split", split)
    sets = tmp_path / "sets.gmt"
    sets.write_text("a\t-\tp0\tp1\nb\t-\tp1\tp2\n")
    vectors = tmp_path / "vectors.parquet"
    assert "wrote" in light_command("features", "--gene-sets", sets, "--store", store, "--out", vectors)
    refused = light_command("train", "--store", store, "--out", tmp_path / "run", code=2)
    assert refused.startswith("error: this needs the Python package torch, which is not installed")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("page", ["commands", "settings"])
def test_the_site_needs_the_light_packages_alone(page, tmp_path, light_command):
    light_command(REPOSITORY / "docs" / f"{page}.py", tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text().count("\n## ") > 9
