# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Counts of a predicted population: those of its control cells, thinned where a gene falls, added to where it rises.

The count of gene g in control cell i is taken for gamma-Poisson: ``c ~ Poisson(mu w)``, ``w ~ Gamma`` with mean 1 and
variance ``alpha`` (the gene's over-dispersion), ``mu = library size x rate``. What a perturbation changes is the rate:
the new count is to be ``Poisson(mu' w)`` with the cell's own w.

- Where ``mu' <= mu`` that is ``Binomial(c, mu' / mu)``: each counted molecule stays with that probability.
- Where ``mu' > mu`` it is ``c + Poisson((mu' - mu) w)``, with w drawn from what the count says of it,
  ``Gamma(1 / alpha + c, 1 / alpha + mu)``.

Both are exact: the new counts have mean ``mu'``, over-dispersion alpha and the zeros that go with them. A gene that
does not change keeps its counts, and genes that vary together go on doing so. The new rate of a gene is the one at
which the mean of log1p of the scaled counts is the predicted mean, for that is what was predicted.
"""

import numpy as np

from bionemo.scale.counts.counted import Counted


_ROUNDS = 3
_LARGEST_STEP = 1.0
"""Of the logarithm of a rate."""
_SILENT = 1e-4
"""A predicted mean below this, in log1p expression, is no expression."""
_SAME = 1e-6
"""Means that differ by less are the same, but for the rounding of float32."""
_ENOUGH = 1.0
"""Squared expected counts by which a gene's own over-dispersion weighs as much as that of all genes."""
_MOST_DISPERSED = 100.0


def draw_counts(
    controls: Counted, mean: np.ndarray, *, target_sum: float, seed: int, library_size: float | None = None
) -> np.ndarray:
    """Draw the counts of a population.

    Args:
        controls: The control cells that its cells began as, in their order.
        mean: [G] predicted mean log1p expression.
        target_sum: Library size that log1p expression is scaled to.
        seed: Of the draw; one seed gives the same numbers everywhere.
        library_size: Of every new cell; ``None`` gives each that of its control cell.

    Returns:
        [cells, G] float32, whole numbers of at least 0.
    """
    unit = target_sum / controls.library_size[:, None]
    measured = np.log1p(controls.counts * unit).mean(axis=0)
    sizes = controls.library_size if library_size is None else np.full(len(unit), library_size)
    moved = np.flatnonzero((abs(mean - measured) > _SAME) | (library_size is not None))
    found = controls.counts.copy()
    if len(moved):
        some = Counted(counts=found[:, moved], library_size=controls.library_size)
        found[:, moved] = _at_means(some, mean[moved], measured[moved], unit=unit, sizes=sizes, seed=seed)
    return found


def draw_again(controls: Counted, chosen: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """Draw other counts for cells of the states that some control cells are in.

    The state w of a cell is drawn from what its count c says of it, ``Gamma(1 / alpha + c, 1 / alpha + mu)``, and the
    new count is ``Poisson(mu w)``. Over all cells w has mean 1 and variance alpha again, so that means, dispersion and
    zeros are those of the controls. What genes have in common weakens, for each gene's w is drawn alone.

    Args:
        controls: Cells of one population.
        chosen: [cells] int64, which of them, any of them several times.
        rng: Of the draw.

    Returns:
        [chosen, G] whole numbers of at least 0.
    """
    own = controls.counts.sum(axis=0) / controls.library_size.sum()
    alpha = _dispersion(controls.counts, controls.library_size[:, None] * own)
    old, counts = controls.library_size[chosen, None] * own, controls.counts[chosen]
    shape = np.divide(1.0, alpha, out=np.zeros_like(alpha), where=alpha > 0)
    state = rng.standard_gamma(np.where(alpha > 0, shape + counts, 1.0)) / np.where(alpha > 0, shape + old, 1.0)
    return rng.poisson(old * np.where(alpha > 0, state, 1.0))


def _at_means(
    controls: Counted, mean: np.ndarray, measured: np.ndarray, *, unit: np.ndarray, sizes: np.ndarray, seed: int
) -> np.ndarray:
    """Find the rate of each gene, and draw counts at it for cells of other library sizes."""
    own, target_sum = controls.counts.sum(axis=0) / controls.library_size.sum(), unit[0] * controls.library_size[0]
    old = controls.library_size[:, None] * own
    alpha = _dispersion(controls.counts, old)
    rate = np.where(mean > _SILENT, np.expm1(mean) / target_sum, 0.0)
    seen = (measured > _SILENT) & (rate > 0)
    rate[seen] = own[seen] * np.expm1(mean[seen]) / np.expm1(measured[seen])
    for _ in range(_ROUNDS):
        new = controls.library_size[:, None] * rate
        counts = _drawn(controls.counts, old, new, alpha=alpha, seed=seed)
        rate *= np.exp(np.clip(_step(counts, new, unit, mean=mean), -_LARGEST_STEP, _LARGEST_STEP))
    return _drawn(controls.counts, old, sizes[:, None] * rate, alpha=alpha, seed=seed)


def _drawn(counts: np.ndarray, old: np.ndarray, new: np.ndarray, *, alpha: np.ndarray, seed: int) -> np.ndarray:
    """Return the counts at other rates, [cells, G]."""
    rng = np.random.default_rng([seed, 1])
    found = counts.astype(np.int64)
    falls = (new < old) & (counts > 0)
    share = np.divide(new, old, out=np.zeros_like(new), where=falls)
    found[falls] = rng.binomial(found[falls], share[falls])
    rises = new > old
    alpha = np.broadcast_to(alpha, new.shape)[rises]
    more, before, own = (new - old)[rises], old[rises], counts[rises]
    shape = np.divide(1.0, alpha, out=np.zeros_like(alpha), where=alpha > 0)
    drawn = rng.standard_gamma(np.where(alpha > 0, shape + own, 1.0))
    own_rate = np.divide(drawn, shape + before, out=np.ones_like(drawn), where=alpha > 0)
    found[rises] += rng.poisson(more * own_rate)
    return found


def _step(counts: np.ndarray, expected: np.ndarray, unit: np.ndarray, *, mean: np.ndarray) -> np.ndarray:
    """Return [G], Newton's step of the logarithm of each rate towards the predicted mean.

    The mean of f(count) grows with the logarithm of the rate by ``expected (f(count + 1) - f(count))``, as it does for
    Poisson counts.
    """
    value = np.log1p(counts * unit)
    slope = (expected * (np.log1p((counts + 1) * unit) - value)).mean(axis=0)
    missing = mean - value.mean(axis=0)
    return np.divide(missing, slope, out=np.zeros_like(slope), where=slope > 0)


def _dispersion(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return [G] alpha, by moments, drawn to that of all genes where a gene has few counts."""
    excess, squares = ((counts - expected) ** 2 - expected).sum(axis=0), (expected**2).sum(axis=0)
    # A sum of squares around a fitted mean is too small by one part in the number of cells.
    excess = excess + expected.sum(axis=0) / max(len(counts), 1)
    overall = max(float(excess.sum()), 0.0) / max(float(squares.sum()), float(np.finfo(float).tiny))
    return np.clip((excess + _ENOUGH * overall) / (squares + _ENOUGH), 0.0, _MOST_DISPERSED)
