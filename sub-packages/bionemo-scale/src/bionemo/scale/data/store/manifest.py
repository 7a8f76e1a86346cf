# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The store's manifest: everything about a store but the cells themselves."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bionemo.scale.data.store.format import CHUNK_ROWS, MANIFEST_NAME, SCHEMA_VERSION, VALUE_DTYPES
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.files.text import read_json
from bionemo.scale.files.url import PathOrUrl, is_url
from bionemo.scale.types import DataCard, InputError, from_plain


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file of the store, with what tells whether it is whole."""

    name: str
    num_bytes: int
    sha256: str
    num_cells: int
    num_blocks: int = 0


@dataclass(frozen=True, kw_only=True)
class InputEntry:
    """An AnnData the store was made from."""

    name: str
    dataset: str
    num_bytes: int
    sha256: str
    num_cells: int
    num_genes: int
    num_missing_genes: int = 0
    """Genes of the store that the input does not have."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Contents of ``manifest.json``."""

    card: DataCard
    groups: GroupTable
    shards: tuple[FileEntry, ...]
    """Perturbed and control shard of input 0, then of input 1, ..."""
    obs: tuple[FileEntry, ...]
    """Names and labels of the cells of input 0, then of input 1, ..."""
    value_dtype: str
    """Widest dtype of the stored values: ``uint8``, ``uint16``, ``uint32`` or ``float32``."""
    split: dict[str, Any] | None
    """Counts and hash of the resolved split; ``None`` when every cell is training data."""
    inputs: tuple[InputEntry, ...]
    versions: dict[str, str]

    @property
    def num_cells(self) -> int:
        """Cells in the store."""
        return int(self.groups.num_cells.sum())

    @property
    def is_split_by_batch(self) -> bool:
        """Whether batches of one condition may be in different splits."""
        return bool(self.split and self.split.get("by_batch"))

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Every file of the store but the manifest and the split."""
        return (*self.shards, *self.obs)

    def to_json(self) -> str:
        """Return the manifest as JSON text."""
        fields = {
            "schema_version": SCHEMA_VERSION,
            "num_cells": self.num_cells,
            "chunk_rows": CHUNK_ROWS,
            "value_dtype": self.value_dtype,
            "card": self.card.to_dict(),
            "datasets": self.groups.datasets,
            "groups": self.groups.to_columns(),
            "shards": [asdict(entry) for entry in self.shards],
            "obs": [asdict(entry) for entry in self.obs],
            "split": self.split,
            "inputs": [asdict(entry) for entry in self.inputs],
            "versions": self.versions,
        }
        rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items())
        return "{\n" + rows + "\n}\n"


def is_store(path: PathOrUrl) -> bool:
    """Return whether this is a store. None is read from a URL, so that no server is asked for one."""
    return not is_url(path) and (path / MANIFEST_NAME).is_file()


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``manifest.json`` of a store.

    Args:
        folder: The store.

    Raises:
        InputError: There is none, it is no JSON, it lacks a field, or it has another schema version.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise InputError(f"{folder}: not a store, expected a file {MANIFEST_NAME} in it (bionemo-scale-prepare)")
    fields = read_json(path)
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: expected schema_version {SCHEMA_VERSION}, found {version!r}; prepare the store again with this "
            "version of bionemo-scale"
        )
    try:
        return _from_fields(fields)
    except KeyError as error:
        raise InputError(f"{path}: damaged manifest, expected {error} in it") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: damaged manifest, {error}") from error


def _from_fields(fields: dict[str, Any]) -> Manifest:
    card = DataCard.from_dict(fields["card"])
    groups = GroupTable.from_columns(
        fields["groups"],
        datasets=from_plain(tuple[str, ...], fields["datasets"], "datasets"),
        cell_types=card.cell_types,
        perturbations=card.perturbations,
        batches=card.batches,
        control=card.control,
        covariates=card.covariates,
    )
    manifest = Manifest(
        card=card,
        groups=groups,
        shards=from_plain(tuple[FileEntry, ...], fields["shards"], "shards"),
        obs=from_plain(tuple[FileEntry, ...], fields["obs"], "obs"),
        value_dtype=fields["value_dtype"],
        split=from_plain(dict[str, Any] | None, fields["split"], "split"),
        inputs=from_plain(tuple[InputEntry, ...], fields["inputs"], "inputs"),
        versions=from_plain(dict[str, str], fields["versions"], "versions"),
    )
    _check(manifest, fields)
    return manifest


def _check(manifest: Manifest, fields: dict[str, Any]) -> None:
    """Raise ValueError where the parts do not go together: rows are found by them, and files opened."""
    if fields["chunk_rows"] != CHUNK_ROWS or fields["num_cells"] != manifest.num_cells:
        raise ValueError(
            f"expected {manifest.num_cells} cells in blocks of {CHUNK_ROWS}, found {fields['num_cells']!r} in blocks "
            f"of {fields['chunk_rows']!r}"
        )
    if manifest.value_dtype not in VALUE_DTYPES:
        raise ValueError(f"value_dtype must be one of {', '.join(VALUE_DTYPES)}, found {manifest.value_dtype!r}")
    names = [entry.name for entry in manifest.files]
    for name in names:
        if Path(name).name != name or names.count(name) > 1:
            raise ValueError(f"expected the name of one file of the store, found {name!r}")
    num_inputs = len(manifest.inputs)
    if not len(manifest.shards) == 2 * num_inputs == 2 * len(manifest.obs):
        raise ValueError(f"expected three files an input, found {len(names)} for {num_inputs}")
    of_files = sum(entry.num_cells for entry in manifest.obs)
    if of_files != manifest.num_cells or max(manifest.groups.shard, default=-1) >= num_inputs:
        raise ValueError(f"expected the {manifest.num_cells} cells of the groups in the files, found {of_files}")
