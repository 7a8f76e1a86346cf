# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/commands.md: the help of every command, as lists that a phone shows too."""

import argparse
import contextlib
import io
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType


REPOSITORY = Path(__file__).resolve().parents[1]
OPENING = """# Commands

Every option of every command, as in `--help`. [Which command](which-command.md) begins with what you want to do.

The exit code is 0 when a command is done, 1 when it failed, 2 when it refused its input (one line says why), and 75
when a training was stopped and saved. Every command has `--help` and `--version`."""


def main() -> None:
    """Write the page beside this file, or where the first argument says."""
    project = tomllib.loads((REPOSITORY / "sub-packages/bionemo-scale/pyproject.toml").read_text())["project"]
    parts = [OPENING]
    for name, target in project["scripts"].items():
        module = import_module(target.partition(":")[0])
        parts.append(f"## {name}")
        # The command of all commands lists them, and has no options of its own.
        parts += _parts(module.parser()) if hasattr(module, "parser") else [_text(_printed(module))]
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("commands.md")
    out.write_text("\n\n".join(parts) + "\n")


def _printed(module: ModuleType) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        module.main(["--help"])
    return shown.getvalue().strip()


def _parts(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield _prose(parser.description or "")
    yield _text(parser.format_usage().strip())
    for group in parser._action_groups:
        items = [_item(parser, action) for action in group._group_actions if action.dest not in ("help", "version")]
        if items:
            yield f"**{(group.title or '').capitalize()}**"
            yield "\n".join(items)
    if parser.epilog:
        yield _prose(parser.epilog)


def _item(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    formatter = parser._get_formatter()
    return f"- `{formatter._format_action_invocation(action)}`: {_prose(formatter._expand_help(action))}"


def _prose(text: str) -> str:
    """Return plain text as Markdown, with options as code."""
    text = re.sub(r"([*_`\[\]])", r"\\\1", text).replace("<", "&lt;")
    return re.sub(r"(?<![\w-])--[a-z][\w.-]*\w", r"`\g<0>`", text)


def _text(text: str) -> str:
    return f"```text\n{text}\n```"


if __name__ == "__main__":
    main()
