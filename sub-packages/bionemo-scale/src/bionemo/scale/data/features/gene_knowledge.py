# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Vectors of genes from what others know of them: sets that they are members of, networks that they are nodes of."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import eigsh, svds

from bionemo.scale.data.features.kind import Kind, numbered, with_fixed_signs
from bionemo.scale.files.gene_sets import read_gene_sets
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.files.text import read_text
from bionemo.scale.types import InputError


def gene_sets(path: Path, size: int, *, name: str = "gene_sets") -> Kind:
    """Return the membership of genes in sets, reduced.

    With M[gene, set] = 1 / sqrt(genes of the set) where the gene is a member and 0 elsewhere, ``M = U S V^T``; the
    vector of a gene is its row of ``U S`` (the largest singular values). Two genes are alike where they share small
    sets.

    Args:
        path: .gmt file: a line is the name of a set, a description and its genes, with tabs between them.
        size: Most numbers of a vector.
        name: Of the kind.

    Raises:
        InputError: It is no such file.
    """
    sets = read_gene_sets(path)
    genes = tuple(dict.fromkeys(gene for members in sets.values() for gene in members))
    row = {gene: number for number, gene in enumerate(genes)}
    rows = [row[gene] for members in sets.values() for gene in members]
    columns = np.repeat(np.arange(len(sets)), [len(members) for members in sets.values()])
    weights = np.concatenate([np.full(len(members), len(members) ** -0.5) for members in sets.values()])
    membership = sparse.csr_matrix((weights, (rows, columns)), shape=(len(genes), len(sets)))
    values = _reduced(membership, size)
    facts = {
        "definition": "membership in gene sets over the root of their size, reduced by singular value decomposition",
        "source": str(path),
        "sha256": hash_file(path),
        "sets": len(sets),
    }
    return _kind(name, genes, values, facts=facts, note=f"{len(sets)} sets of {len(genes)} genes")


def network(path: Path, size: int, *, name: str = "network") -> Kind:
    """Return a spectral embedding of a weighted network.

    With A the symmetric matrix of weights, d the degrees and t their mean, ``B = (D + t)^-1/2 A (D + t)^-1/2`` (t
    keeps nodes of few edges from standing apart); the vector of a node is its row of ``U L^1/2`` of the largest
    eigenvalues L above 0. The product of two nodes' vectors is close to how strongly they are connected.

    Args:
        path: .tsv or .txt file: two names and a weight above 0 on each line, with tabs, or else blanks, between them;
            lines that begin with "#" are left out, and a first line whose weight is no number is a header. An edge
            that is there twice, in either direction, has its larger weight.
        size: Most numbers of a vector.
        name: Of the kind.

    Raises:
        InputError: It is no such file.
    """
    edges = _read_edges(path)
    nodes = tuple(dict.fromkeys(node for pair in edges for node in pair))
    row = {node: number for number, node in enumerate(nodes)}
    first, second = (np.array([row[pair[side]] for pair in edges]) for side in (0, 1))
    weights = np.array(list(edges.values()))
    ends = (np.concatenate([first, second]), np.concatenate([second, first]))
    adjacency = sparse.csr_matrix((np.tile(weights, 2), ends), shape=(len(nodes), len(nodes)))
    degrees = np.asarray(adjacency.sum(axis=1)).ravel()
    root = sparse.diags((degrees + degrees.mean()) ** -0.5)
    values = _spectral(root @ adjacency @ root, size)
    facts = {
        "definition": "spectral embedding of the weights over the root of both degrees plus the mean degree",
        "source": str(path),
        "sha256": hash_file(path),
        "edges": len(edges),
    }
    return _kind(name, nodes, values, facts=facts, note=f"{len(edges)} edges between {len(nodes)} names")


def _kind(name: str, names: tuple[str, ...], values: np.ndarray, *, facts: dict[str, Any], note: str) -> Kind:
    columns = numbered(name, values.shape[1])
    notes = (f"{name}: {note}",)
    return Kind(name=name, names=names, values=values, columns=columns, facts=facts, is_reduced=True, notes=notes)


def _read_edges(path: Path) -> dict[tuple[str, str], float]:
    edges: dict[tuple[str, str], float] = {}
    first = True
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in (line.split("\t") if "\t" in line else line.split())]
        is_first, first = first, False
        weight = _weight(fields)
        if weight is None and is_first and len(fields) == 3:
            continue
        if weight is None:
            raise InputError(
                f"{path}: line {number}: expected two names and a weight above 0, found {line.strip()[:60]!r}"
            )
        if fields[0] == fields[1]:
            continue
        pair = (min(fields[:2]), max(fields[:2]))
        edges[pair] = max(weight, edges.get(pair, 0.0))
    if not edges:
        raise InputError(f"{path}: expected edges between names, found none")
    return edges


def _weight(fields: list[str]) -> float | None:
    """Return the weight of an edge, ``None`` where the fields are none."""
    if len(fields) != 3 or not all(fields):
        return None
    try:
        weight = float(fields[2])
    except ValueError:
        return None
    return weight if 0 < weight < float("inf") else None


def _reduced(matrix: sparse.csr_matrix, size: int) -> np.ndarray:
    count = min(matrix.shape)
    if count <= size + 1:
        left, values, _ = np.linalg.svd(matrix.toarray(), full_matrices=False)
    else:
        left, values, _ = svds(matrix, k=size, v0=np.ones(count), solver="arpack")
    order = np.argsort(-values)[:size]
    order = order[values[order] > 1e-9 * values.max()]
    return with_fixed_signs(left[:, order] * values[order])


def _spectral(matrix: sparse.csr_matrix, size: int) -> np.ndarray:
    count = matrix.shape[0]
    if count <= size + 1:
        values, vectors = np.linalg.eigh(matrix.toarray())
    else:
        values, vectors = eigsh(matrix, k=size, which="LA", v0=np.ones(count))
    order = np.argsort(-values)[:size]
    order = order[values[order] > 1e-9]
    return with_fixed_signs(vectors[:, order] * np.sqrt(values[order]))
