# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Vectors of drugs from their SMILES: Morgan fingerprints and physico-chemical descriptors, by RDKit.

RDKit is not needed for anything else and is imported when SMILES are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bionemo.scale.data.features.kind import Kind, numbered
from bionemo.scale.data.features.named_table import read_named_table
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.types import InputError


RADIUS, BITS = 2, 1024
DESCRIPTORS = (
    "MolWt",
    "MolLogP",
    "TPSA",
    "NumHDonors",
    "NumHAcceptors",
    "NumRotatableBonds",
    "RingCount",
    "NumAromaticRings",
    "FractionCSP3",
    "HeavyAtomCount",
)
"""Of rdkit.Chem.Descriptors."""


def drugs(path: Path, *, suffix: str = "") -> tuple[Kind, Kind]:
    """Return the fingerprints and the descriptors of drugs.

    Of a salt or another mixture the largest fragment is described, without the charge that its counterion gave it.
    Stereochemistry counts where the SMILES says it.

    Args:
        path: .csv or .tsv with a header, names in the first column, and a column "smiles" in any case.
        suffix: Of the names of the kinds.

    Raises:
        InputError: RDKit is not installed, or it is no such file.
    """
    smiles = read_named_table(path, column="smiles")
    chemistry = _Chemistry()
    molecules: dict[str, Any] = {}
    notes: list[str] = []
    refused: dict[str, str] = {}
    for name, line in smiles.items():
        text = line.values["smiles"]
        read = chemistry.read(text)
        where = f"{path}: line {line.number}: {name!r}:"
        if read.molecule is None:
            refused[name] = f"{where} expected SMILES, found {text!r}"
            continue
        molecules[name] = read.molecule
        notes += [f"{where} {note}" for note in read.notes]
    notes += _same_molecules(path, {name: chemistry.canonical(molecule) for name, molecule in molecules.items()})
    facts = {"source": str(path), "sha256": hash_file(path), "rdkit": chemistry.version}
    kind = partial(Kind, names=tuple(molecules), refused=refused)
    fingerprints = kind(
        name=f"morgan{suffix}",
        values=chemistry.fingerprints(list(molecules.values())),
        columns=numbered(f"morgan{suffix}", BITS),
        facts={
            "definition": f"Morgan fingerprint with chirality, radius {RADIUS}, {BITS} bits, largest fragment",
            **facts,
        },
        notes=(f"morgan{suffix}: {len(molecules)} drugs", *notes),
    )
    descriptors = kind(
        name=f"descriptors{suffix}",
        values=chemistry.descriptors(list(molecules.values())),
        columns=tuple(f"descriptors{suffix}_{name}" for name in DESCRIPTORS),
        facts={"definition": "descriptors of RDKit of the largest fragment", **facts},
        by_column=True,
    )
    return fingerprints, descriptors


@dataclass(frozen=True, kw_only=True)
class _Read:
    molecule: Any
    """``None`` where the SMILES cannot be read."""
    notes: tuple[str, ...] = field(default=())


class _Chemistry:
    """RDKit, as far as it is needed."""

    def __init__(self) -> None:
        try:
            import rdkit
            from rdkit import Chem, RDLogger
            from rdkit.Chem import Descriptors, rdFingerprintGenerator
            from rdkit.Chem.MolStandardize import rdMolStandardize
        except ImportError as error:
            raise InputError("--smiles needs RDKit, found none; pip install 'bionemo-scale[drugs]'") from error
        # It would write its own lines about SMILES that cannot be read.
        RDLogger.DisableLog("rdApp.*")
        self.version: str = rdkit.__version__
        self._chem, self._descriptors = Chem, Descriptors
        self._uncharger = rdMolStandardize.Uncharger()
        self._morgan = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS, includeChirality=True)

    def read(self, text: str) -> _Read:
        """Read a SMILES; of several fragments the largest is kept and neutralised."""
        molecule = self._chem.MolFromSmiles(text) if text else None
        if molecule is None or not molecule.GetNumAtoms():
            return _Read(molecule=None)
        notes = []
        fragments = self._chem.GetMolFrags(molecule, asMols=True)
        if len(fragments) > 1:
            molecule = self._uncharger.uncharge(max(fragments, key=lambda each: each.GetNumHeavyAtoms()))
            notes.append(f"salt or mixture of {len(fragments)} fragments, kept {self.canonical(molecule)}")
        centres = list(self._chem.FindPotentialStereo(molecule))
        unspecified = [c for c in centres if c.specified == self._chem.StereoSpecified.Unspecified]
        if unspecified:
            notes.append(f"stereochemistry of {len(unspecified)} of {len(centres)} centres and bonds is not specified")
        return _Read(molecule=molecule, notes=tuple(notes))

    def canonical(self, molecule: Any) -> str:
        """Return the one SMILES of a molecule."""
        return str(self._chem.MolToSmiles(molecule))

    def fingerprints(self, molecules: list[Any]) -> np.ndarray:
        """Return [molecules, BITS] float64."""
        rows = [self._morgan.GetFingerprintAsNumPy(molecule) for molecule in molecules]
        return np.array(rows, dtype=np.float64).reshape(len(rows), BITS)

    def descriptors(self, molecules: list[Any]) -> np.ndarray:
        """Return [molecules, DESCRIPTORS] float64."""
        rows = [[getattr(self._descriptors, name)(molecule) for name in DESCRIPTORS] for molecule in molecules]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(DESCRIPTORS))


def _same_molecules(path: Path, canonical: Mapping[str, str]) -> list[str]:
    first: dict[str, str] = {}
    notes = []
    for name, text in canonical.items():
        if first.setdefault(text, name) != name:
            notes.append(f"{path}: {name!r}: the same molecule as {first[text]!r}; their vectors are equal")
    return notes
