# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import os

import numpy as np
import pytest

from bionemo.scale.infer.output.part_folder import PartFolder, parts_path, tidy
from bionemo.scale.infer.plans.parts import cut


def test_a_folder_is_kept_for_the_same_prediction_only(tmp_path):
    parts = cut(np.array([3, 3, 3]), np.arange(3), 3)
    folder = PartFolder(tmp_path / "parts", "one")
    folder.open()
    folder.write(parts[1], lambda part: np.full((3, 2), part.number))
    again = PartFolder(tmp_path / "parts", "one")
    again.open()
    assert [part.number for part in again.missing(parts)] == [0, 2]
    np.testing.assert_array_equal(again.read(parts[1]), np.full((3, 2), 1))
    other = PartFolder(tmp_path / "parts", "two")
    other.open()
    assert len(other.missing(parts)) == 3


def test_what_was_lowered_in_kept_parts_is_known(tmp_path):
    parts = cut(np.array([3, 3, 3]), np.arange(3), 3)
    folder = PartFolder(tmp_path / "parts", "one")
    folder.open()
    for part, num_values in zip(parts, (5, 0, 7), strict=True):
        folder.note_bounded(part, num_values)
    assert PartFolder(tmp_path / "parts", "one").num_bounded(parts) == 12


def test_a_part_that_fails_is_missing(tmp_path):
    (part,) = cut(np.array([3]), np.array([0]))
    folder = PartFolder(tmp_path / "parts", "one")
    folder.open()

    def fail(part):
        raise KeyError

    with pytest.raises(KeyError):
        folder.write(part, fail)
    assert folder.missing([part]) == [part]


def test_parts_are_kept_until_the_prediction_is_made_of_them(tmp_path):
    out = tmp_path / "pred.h5ad"
    out.write_text("of an earlier command")
    (part,) = cut(np.array([3]), np.array([0]))
    folder = PartFolder(parts_path(out), "one")
    folder.open()
    folder.write(part, lambda part: np.zeros((3, 2)))
    later = folder.file(part).stat().st_mtime_ns
    os.utime(out, ns=(later - 1, later - 1))
    tidy(out)
    assert folder.file(part).exists()
    os.utime(out, ns=(later + 1, later + 1))
    tidy(out)
    assert not folder.path.exists() and out.exists()
