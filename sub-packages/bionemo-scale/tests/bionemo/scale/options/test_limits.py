# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from bionemo.scale.options.limits import COUNT, LIBRARY_SIZE, NOT_NEGATIVE, SEED, Limits


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "words"),
    [
        (COUNT, (1, 10**12), (0, -1, 0.5), "at least 1"),
        (NOT_NEGATIVE, (0, 0.5), (-1e-9,), "at least 0"),
        (SEED, (0, 2**32 - 1), (-1, 2**32), "at least 0 and below 4294967296"),
        (LIBRARY_SIZE, (1, 1e6), (0, 1e-300, 1e12), "at least 1 and at most 1e+09"),
        (Limits(above=0, below=1), (0.5,), (0, 1), "above 0 and below 1"),
    ],
)
def test_ranges(limits, inside, outside, words):
    assert all(number in limits for number in inside)
    assert not any(number in limits for number in (*outside, math.inf, -math.inf, math.nan))
    assert str(limits) == words
