# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a file of predictions says of where it comes from."""

from pathlib import Path

from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData


def file_notes(path: Path) -> dict[str, str]:
    """Return what uns["bionemo_scale"] of an h5ad says, without the data card; empty where it says nothing."""
    with CheckedAnnData(path) as file:
        own = file.facts("uns/bionemo_scale")
    return {name: str(value) for name, value in own.items() if name != "card"}
