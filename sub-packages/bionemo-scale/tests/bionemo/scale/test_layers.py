# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The shape of the code base, read from its syntax trees: who may import whom, headers, lengths."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


PACKAGE = Path(__file__).parents[3]
REPOSITORY = PACKAGE.parents[1]
SOURCE = PACKAGE / "src" / "bionemo" / "scale"
FILES = sorted(SOURCE.rglob("*.py"))
EVERY_FILE = sorted(
    path
    for folder in ("sub-packages", "tests", "examples", "benchmarks", "recipes", "docs", "docker")
    for path in (REPOSITORY / folder).rglob("*.py")
    if not any(part.startswith(".") for part in path.relative_to(REPOSITORY).parts)
)

MIDDLE = {"flow", "data", "model", "eval"}
LEAVES = {"types", "progress", "files", "options"}
MAY_IMPORT = {
    "types": set(),
    "progress": set(),
    "population": set(),
    "counts": {"types", "population"},
    "files": {"types"},
    "process": {"types"},
    "options": {"types", "files"},
    "megatron": {"types", "files", "process"},
    "flow": {"types"},
    "estimate": {"types"},
    "data": LEAVES,
    "model": {"types", "files", "megatron"},
    "eval": {*LEAVES, "population", "counts", "estimate"},
    "rank": {*LEAVES, "eval"},
    "submit": {*LEAVES, "eval"},
    "train": {*LEAVES, "process", "estimate", "megatron", *MIDDLE},
    "infer": {*LEAVES, "estimate", "population", "counts", "megatron", *MIDDLE},
    "export": {*LEAVES, "estimate", "megatron", "infer", *MIDDLE},
    "recipes": {*LEAVES, "process", "estimate", "megatron", "train", "infer", *MIDDLE},
    "crossval": {*LEAVES, "estimate", "megatron", "train", "infer", "recipes", *MIDDLE},
    "notebook": {*LEAVES, "process", "estimate", "megatron", "eval", "infer"},
    "api": {
        *LEAVES,
        "process",
        "estimate",
        "megatron",
        "rank",
        "submit",
        "train",
        "infer",
        "export",
        "recipes",
        "crossval",
        "notebook",
        "run",
        *MIDDLE,
    },
    "run": {
        *LEAVES,
        "process",
        "estimate",
        "megatron",
        "rank",
        "submit",
        "train",
        "infer",
        "export",
        "recipes",
        "crossval",
        *MIDDLE,
    },
}
MODEL = {"trained_model", "run_estimate", "labels"}
SCORED = {"cells", "cell_eval", "metrics", "baselines", "enrichment"}
# Rooms of a folder and files beside them, and which of the others each may import.
ROOMS = {
    "files": {
        "anndata": {"expression_scale", "provenance", "suggest", "text", "url", "writing"},
        "earlier_groups": {"text", "writing"},
        "expression_scale": {"scale_evidence"},
        "gene_sets": {"text"},
        "label_list": {"text"},
        "labels": {"label_list"},
        "names": set(),
        "network_weight": {"text"},
        "provenance": {"url"},
        "quiet": set(),
        "scale_evidence": set(),
        "suggest": set(),
        "text": set(),
        "url": set(),
        "writing": {"names"},
    },
    "data": {
        "store": set(),
        "labels": set(),
        "sets": {"store"},
        "features": {"store", "labels"},
        "prepare": {"store", "labels", "sets"},
        "folds": {"store", "labels", "prepare"},
    },
    "eval": {
        "cells": set(),
        "cell_eval": {"cells", "settings"},
        "enrichment": {"metrics"},
        "metrics": {"cells", "cell_eval"},
        "baselines": {"cells"},
        "scores": SCORED,
        "output": {*SCORED, "scores"},
        "page": {*SCORED, "scores", "output"},
        "progress": set(),
        "settings": set(),
        "evaluate": {*SCORED, "scores", "output", "settings"},
    },
    "infer": {
        "settings": set(),
        "controls": {"settings"},
        "plans": {"controls"},
        "generate": set(),
        "run_estimate": {"plans"},
        "trained_model": {"settings", "run_estimate"},
        "labels": {"trained_model"},
        "planning": {"settings", "controls", "plans", *MODEL},
        "predict": {"settings", "plans", "generate", *MODEL},
        "certainty": {"plans", *MODEL},
        "counts": {"generate", "plans", "predict", *MODEL},
        "output": {"settings", "controls", "plans", "predict", "certainty", "counts", *MODEL},
        "network_weight": {"plans", "predict", *MODEL},
        "trained_run": MODEL,
        "training_data": set(),
        "job": {"settings", "plans", "planning", "predict", "certainty", "output", *MODEL},
    },
}
LARGEST_FOLDER = 12
FRAMEWORK = ("nemo", "nemo_run", "lightning", "pytorch_lightning", "bionemo.llm")


@dataclass(frozen=True, kw_only=True)
class Import:
    """One imported module, and whether importing the file imports it."""

    file: Path
    line: int
    module: str
    level: int
    at_module_level: bool

    def __str__(self) -> str:
        return f"{self.file.relative_to(SOURCE)}:{self.line} imports {self.module}"

    @property
    def folder(self) -> str:
        """Of bionemo.scale that the file belongs to; a file beside the folders is its own."""
        return self.file.relative_to(SOURCE).parts[0].removesuffix(".py")

    @property
    def target(self) -> str | None:
        """Folder of bionemo.scale that is imported, if any."""
        parts = self.module.split(".")
        return parts[2] if parts[:2] == ["bionemo", "scale"] and len(parts) > 2 else None

    def names(self, *modules: str) -> bool:
        """Whether one of these packages, or a part of it, is imported."""
        return any(self.module == name or self.module.startswith(f"{name}.") for name in modules)


def imports_of(file: Path, text: str | None = None) -> Iterator[Import]:
    def visit(node: ast.AST, *, at_module_level: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            inside = at_module_level and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                inside = False
            for module, level in _modules(child):
                yield Import(file=file, line=child.lineno, module=module, level=level, at_module_level=inside)
            yield from visit(child, at_module_level=inside)

    yield from visit(ast.parse(text or file.read_text(), filename=str(file)), at_module_level=True)


def _modules(node: ast.AST) -> list[tuple[str, int]]:
    if isinstance(node, ast.Import):
        return [(alias.name, 0) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        # "from bionemo.scale import types" imports bionemo.scale.types.
        if node.module in (None, "bionemo", "bionemo.scale"):
            return [(f"{node.module or ''}.{alias.name}".strip("."), node.level) for alias in node.names]
        return [(node.module, node.level)]
    return []


IMPORTS = [found for file in FILES for found in imports_of(file)]


def test_there_is_something_to_check():
    assert len(FILES) > 20 and len(IMPORTS) > 100
    assert {found.target for found in IMPORTS} >= {"types", *MIDDLE}


def test_the_reader_finds_what_it_looks_for():
    text = """
import nemo
from bionemo.scale import flow
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch
def f():
    from bionemo.scale.model.config import X
class A:
    import lightning.pytorch as pl
"""
    found = {each.module: each for each in imports_of(SOURCE / "eval" / "planted.py", text)}
    assert {name for name, each in found.items() if each.at_module_level} == {
        "nemo",
        "bionemo.scale.flow",
        "typing",
        "lightning.pytorch",
    }
    assert found["bionemo.scale.model.config"].target == "model" and found["torch"].folder == "eval"
    assert found["lightning.pytorch"].names(*FRAMEWORK) and not found["torch"].names(*FRAMEWORK)


def test_every_folder_has_its_place():
    found = {path.name.removesuffix(".py") for path in SOURCE.iterdir()} - {"__pycache__", "py.typed"}
    assert found <= set(MAY_IMPORT)


def test_imports_run_one_way():
    """Also the late ones and those for type checkers."""
    upward = [
        str(found)
        for found in IMPORTS
        if found.target not in (None, found.folder) and found.target not in MAY_IMPORT[found.folder]
    ]
    assert upward == []


@pytest.mark.parametrize("folder", ROOMS)
def test_rooms_of_a_folder_import_one_way(folder):
    upward = []
    for found in IMPORTS:
        inside, module = found.file.relative_to(SOURCE).parts, found.module.split(".")
        room = inside[1].removesuffix(".py") if len(inside) > 1 else ""
        if inside[0] == folder and found.target == folder and module[3] != room:
            upward += [] if module[3] in ROOMS[folder][room] else [str(found)]
    assert upward == []


def test_no_folder_is_crowded():
    sizes = {folder: len(list(folder.glob("*.py"))) for folder in {file.parent for file in FILES}}
    assert {str(folder): size for folder, size in sizes.items() if size > LARGEST_FOLDER} == {}


def test_only_training_knows_the_framework():
    def allowed(found: Import) -> bool:
        return found.folder in ("train", "recipes") or found.file == SOURCE / "data" / "sets" / "datamodule.py"

    assert [str(found) for found in IMPORTS if found.names(*FRAMEWORK) and not allowed(found)] == []


def test_flow_data_and_eval_run_without_megatron():
    light = [found for found in IMPORTS if found.folder in (*LEAVES, "flow", "data", "eval")]
    assert [str(found) for found in light if found.names("megatron", "transformer_engine")] == []


def test_flow_needs_torch_and_scipy_only():
    known = ("torch", "jaxtyping", "scipy", "bionemo.scale", *sys.stdlib_module_names)
    assert [str(found) for found in IMPORTS if found.folder == "flow" and not found.names(*known)] == []


def test_transformer_engine_is_imported_late():
    found = [each for each in IMPORTS if each.names("transformer_engine") and each.at_module_level]
    assert [str(each) for each in found] == []


def test_no_relative_imports_and_one_unpickler():
    """The one that refuses names of classes that it does not know."""
    allowed = SOURCE / "megatron" / "saved_weights.py"
    assert [str(found) for found in IMPORTS if found.level] == []
    pickles = {found.file for found in IMPORTS if found.names("pickle", "cloudpickle", "dill")}
    assert pickles == {allowed}


def test_there_are_no_drawers():
    folders = {part for file in FILES for part in file.relative_to(SOURCE).parts}
    assert not folders & {"utils", "common", "helpers", "misc", "utils.py", "common.py", "helpers.py", "misc.py"}
    assert [path for path in SOURCE.parent.rglob("__init__.py") if path.parent in (SOURCE, SOURCE.parent)] == []


@pytest.mark.parametrize("file", EVERY_FILE, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_header(file):
    lines = file.read_text().splitlines()
    if lines and lines[0].startswith("#!"):
        lines = lines[1:]
    assert lines[:2] == [
        "# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors",
        "# SPDX-License-Identifier: Apache-2.0",
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_lengths(file):
    text = file.read_text()
    assert len(text.splitlines()) <= 600
    lengths = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > 80} == {}


def test_shapes_are_not_turned_into_text():
    """jaxtyping reads annotations at run time."""
    postponed = {found.file for found in IMPORTS if found.module == "__future__"}
    assert [str(found) for found in IMPORTS if found.names("jaxtyping") and found.file in postponed] == []


def test_the_package_is_built_from_this_folder():
    settings = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert settings["packages"]["find"] == {"where": ["src"], "include": ["bionemo.*"], "namespaces": True}
    assert (PACKAGE / settings["dynamic"]["version"]["file"]).read_text().strip()
