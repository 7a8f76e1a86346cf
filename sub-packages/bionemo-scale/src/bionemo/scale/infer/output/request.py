# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What to write of a plan."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bionemo.scale.infer.settings import Output


@dataclass(frozen=True, kw_only=True)
class Request:
    """The files that a prediction becomes."""

    path: Path
    """h5ad that appears when it is complete."""
    provenance: dict[str, Any]
    """More entries for uns["bionemo_scale"]."""
    real_path: Path | None = None
    """h5ad of the measured cells (split plans only)."""
    output: Output = "cells"
    """Every predicted cell, as log1p expression or counts, or one row for each condition."""
    library_size: float | None = None
    """Of every cell of counts; ``None`` is that of the control cell that it began as."""
    features: Path | None = None
    """Vectors of perturbations that the model was not trained on."""
    with_controls: bool = False
    """Append the real control cells of the predicted contexts (split plans only)."""
