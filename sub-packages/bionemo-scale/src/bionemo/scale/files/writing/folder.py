# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Folders that a command makes, and removes again if it ends early and they are empty."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path


class NewFolder:
    """A folder with the parents that it lacks, which can be undone: what was there before stays."""

    def __init__(self, path: Path):
        self.path = path
        self._made = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)

    def remove(self) -> None:
        """Delete the folder and all that is in it, if it was made here, and the parents that are empty then."""
        if self.path in self._made:
            shutil.rmtree(self.path, ignore_errors=True)
        self.remove_empty()

    def remove_empty(self) -> None:
        """Delete the folder and its parents where they were made here and are empty."""
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[NewFolder]:
    """Make a folder for the body; whatever ends it early takes away what is empty.

    Raises:
        OSError: It cannot be made.
    """
    folder = NewFolder(path)
    try:
        yield folder
    except BaseException:
        folder.remove_empty()
        raise


@contextlib.contextmanager
def temporary_folder(prefix: str | None = None) -> Iterator[Path]:
    """Make a folder for temporary files and delete it at the end. An error of the deletion is ignored."""
    # Late, for it brings more along than answering --help takes.
    import tempfile

    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
