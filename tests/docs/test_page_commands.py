# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Every command in a block of a page is one that its parser takes, with the options and values as written."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from bionemo.scale.run.main import _BELOW, COMMANDS


REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
NO_COMMAND_LINES = ("log.md", "commands.md", "settings.md")
"""What the first holds was measured with the options of its day; scripts make the others."""

OPEN = {"$", "["}


def commands_of(page: Path) -> list[list[str]]:
    """Return the words of each of our commands in the page's blocks, without those that leave something open."""
    found = []
    for block in re.findall(r"```(?:bash|)\n(.*?)```", page.read_text(), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True) if line.lstrip().startswith("bionemo-scale") else []
            if words and not OPEN & set("".join(words)) and "..." not in words:
                found.append(words)
    return found


def split_command(words: list[str]) -> tuple[str, list[str]]:
    """Return the name of a command and its options, of ``bionemo-scale-NAME`` and of ``bionemo-scale NAME``."""
    first, *rest = words
    return (rest[0], rest[1:]) if first == "bionemo-scale" else (first.removeprefix("bionemo-scale-"), rest)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in NO_COMMAND_LINES], ids=lambda p: p.name)
def test_commands_of_a_page_can_be_given(page):
    for words in commands_of(page):
        name, options = split_command(words)
        if name.startswith("--"):
            assert name in ("--help", "--version", "--print-completion"), words
            continue
        assert name in COMMANDS, words
        module = ".".join(filter(None, ("bionemo.scale.run", _BELOW.get(name), name)))
        import_module(module).parser().parse_args(options)


def test_there_are_commands_to_try():
    assert sum(len(commands_of(page)) for page in PAGES) > 50
    assert split_command(["bionemo-scale", "train", "--lr", "1"]) == ("train", ["--lr", "1"])
