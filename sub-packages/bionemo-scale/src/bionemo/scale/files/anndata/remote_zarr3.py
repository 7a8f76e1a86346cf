# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A zarr store at a URL, for zarr 3."""

from typing import Any

import zarr

from bionemo.scale.files.anndata.whole_arrays import WholeArrays
from bionemo.scale.files.url import ZARR_METADATA, Url


_OF_ROOT = (*ZARR_METADATA, ".zattrs")


class RemoteStore(zarr.storage.FsspecStore):
    """A store that is read only. A piece counts as missing if the server says so; any other answer is an error."""

    url: Url
    whole: WholeArrays

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return a piece; ``None`` for one that is missing and may be."""
        if key in _OF_ROOT and self.url.metadata(key) is None:
            return None
        found = await super().get(self.url.quoted(key), prototype, byte_range)
        if found is None:
            self.whole.check_missing(key)
        return found


def open_store(url: Url) -> zarr.Group:
    """Open a store that describes all its arrays in one file, or that can be listed."""
    store = RemoteStore.from_url(
        str(url), storage_options=url.options, read_only=True, allowed_exceptions=(FileNotFoundError,)
    )
    store.url, store.whole = url, WholeArrays(url)
    return zarr.open_group(store, mode="r")
