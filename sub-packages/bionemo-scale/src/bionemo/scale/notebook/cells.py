# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Cells of a notebook where a function takes the path of a file.

They are written to a folder that goes away with the call, so that they meet every check that a file meets.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, cast

from bionemo.scale.files.url import PathOrUrl, path_or_url
from bionemo.scale.files.writing.folder import temporary_folder
from bionemo.scale.types import InputError


if TYPE_CHECKING:
    import anndata

PathLike = str | os.PathLike[str]
CellsLike = Union[PathLike, "anndata.AnnData"]
"""Cells: the path of a file, or an AnnData object."""


class GivenFiles:
    """The files of one call."""

    def __init__(self, folder: Path):
        self.folder = folder
        """Goes away at the end of the call."""
        self._names: dict[str, str] = {}

    def path(self, cells: CellsLike, name: str, **kept: Any) -> PathOrUrl:
        """Return the file of some cells.

        Args:
            cells: A path, which is returned as it is, or an object.
            name: Of the argument, which messages call the cells by.
            **kept: What is written of an object, as :func:`bionemo.scale.files.anndata.plain_anndata.plain_anndata`
                takes it: matrix, columns, gene_key.
        """
        if not is_anndata(cells):
            return path_or_url(cast(PathLike, cells))
        from bionemo.scale.files.anndata.plain_anndata import plain_anndata

        path = self.folder / f"{name}.h5ad"
        plain_anndata(cast("anndata.AnnData", cells), **kept).write_h5ad(path)
        self._names[str(path)] = name
        return path

    def inputs(self, cells: CellsLike | Sequence[CellsLike], options: Mapping[str, Any]) -> list[PathOrUrl]:
        """Return the files of cells that are to be prepared.

        Args:
            cells: A path or an object, or several.
            options: Fields of the preparation, of which ``matrix`` and ``gene_key`` say what of an object is written.
        """
        kept = {"matrix": options.get("matrix") or "X", "gene_key": options.get("gene_key")}
        return [
            self.path(each, f"adata-{row}" if row else "adata", **kept) for row, each in enumerate(each_cells(cells))
        ]

    def named(self, text: str) -> str:
        """Return a text with the names of arguments where it has those of files."""
        for path, name in self._names.items():
            text = text.replace(path, name)
        return text

    @property
    def is_empty(self) -> bool:
        """Whether every path was given."""
        return not self._names


@contextmanager
def given_files() -> Iterator[GivenFiles]:
    """Give the files of one call; they are removed at its end.

    Raises:
        InputError: What was refused, with the names of arguments in the place of these files.
    """
    with temporary_folder("bionemo-scale-") as folder:
        files = GivenFiles(folder)
        try:
            yield files
        except InputError as error:
            raise InputError(files.named(str(error))) from error


def is_anndata(value: object) -> bool:
    """Return whether a value is an AnnData object; nothing is imported to find out."""
    module = sys.modules.get("anndata")
    return module is not None and isinstance(value, module.AnnData)


def is_cells(value: object) -> bool:
    """Return whether a value is an AnnData object, or a list of cells, and no path."""
    return is_anndata(value) or isinstance(value, list | tuple)


def each_cells(value: CellsLike | Sequence[CellsLike]) -> list[CellsLike]:
    """Return a list of cells that may be given once or several times."""
    is_one = isinstance(value, str | os.PathLike) or is_anndata(value)
    return [cast(CellsLike, value)] if is_one else list(cast(Sequence[CellsLike], value))


def forget_unfinished(store: Path) -> None:
    """Remove what an interrupted conversion of cells has left: no later call has the same files."""
    shutil.rmtree(store.with_name(f".{store.name}.partial"), ignore_errors=True)
