# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Vectors of genes from a store alone: loadings of their co-expression among control cells.

Of the store's control cells, which are training data in every split, at most :data:`MAX_CELLS` are drawn. The log1p
expression of a gene is centred within each group (data set, cell type, batch), so that differences between cell types
and batches do not count, and divided by its standard deviation within groups. With X the [cells, genes] matrix that
results, ``X / sqrt(cells - groups) = U S V^T``, and the vector of a gene is its row of ``V S`` (the largest F singular
values): the product of two genes' vectors is close to the correlation of their expression. Perturbed cells are never
read.
"""

from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, svds

from bionemo.scale.data.features.kind import Kind, numbered, with_fixed_signs
from bionemo.scale.data.store.reader import Store
from bionemo.scale.types import InputError


MAX_CELLS = 20_000
"""Control cells that co-expression is measured in; of more, this many are drawn."""
MIN_CELLS = 10
"""Cells that must show a gene; one that fewer show has no vector."""


def coexpression(path: Path, size: int) -> Kind:
    """Return the loadings of a store's genes.

    Args:
        path: Store.
        size: F.

    Raises:
        InputError: There are too few control cells.
    """
    with Store.open(path) as store:
        rows, owner = _drawn_controls(store)
        if len(rows) < MIN_CELLS:
            raise InputError(f"{path}: expected at least {MIN_CELLS} control cells, found {len(rows)}")
        cells, genes, identity = store.read(rows).astype(np.float64), store.card.genes, store.identity
    kept, loadings = loadings_of(cells, owner, size)
    facts = {
        "definition": "loadings of the genes' correlation among control cells, within data set, cell type and batch",
        "source": str(path),
        "sha256": identity,
        "cells": len(rows),
        "groups": int(owner.max()) + 1,
        "genes_without_vector": len(genes) - len(kept),
    }
    return Kind(
        name="coexpression",
        names=tuple(genes[column] for column in kept.tolist()),
        values=loadings,
        columns=numbered("coexpression", loadings.shape[1]),
        facts=facts,
        is_reduced=True,
        notes=(f"coexpression: {len(rows)} control cells, {len(kept)} of {len(genes)} genes",),
    )


def loadings_of(cells: sparse.csr_matrix, owner: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the genes that have a vector, and their vectors.

    Args:
        cells: [cells, G] float64, log1p expression.
        owner: [cells] int64, number of each cell's group.
        size: Most numbers of a vector.

    Returns:
        [kept] int64 columns, and [kept, F] float64.
    """
    counts = np.bincount(owner)
    member = sparse.csr_matrix((np.ones(len(owner)), (owner, np.arange(len(owner)))))
    means = (member @ cells).toarray() / counts[:, None]
    freedom = max(len(owner) - len(counts), 1)
    squares = np.asarray(cells.power(2).sum(axis=0)).ravel() - (counts[:, None] * means**2).sum(axis=0)
    sd = np.sqrt(np.maximum(squares, 0.0) / freedom)
    kept = np.flatnonzero((np.asarray((cells > 0).sum(axis=0)).ravel() >= MIN_CELLS) & (sd > 1e-9))
    if len(kept) < 2:
        raise InputError(f"expected two genes that at least {MIN_CELLS} control cells show, found {len(kept)}")
    scaled = (cells[:, kept] @ sparse.diags(1 / sd[kept])).tocsr()
    centres = means[:, kept] / sd[kept]
    operator = LinearOperator(
        scaled.shape,
        matvec=lambda vector: scaled @ vector - (centres @ vector)[owner],
        rmatvec=lambda vector: scaled.T @ vector - centres.T @ (member @ vector),
        dtype=np.float64,
    )
    count = min(size, min(scaled.shape) - 1)
    _, values, vectors = svds(operator, k=count, v0=np.ones(min(scaled.shape)), solver="arpack")
    order = np.argsort(-values)
    order = order[values[order] > 1e-6 * values.max()]
    return kept, with_fixed_signs(vectors[order].T * values[order] / np.sqrt(freedom))


def _drawn_controls(store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Return the store rows of training's control cells, ascending, and the number of each one's group."""
    groups = store.groups.training_controls()
    if not groups.size:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    rows = np.concatenate([store.groups.rows(index) for index in groups.tolist()])
    owner = np.repeat(np.arange(len(groups)), store.groups.num_cells[groups])
    if len(rows) > MAX_CELLS:
        chosen = np.sort(np.random.default_rng(0).choice(len(rows), MAX_CELLS, replace=False))
        rows, owner = rows[chosen], owner[chosen]
    order = np.argsort(rows, kind="stable")
    return rows[order], np.unique(owner[order], return_inverse=True)[1]
