# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A zarr store at a URL, for zarr 2."""

from collections.abc import Mapping, Sequence
from typing import Any

import zarr

from bionemo.scale.files.anndata.whole_arrays import WholeArrays
from bionemo.scale.files.url import Url


_ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class RemoteStore(zarr.storage.FSStore):
    """A store that is read only. A piece counts as missing if the server says so; any other answer is an error.

    Args:
        url: Its root.
    """

    def __init__(self, url: Url):
        # zarr's own choice takes a server that fails for one without the piece.
        super().__init__(url.location(), mode="r", fs=url.files, exceptions=(KeyError,))
        self.whole = WholeArrays(url)
        self._url, self._root = url, url.location()

    def _normalize_key(self, key: str) -> str:
        return self._url.quoted(super()._normalize_key(key))

    def getitems(self, keys: Sequence[str], *, contexts: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return pieces by name, without those that are missing and may be."""
        found = {}
        contents = self.fs.cat_ranges([self._place(key) for key in keys], None, None)
        for key, content in zip(keys, contents, strict=True):
            if isinstance(content, _ABSENT):
                self.whole.check_missing(key)
            elif isinstance(content, BaseException):
                raise content
            else:
                found[key] = content
        return found

    def __getitem__(self, key: str) -> Any:
        try:
            return self.fs.cat_file(self._place(key))
        except _ABSENT:
            self.whole.check_missing(key)
            raise KeyError(key) from None

    def _place(self, key: str) -> str:
        # zarr's own store calls `cat` of fsspec, which takes a name with brackets for a pattern.
        return f"{self._root}/{self._normalize_key(key)}"


def open_store(url: Url) -> zarr.Group:
    """Open a store that describes all its arrays in one file, or that can be listed."""
    store = RemoteStore(url)
    return zarr.open_consolidated(store, mode="r") if url.metadata(".zmetadata") else zarr.open_group(store, mode="r")
