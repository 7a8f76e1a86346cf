# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The page on NVIDIA's path lists the files that need NeMo: those that import it, and no others."""

import ast
import re
from pathlib import Path


REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "sub-packages" / "bionemo-scale" / "src" / "bionemo" / "scale"
FRAMEWORK = ("bionemo.core", "bionemo.llm", "lightning", "nemo", "nemo_run", "pytorch_lightning")


def imported(file: Path) -> set[str]:
    """Return the parts of the framework that a file imports, at any level and for any reason."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name for name in FRAMEWORK for module in found if module == name or module.startswith(f"{name}.")}


def test_the_page_lists_every_file_that_needs_nemo():
    found = {file.relative_to(SOURCE).as_posix(): imported(file) for file in SOURCE.rglob("*.py")}
    needed = {name: ", ".join(sorted(parts)) for name, parts in found.items() if parts}
    listed = dict(
        re.findall(r"^\| `([\w/]+\.py)` \| ([\w., ]+) \|$", (REPOSITORY / "docs" / "nvidia.md").read_text(), re.M)
    )
    assert listed == needed and len(listed) > 5
