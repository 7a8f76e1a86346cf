# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A hook of the site: links between pages in notebooks, which the notebook plugin leaves as they are written."""

import re
from typing import Any


def on_page_content(html: str, *, page: Any, files: Any, **_: Any) -> str:
    """Return the page of a notebook with links to files, such as ``concepts.md#words``, as links of the site.

    Args:
        html: The page.
        page: mkdocs' page, of which only notebooks change.
        files: mkdocs' files, by their path in this folder.
        _: Other arguments of mkdocs.

    Raises:
        ValueError: A link leads to no page.
    """
    if not page.file.src_uri.endswith(".ipynb"):
        return html

    def link(found: re.Match[str]) -> str:
        target = files.get_file_from_path(found[1])
        if target is None:
            raise ValueError(f"{page.file.src_uri}: expected a page, found a link to {found[1]}")
        return f'href="{target.url_relative_to(page.file)}{found[2] or ""}"'

    return re.sub(r'href="([\w-]+\.(?:md|ipynb))(#[\w-]+)?"', link, html)
