# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A hook of the site: what a narrow screen would make hard to read."""

import re
from typing import Any


_CODE = re.compile(r"<code>([^<]*)</code>")
_OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][\w.-]*")
_CELL = re.compile(r"<td>(.*?)</td>", re.DOTALL)
_LONG = 40
"""Characters of a cell that is a sentence, and needs a column in which several words fit in a line."""


def on_page_content(html: str, **_: Any) -> str:
    """Return a page whose options stay whole at the end of a line, and whose long cells have the class ``long``.

    A browser breaks ``--out`` after its dashes. The text that is copied stays the same.

    Args:
        html: The page.
        _: Other arguments of mkdocs.
    """
    return _CELL.sub(_cell, _CODE.sub(_code, html))


def _code(found: re.Match[str]) -> str:
    return f"<code>{_OPTION.sub(_whole, found[1])}</code>"


def _whole(found: re.Match[str]) -> str:
    return f'<span class="whole">{found[0]}</span>'


def _cell(found: re.Match[str]) -> str:
    is_long = len(re.sub(r"<[^>]*>", "", found[1])) > _LONG
    return f'<td class="long">{found[1]}</td>' if is_long else found[0]
