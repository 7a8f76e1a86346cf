# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np

from bionemo.scale.eval.cells.halves import half_means, split_halves


def test_halves_are_disjoint_and_complete():
    labels = np.array(["a"] * 7 + ["b"] * 4 + ["c"] * 3, dtype=object)
    halves = split_halves(labels, np.random.default_rng(0))
    assert halves.names == ("a", "b"), "three cells are too few"
    assert sorted([*halves.first, *halves.second]) == list(range(11))
    assert sorted(labels[halves.first]) == ["a"] * 4 + ["b"] * 2
    again = split_halves(labels, np.random.default_rng(0))
    np.testing.assert_array_equal(halves.first, again.first)
    assert (halves.first != split_halves(labels, np.random.default_rng(1)).first).any()


def test_nothing_to_cut():
    halves = split_halves(np.array(["a"], dtype=object), np.random.default_rng(0))
    assert (halves.names, halves.first.size, halves.second.size) == ((), 0, 0)


def test_means_of_two_halves_of_every_batch():
    cells = np.arange(14, dtype=np.float32).reshape(7, 2)
    batch = np.array(["a", "b", "a", "b", "a", "a", "c"])
    means = half_means(cells, batch, np.random.default_rng(0))
    np.testing.assert_allclose((4 * means[0] + 3 * means[1]) / 7, cells.mean(axis=0))
    assert not np.array_equal(means, half_means(cells, batch, np.random.default_rng(3)))
    alone = half_means(cells[:2], batch[:1].repeat(2), np.random.default_rng(0))
    assert sorted(alone[:, 0].tolist()) == [0, 2]
    assert np.isnan(half_means(cells[:1], batch[:1], np.random.default_rng(0))).all()
