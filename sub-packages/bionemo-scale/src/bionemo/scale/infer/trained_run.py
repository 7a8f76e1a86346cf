# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A run folder as an object."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bionemo.scale.files.network_weight import measured_weight
from bionemo.scale.files.quiet import quiet_libraries
from bionemo.scale.files.text import read_yaml


if TYPE_CHECKING:
    import pandas as pd


class Run:
    """A trained run, with its losses, settings, checkpoint and the weight of its network.

    Args:
        path: Folder that :func:`bionemo.scale.api.train` made.

    Raises:
        InputError: The folder holds no run.

    Example:
        ```python
        trained = api.Run("run")
        print(trained)
        print(trained.history[["step", "loss"]].tail())
        ```
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        """The run folder."""
        self.config: dict[str, Any] = read_yaml(self.path / "config.yaml")
        """``run`` has the settings of the training, ``model`` the fields of the network."""

    @property
    def history(self) -> "pd.DataFrame":
        """Losses, learning rate and speed by step, a pandas table. Validations have rows and columns of their own."""
        import pandas as pd

        return pd.read_csv(self.path / "metrics.csv")

    @property
    def checkpoint(self) -> Path:
        """The checkpoint that predicts.

        Raises:
            InputError: No checkpoint is complete.
        """
        with quiet_libraries():
            from bionemo.scale.model.checkpoint import find_checkpoint

        return find_checkpoint(self.path)

    @property
    def network_weight(self) -> float | None:
        """How far predicted means follow the network, from 0 (the classical estimate) to 1; ``None``: not measured."""
        found = measured_weight(self.path)
        return None if found is None else found.network_weight

    def __repr__(self) -> str:
        asked = self.config.get("run", {})
        weight = self.network_weight
        weighed = "not measured" if weight is None else f"{weight:.2f}"
        size, steps = asked.get("size"), asked.get("max_steps")
        return f"Run({str(self.path)!r}: size {size}, {steps} steps, network's weight {weighed})"
