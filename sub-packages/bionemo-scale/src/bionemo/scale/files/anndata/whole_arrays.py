# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which arrays of a zarr store at a URL must be whole: zarr itself takes a piece that is missing for zeros."""

from bionemo.scale.files.url import Url
from bionemo.scale.types import InputError


class WholeArrays:
    """Paths of arrays; they are added as readers ask for them.

    Args:
        url: The store, for messages.
    """

    def __init__(self, url: Url):
        self._url = url
        self._paths: set[str] = set()

    def add(self, path: str) -> None:
        """Let no piece of this array be missing from now on."""
        self._paths.add(path.strip("/"))

    def check_missing(self, key: str) -> None:
        """Take note that a piece is not there.

        Args:
            key: Its name in the store.

        Raises:
            InputError: It is a piece of an array that must be whole.
        """
        for path in self._paths:
            if key.startswith(f"{path}/"):
                raise InputError(f"{self._url}: {path} must be whole, found no piece {key[len(path) + 1 :]} of it")
