# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the notebooks of the site and keeps what they show (make notebooks)."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient


DOCS = Path(__file__).resolve().parent
REPOSITORY = DOCS.parent
SECONDS = 1800


def main() -> None:
    """Execute every notebook in this folder, in place; paths in its outputs become relative to the repository."""
    for path in sorted(DOCS.glob("*.ipynb")):
        book = nbformat.read(path, as_version=4)
        NotebookClient(book, timeout=SECONDS, resources={"metadata": {"path": str(DOCS)}}).execute()
        for cell in book.cells:
            cell.metadata.pop("execution", None)
            # Progress is for who waits.
            cell["outputs"] = [each for each in cell.get("outputs", []) if each.get("name") != "stderr"]
            if cell.cell_type != "code":
                del cell["outputs"]
        path.write_text(nbformat.writes(book).replace(f"{REPOSITORY}/", "") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
