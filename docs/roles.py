# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Roles of docstrings (``:class:`~package.Name```) as links of the site; an extension of mkdocstrings' parser."""

import re
from typing import Any

import griffe


ROLE = re.compile(r":(?:class|func|meth|attr|mod|data|exc):`(~?)([\w.]+)`")


class Roles(griffe.Extension):
    """Replaces roles in every docstring of a package when it has been read."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Go through the package."""
        _replace(pkg)


def linked(text: str, parent: griffe.Object | None = None) -> str:
    """Return a docstring with its roles as links, which stay plain names where no page has the object.

    Args:
        text: The docstring.
        parent: Where names without a module are looked up.
    """
    return ROLE.sub(lambda found: _link(found[2], parent), text)


def _link(name: str, parent: griffe.Object | None) -> str:
    shown = ".".join(name.split(".")[-2:] if name.split(".")[-2:][0][:1].isupper() else name.split(".")[-1:])
    return f'<autoref optional identifier="{_full(name, parent)}"><code>{shown}</code></autoref>'


def _full(name: str, parent: griffe.Object | None) -> str:
    first, _, rest = name.partition(".")
    if parent is None or first == "bionemo":
        return name
    try:
        found = parent.resolve(first)
    except griffe.NameResolutionError:
        return name
    return f"{found}.{rest}" if rest else found


def _replace(found: griffe.Object) -> None:
    if found.docstring is not None:
        found.docstring.value = linked(found.docstring.value, found)
    for member in found.members.values():
        if isinstance(member, griffe.Object):
            _replace(member)
