# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A function takes at most three arguments by position; more are named where it is called.

What overrides a method of a library is called by that library, in its way: ``forward`` of torch's modules and autograd
functions, ``__torch_function__`` of its modes. Such a method is known by its base class.
"""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import bionemo.scale.types as package


ROOT = Path(package.__file__).parent
MOST = 3
MODULES = sorted(ROOT.rglob("*.py"))


def functions(node: ast.AST, owner: tuple[str, ...] = ()) -> Iterator[tuple[ast.FunctionDef, tuple[str, ...]]]:
    """Yield every function with the classes that it is a method of; a function in a function has none."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from functions(child, (*owner, child.name))
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child, owner
            yield from functions(child)
        else:
            yield from functions(child, owner)


def by_position(function: ast.FunctionDef, owner: tuple[str, ...]) -> list[str]:
    """Return the arguments that may be given by position, without self or cls."""
    names = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
    is_static = any(ast.unparse(each) == "staticmethod" for each in function.decorator_list)
    return names[1:] if owner and not is_static else names


def is_of_a_library(module: str, owner: tuple[str, ...], name: str) -> bool:
    """Whether a base class from outside the package defines a method of the name."""
    if not owner or name == "__init__":
        return False
    found = importlib.import_module(module)
    for each in owner:
        found = getattr(found, each)
    bases = (base for base in found.__mro__ if not base.__module__.startswith("bionemo.scale"))
    return any(name in vars(base) for base in bases)


def refused(text: str, module: str) -> list[str]:
    """Return the functions of a module that take more by position."""
    return [
        f"{module}.{'.'.join((*owner, function.name))}({', '.join(names)})"
        for function, owner in functions(ast.parse(text))
        if len(names := by_position(function, owner)) > MOST and not is_of_a_library(module, owner, function.name)
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_at_most_three_arguments_are_positional(path):
    module = ".".join(("bionemo.scale", *path.relative_to(ROOT).with_suffix("").parts))
    assert refused(path.read_text(encoding="utf-8"), module) == []


def test_what_counts_as_an_argument():
    text = """
def plain(a, b, /, c, *, d): ...
class Thing:
    def method(self, a, b): ...
    @staticmethod
    def static(a, b, c, d):
        def inner(a): ...
"""
    found = {function.name: len(by_position(function, owner)) for function, owner in functions(ast.parse(text))}
    assert found == {"plain": 3, "method": 2, "static": 4, "inner": 1}
