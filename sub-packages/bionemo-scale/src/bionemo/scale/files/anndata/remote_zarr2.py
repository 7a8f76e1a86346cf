# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A zarr store at a URL, for zarr 2."""

from collections.abc import Mapping, Sequence
from typing import Any

import zarr

from bionemo.scale.files.anndata.whole_arrays import WholeArrays
from bionemo.scale.files.url import Url


class RemoteStore(zarr.storage.FSStore):
    """A store that is read only. A piece counts as missing if the server says so; any other answer is an error.

    Args:
        url: Its root.
    """

    def __init__(self, url: Url):
        # zarr's own choice takes a server that fails for one without the piece.
        super().__init__(url.location(), mode="r", fs=url.files, exceptions=(KeyError,))
        self.whole = WholeArrays(url)
        self._url = url

    def _normalize_key(self, key: str) -> str:
        return self._url.quoted(super()._normalize_key(key))

    def getitems(self, keys: Sequence[str], *, contexts: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return pieces by name, without those that are missing and may be."""
        found = super().getitems(keys, contexts=contexts)
        for key in keys:
            if key not in found:
                self.whole.check_missing(key)
        return found

    def __getitem__(self, key: str) -> Any:
        try:
            return super().__getitem__(key)
        except KeyError:
            self.whole.check_missing(key)
            raise


def open_store(url: Url) -> zarr.Group:
    """Open a store that describes all its arrays in one file, or that can be listed."""
    store = RemoteStore(url)
    return zarr.open_consolidated(store, mode="r") if url.metadata(".zmetadata") else zarr.open_group(store, mode="r")
