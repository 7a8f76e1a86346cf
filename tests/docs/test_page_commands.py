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


def blocks_of(text: str) -> list[str]:
    """Return the blocks of shell commands: those that say so or say nothing, and text that begins with a command."""
    blocks: list[str] = []
    kind, lines = None, []
    for line in text.splitlines():
        fence = re.match(r"\s*```(\w*)", line)
        if fence is None:
            lines.append(line)
        elif kind is None:
            kind, lines = fence.group(1), []
        else:
            block = "\n".join(lines)
            if kind in ("bash", "") or (kind == "text" and block.lstrip().startswith("bionemo-scale")):
                blocks.append(block)
            kind = None
    return blocks


def commands_of(page: Path) -> list[list[str]]:
    """Return the words of each of our commands in the page's blocks, without those that leave something open."""
    found = []
    for block in blocks_of(page.read_text()):
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
def test_commands_of_a_page_can_be_given(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in commands_of(page):
        name, options = split_command(words)
        if name.startswith("--"):
            assert name in ("--help", "--version", "--print-completion"), words
            continue
        assert name in COMMANDS, words
        for word in options:
            if word[:1] == "@" and len(word) > 1:
                # A list of labels, which is read with the options.
                Path(word[1:]).write_text("a\n")
        module = ".".join(filter(None, ("bionemo.scale.run", _BELOW.get(name), name)))
        import_module(module).parser().parse_args(options)


def test_there_are_commands_to_try():
    assert sum(len(commands_of(page)) for page in PAGES) > 75
    text = "```python\na\n```\n\n```bash\nb\nc\n```\n\n```text\nbionemo-scale d\n```\n```text\nerror: e\n```\n"
    assert blocks_of(text) == ["b\nc", "bionemo-scale d"]
    assert split_command(["bionemo-scale", "train", "--lr", "1"]) == ("train", ["--lr", "1"])
