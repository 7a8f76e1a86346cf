# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The data card of a model that was trained on the screen of ``screen``."""

import pytest

from bionemo.scale.types import DataCard, ExpressionScale, ObsKeys


@pytest.fixture
def card() -> DataCard:
    return DataCard(
        genes=tuple(f"gene{i}" for i in range(40)),
        cell_types=("A", "B c"),
        perturbations=("p0", "p1", "p2"),
        batches=("b0", "b1"),
        control="control",
        scale=ExpressionScale(),
        keys=ObsKeys(),
    )
