# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a user decides about vectors that describe perturbations."""

from dataclasses import dataclass
from pathlib import Path

from bionemo.scale.options.fields import option
from bionemo.scale.options.limits import COUNT
from bionemo.scale.options.settings import Settings
from bionemo.scale.types import InputError


_KINDS, _NAMES = "kinds of vectors, together or alone", "names"


@dataclass(frozen=True, kw_only=True)
class FeaturesSettings(Settings):
    """What to make vectors of, and for which names."""

    out: Path = option(metavar="FILE.parquet")
    """File to write, for --perturbation-features."""
    from_store: Path | None = option(None, metavar="STORE", group=_KINDS)
    """Use co-expression of genes among the control cells of this store; needs no other file."""
    gene_sets: tuple[Path, ...] = option((), metavar="FILE.gmt", group=_KINDS)
    """Use membership in these gene sets."""
    network: tuple[Path, ...] = option((), metavar="EDGES.tsv", group=_KINDS)
    """Use a weighted network of genes. Each line is an edge: name, name, weight."""
    embedding: tuple[Path, ...] = option((), metavar="FILE", group=_KINDS)
    """Use vectors from a .csv, .tsv, .parquet, .h5 or .npz file unchanged; may be repeated."""
    smiles: tuple[Path, ...] = option((), metavar="DRUGS.csv", group=_KINDS)
    """Use fingerprints and descriptors of drugs, from their names and SMILES; needs RDKit."""
    size: int = option(32, limits=COUNT, group=_KINDS)
    """Length of vectors of co-expression, gene sets and networks, each."""
    store: Path | None = option(None, metavar="STORE", group=_NAMES)
    """Store whose perturbations must have vectors (default: that of --from-store)."""
    names: tuple[str, ...] = option((), form="labels", metavar="NAME", group=_NAMES)
    """More names that must have vectors, such as genes or drugs to predict."""
    targets: Path | None = option(None, metavar="TARGETS.csv", group=_NAMES)
    """Table of the screen's labels, with a column gene (the name in the sources) and optionally a column edit."""
    leave_out: bool = option(False, group=_NAMES)
    """Leave out names without a vector instead of refusing them."""
    like: Path | None = option(None, metavar="FILE.parquet", group=_NAMES)
    """File of an earlier call. The new vectors get its scale, so that a model trained with it can use them."""
    overwrite: bool = False
    """Replace the file at --out."""

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            InputError: Naming the options.
        """
        if not self.sources and self.from_store is None:
            raise InputError(
                "expected at least one of --from-store, --gene-sets, --network, --embedding, --smiles, found none"
            )
        if self.out.suffix != ".parquet":
            raise InputError(f"--out must end with .parquet, found {self.out}")
        for path in self.sources:
            if self.sources.count(path) > 1:
                raise InputError(f"{path}: the file is given twice")

    @property
    def sources(self) -> tuple[Path, ...]:
        """Every file that vectors are made of."""
        return (*self.gene_sets, *self.network, *self.embedding, *self.smiles)

    @property
    def named_store(self) -> Path | None:
        """The store whose perturbations must have vectors."""
        return self.store or self.from_store
