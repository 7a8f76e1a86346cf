# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What is refused before a model is loaded; tests/end_to_end/test_api.py predicts."""

import pytest

from bionemo.scale.notebook.predictor import Predictor
from bionemo.scale.types import InputError


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"network_weight": 2.0}, "network_weight must be at least 0 and at most 1, found 2.0"),
        ({"num_steps": 0}, "num_steps must be at least 1, found 0"),
        ({"samples": 0}, "samples must be at least 1, found 0"),
    ],
)
def test_a_refusal_names_the_argument(options, found, tmp_path):
    with pytest.raises(InputError) as refused:
        Predictor.from_pretrained(tmp_path / "run", **options)
    assert found in str(refused.value)


def test_cells_of_a_set_are_counted(screen):
    with pytest.raises(InputError, match="^set_size must be at least 1, found 0"):
        Predictor(None).predict(screen, set_size=0)
