# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What the first pass learned, as a folder: files of one store can be scanned and written on many machines."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bionemo.scale.data.prepare.conversion.convert import InputFile
from bionemo.scale.data.prepare.conversion.hvg import GeneMoments
from bionemo.scale.data.prepare.conversion.scan import ScanJournal
from bionemo.scale.files.text import read_json
from bionemo.scale.files.writing.atomic import atomic, write_text
from bionemo.scale.types import InputError


SCANS_NAME = "scans.json"
_LATER = {"hvg_factor": 1.0}
"""Options that scans of earlier releases do not name, and what they had."""


@dataclass(frozen=True, kw_only=True)
class ScannedInput:
    """An input file after the first pass."""

    name: str
    dataset: str
    num_cells: int
    kind: str
    """``counts`` or ``log1p``."""
    genes: np.ndarray
    """[genes] strings."""
    moments: GeneMoments
    path: Path
    """Journal of the pass, without ending."""


def write_scans(folder: Path, scans: Sequence[ScannedInput], options: Mapping[str, Any]) -> None:
    """Put the scans of some files into a folder.

    Args:
        folder: Where to.
        scans: What was learned.
        options: What must be the same wherever the scans are used, for JSON.
    """
    rows = []
    for number, scan in enumerate(scans):
        for ending in (".cells", ".npz"):
            shutil.copyfile(scan.path.with_suffix(ending), folder / f"scan-{number:05d}{ending}")
        np.save(folder / f"genes-{number:05d}.npy", scan.genes.astype(str))
        rows.append({"name": scan.name, "dataset": scan.dataset, "num_cells": scan.num_cells})
    fields = {"options": dict(options), "inputs": rows}
    write_text(folder / SCANS_NAME, json.dumps(fields, indent=1, default=str) + "\n")


def read_scans(folders: Sequence[Path], options: Mapping[str, Any]) -> tuple[ScannedInput, ...]:
    """Read the scans of some folders, in their order.

    Raises:
        InputError: A folder holds no scans, or scans with other options.
    """
    wanted = json.loads(json.dumps(dict(options), default=str))
    scans = []
    for folder in folders:
        path = folder / SCANS_NAME
        # Of a name that is too long too, which pathlib would raise.
        if not os.path.isfile(path):
            raise InputError(f"{folder}: expected the folder that --scan-only made, found no {SCANS_NAME} in it")
        fields = read_json(path)
        different = sorted(name for name in wanted if fields["options"].get(name, _LATER.get(name)) != wanted[name])
        if different:
            raise InputError(
                f"{folder}: expected a scan with the options given now, found other {', '.join(different)}"
            )
        for number, row in enumerate(fields["inputs"]):
            genes = np.load(folder / f"genes-{number:05d}.npy", allow_pickle=False)
            scan_path = folder / f"scan-{number:05d}"
            journal = ScanJournal(scan_path, row["num_cells"], len(genes))
            if journal.next_cell < row["num_cells"]:
                raise InputError(f"{folder}: the scan of {row['name']} is cut off after {journal.next_cell} cells")
            scans.append(
                ScannedInput(**row, kind=journal.kind or "", genes=genes, moments=journal.moments, path=scan_path)
            )
    return tuple(scans)


def copy_scans(scans: Sequence[ScannedInput], files: Sequence[InputFile], num_cells: Sequence[int]) -> None:
    """Give every file its scan, so that it is not scanned again.

    Args:
        scans: All scans; none does nothing.
        files: The files that are here.
        num_cells: Cells of each.

    Raises:
        InputError: A file is in no scan.
    """
    if not scans:
        return
    known = {(scan.name, scan.dataset, scan.num_cells): scan for scan in scans}
    for file, cells in zip(files, num_cells, strict=True):
        scan = known.get((file.path.name, file.dataset, cells))
        if scan is None:
            names = ", ".join(f"{scan.name} ({scan.dataset}, {scan.num_cells} cells)" for scan in scans)
            raise InputError(
                f"{file.path}: expected it, as {file.dataset} with {cells} cells, among the scans, found {names}"
            )
        if file.scan_path.with_suffix(".npz").exists():
            continue
        # The state comes last and whole: it says that the cells are there.
        for ending in (".cells", ".npz"):
            with atomic(file.scan_path.with_suffix(ending)) as temporary:
                shutil.copyfile(scan.path.with_suffix(ending), temporary)
