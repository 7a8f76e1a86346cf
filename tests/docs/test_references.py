# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What the pages write in code type exists: files, functions, modules, options and fields."""

import ast
import dataclasses
import importlib
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from bionemo.scale.crossval.settings import CrossvalSettings
from bionemo.scale.data.features.settings import FeaturesSettings
from bionemo.scale.data.folds.split_settings import SplitSettings
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.eval.metrics.catalogue import BY_COLUMN
from bionemo.scale.eval.settings import EvaluateSettings, ReportSettings
from bionemo.scale.export.settings import ExportSettings
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.rank.settings import RankSettings
from bionemo.scale.recipes.protocol import Protocol
from bionemo.scale.run.inner import protocol
from bionemo.scale.run.inner.launch import LaunchSettings
from bionemo.scale.run.main import module_of
from bionemo.scale.submit.settings import SubmitSettings
from bionemo.scale.train.settings import TrainSettings


REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "sub-packages" / "bionemo-scale"
SOURCE = PACKAGE / "src" / "bionemo" / "scale"
# The log tells what was measured under the names of its day; the other two are made by scripts.
OTHERS = ("log.md", "commands.md", "settings.md")
PAGES = [
    REPOSITORY / "README.md",
    *(path for path in sorted((REPOSITORY / "docs").glob("*.md")) if path.name not in OTHERS),
]
COMMANDS = (
    "prepare",
    "features",
    "split",
    "recipe",
    "train",
    "infer",
    "export",
    "rank",
    "submit",
    "evaluate",
    "crossval",
    "report",
)
SETTINGS = (
    PrepareSettings,
    FeaturesSettings,
    SplitSettings,
    TrainSettings,
    InferSettings,
    ExportSettings,
    RankSettings,
    SubmitSettings,
    EvaluateSettings,
    CrossvalSettings,
    ReportSettings,
    LaunchSettings,
    protocol.ProtocolSettings,
)
# Options of other programs that the pages name by themselves.
FOREIGN_OPTIONS = {"--gpus", "--no-deps", "--user", "--container-entrypoint", "--build-arg", "--factory", "--help"} | {
    "--wait",
    "--kill-on-bad-exit",
}
# What stands before a `=` and is no field: a placeholder, a group of NeMo-Run's, LMDB's, a variable.
FOREIGN_NAMES = {"key", "model", "subdir", "SCALE_QUIET"}
# Another package, a mount option, and columns that cell-eval numbers.
FOREIGN_WORDS = {"huggingface_hub", "local_lock", "overlap_at_50", "precision_at_500"}
REPOSITORY_FOLDERS = tuple(f"{path.name}/" for path in REPOSITORY.iterdir() if path.is_dir())


def _spans(text: str) -> list[str]:
    """Return what stands between backticks in running text."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose)]


def _command_lines(text: str) -> Iterator[str]:
    """Yield the lines of code blocks, those that end with a backslash joined to the next, and the spans."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        yield from block.replace("\\\n", " ").splitlines()
    yield from _spans(text)


@cache
def _options(command: str) -> frozenset[str]:
    module = importlib.import_module(module_of(command) if "." not in command else f"bionemo.scale.run.{command}")
    return frozenset(module.parser()._option_string_actions)


def _any_option() -> set[str]:
    script = protocol.parser(Protocol(name="any", title="any", prepare={}, variants={}))
    return set(script._option_string_actions).union(*map(_options, (*COMMANDS, "inner.launch"))) | FOREIGN_OPTIONS


def _unknown_options(text: str) -> Iterator[str]:
    for line in _command_lines(text):
        if line.startswith("-"):
            known = _any_option()
        elif found := re.search(rf"bionemo-scale[- ]({'|'.join(COMMANDS)})\b", line):
            known, line = _options(found[1]), line[found.end() :].partition("bionemo-scale")[0]
        else:
            continue
        # What follows a comment sign or closes a pipe belongs to no command.
        for option in re.findall(r"(?<!\S)--[a-z][\w-]*(?:\.[\w-]+)?", re.split(r" [#|] ", line)[0]):
            if option not in known:
                yield f"{option} in `{line.strip()}`"


@cache
def _names(path: Path) -> frozenset[str]:
    """Return what a file defines: functions, classes, constants, and members of classes as Class.member."""

    def of(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield prefix + node.name
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))
            if isinstance(node, ast.ClassDef):
                yield from of(node.body, f"{prefix}{node.name}.")

    return frozenset(of(ast.parse(path.read_text()).body))


def _file(name: str) -> Path | None:
    """Return the file or folder that a page means, below the repository, the package or its sources."""
    roots = (REPOSITORY, SOURCE, SOURCE.parents[1], PACKAGE / "tests" / "bionemo" / "scale")
    return next((root / name for root in roots if (root / name).exists()), None)


def _missing_files(text: str) -> Iterator[str]:
    for span in _spans(text):
        found = re.fullmatch(r"([\w./-]+\.(?:py|sh|toml|yaml|md|txt))(?::([A-Za-z_][\w.]*))?", span)
        if found is None or ("/" not in found[1] and found[2] is None):
            if span.startswith(REPOSITORY_FOLDERS) and re.fullmatch(r"[\w./-]+", span) and _file(span) is None:
                yield span
            continue
        if not _is_ours(found[1]):
            continue
        path = _file(found[1])
        if path is None or (found[2] is not None and found[2] not in _names(path)):
            yield span


def _is_ours(name: str) -> bool:
    """Return whether a path starts with a folder of this repository; others are of other projects, or of users."""
    return "/" not in name or any(
        (root / name.split("/")[0]).is_dir() for root in (REPOSITORY, SOURCE, SOURCE.parents[1])
    )


def _missing_modules(text: str) -> Iterator[str]:
    for dotted in re.findall(r"\bbionemo\.scale((?:\.\w+)+)", text):
        parts = dotted[1:].split(".")
        folder = SOURCE
        while parts and (folder / parts[0]).is_dir():
            folder, parts = folder / parts[0], parts[1:]
        if not parts:
            continue
        path = folder / f"{parts[0]}.py"
        if not path.is_file() or (parts[1:] and ".".join(parts[1:]) not in _names(path)):
            yield f"bionemo.scale{dotted}"


@cache
def _fields() -> frozenset[str]:
    return frozenset(field.name for owner in (ScaleModelConfig, *SETTINGS) for field in dataclasses.fields(owner))


def _unknown_fields(text: str) -> Iterator[str]:
    for span in _spans(text):
        for name in re.findall(r"(?:^|(?<=--set ))([A-Za-z_]\w*)=(?!=)", span):
            if name not in _fields() | FOREIGN_NAMES:
                yield f"{name}= in `{span}`"


@cache
def _words() -> frozenset[str]:
    files = (
        path for folder in (SOURCE, *map(REPOSITORY.joinpath, ("examples", "recipes"))) for path in folder.rglob("*")
    )
    texts = (path.read_text() for path in files if path.suffix in (".py", ".sh", ".toml", ".yaml"))
    return frozenset(word for text in texts for word in re.findall(r"[A-Za-z_]\w+", text))


def _gone_names(text: str) -> Iterator[str]:
    """Yield names like those of functions, fields and classes that no file of the code has."""
    for span in _spans(text):
        if (
            re.fullmatch(r"[a-z]+\w*_\w+|(?:[A-Z][a-z]+){2,}", span)
            and span not in _words() | FOREIGN_WORDS | BY_COLUMN.keys()
        ):
            yield span


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
@pytest.mark.parametrize("find", [_missing_files, _missing_modules, _unknown_options, _unknown_fields, _gone_names])
def test_what_a_page_names_exists(page: Path, find):
    assert list(find(page.read_text())) == []


def test_the_tree_has_every_folder():
    folders = [path.relative_to(SOURCE) for path in SOURCE.rglob("*") if path.is_dir() and any(path.glob("*.py"))]
    top = {path.parts[0] for path in folders} | {path.name for path in SOURCE.glob("*.py")}
    architecture = (REPOSITORY / "docs" / "architecture.md").read_text()
    assert [path for path in folders if f"{path.name}/" not in architecture] == []
    assert [name for name in top if f"    {name}" not in architecture] == []


def test_the_readme_quotes_the_whole_table():
    """Its rows are those of the page, to the digit, and the split file is the one that the demo reads."""
    readme = (REPOSITORY / "README.md").read_text()
    quoted = re.search(r"^```\n(model .*?)^```", readme, flags=re.DOTALL | re.MULTILINE)[1].splitlines()
    whole = (REPOSITORY / "docs" / "examples.md").read_text().splitlines()
    assert len(quoted) > 5 and [row for row in quoted if row not in whole] == []
    (split,) = re.findall(r"```toml\n(.*?)```", readme, flags=re.DOTALL)
    assert split in (REPOSITORY / "examples" / "splits" / "kang.toml").read_text()
    assert len(readme.splitlines()) <= 160


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_headings(page: Path):
    links = re.findall(r"\]\(([\w./-]*\.md)?#([\w-]+)\)", page.read_text())
    targets = [(page.parent / name if name else page, anchor) for name, anchor in links]
    assert [anchor for target, anchor in targets if anchor not in _anchors(target)] == []


@pytest.mark.parametrize("notebook", sorted((REPOSITORY / "docs").glob("*.ipynb")), ids=lambda path: path.name)
def test_links_of_notebooks_lead_to_headings(notebook: Path):
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "markdown"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
    links = re.findall(r"\]\(([\w-]+\.md)(?:#([\w-]+))?\)", text)
    assert len(links) > 2
    pages = {name: notebook.with_name(name) for name, _ in links if name not in OTHERS[1:]}
    assert [name for name, page in pages.items() if not page.exists()] == []
    assert [link for link in links if link[1] and link[1] not in _anchors(pages[link[0]])] == []


@pytest.mark.parametrize(
    ("find", "text"),
    [
        (_missing_files, "see `infer/generate.py:no_such`"),
        (_missing_files, "see `flow/no_such.py`"),
        (_missing_files, "in `docs/no_such/`"),
        (_missing_modules, "`bionemo.scale.eval.formulas`"),
        (_unknown_options, "give `--no-such-option 1`"),
        (_unknown_options, "```bash\nbionemo-scale-infer --store S \\\n    --max-steps 5\n```\n"),
        (_unknown_options, "```bash\nbionemo-scale infer --store S --max-steps 5\n```\n"),
        (_unknown_fields, "`--set no_such_field=0`"),
        (_gone_names, "cells pass through `no_such_function`"),
    ],
)
def test_what_is_gone_is_found(find, text: str):
    assert len(list(find(text))) == 1
