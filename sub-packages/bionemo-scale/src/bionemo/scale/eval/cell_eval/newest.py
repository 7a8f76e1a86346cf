# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The newest cell-eval beside the one that the paper used.

The two cannot share an environment (numpy 1 against numpy 2). It sees the very same cells.
"""

from pathlib import Path

import anndata as ad
import polars as pl

from bionemo.scale.eval.cell_eval.adapter import SKIPPED
from bionemo.scale.eval.cell_eval.environment import Environment, Tool, Worker
from bionemo.scale.eval.cells.populations import PERTURBATION


PREFIX = "current_"
"""What the columns of the newest cell-eval begin with."""
NEWEST = Tool(
    option="current",
    name="cell-eval",
    packages=("cell-eval>=0.8", "pdex>=0.3"),
    listed=("cell-eval", "pdex", "numpy"),
)
CONVENTIONS = {
    "fdr": "Benjamini-Hochberg over the genes of one perturbation, significant below 0.05",
    "fold_change": "log2 of the ratio of means, not clipped: infinite where a mean is 0",
    "overlap": "top genes by absolute fold change among those significant on both sides, infinite ones first",
    "auc": "adjusted p-values below 1e-10 count as 1e-10",
}


class CurrentCellEval(Worker):
    """A running cell-eval of another version."""

    def __init__(self, environment: Environment, *, num_threads: int = 2):
        super().__init__(environment, tool=NEWEST, script=Path(__file__).with_name("newest_worker.py"))
        self._num_threads = num_threads
        self._real: tuple[str, Path] | None = None

    def score(self, *, pred: ad.AnnData, real: ad.AnnData, real_key: str, control: str) -> pl.DataFrame:
        """Score one context; the columns are those of the newest cell-eval, each with :data:`PREFIX`.

        Args:
            pred: Predicted perturbed cells and controls, as for :func:`run_cell_eval`.
            real: Measured perturbed cells and controls.
            real_key: Names ``real``, which is written once as long as the name stays.
            control: Label of the controls.

        Raises:
            MetricError: The other cell-eval failed.
        """
        if self._real is None or self._real[0] != real_key:
            self._real = (real_key, self.write(real, "real.h5ad"))
        out = self._folder / "results.parquet"
        self.ask(
            {
                "pred": str(self.write(pred, "pred.h5ad")),
                "real": str(self._real[1]),
                "out": str(out),
                "control": control,
                "pert_col": PERTURBATION,
                "num_threads": self._num_threads,
                "skip": list(SKIPPED),
            }
        )
        results = pl.read_parquet(out)
        numbers = [pl.col(name).cast(pl.Float64).alias(PREFIX + name) for name in results.columns[1:]]
        return results.select(pl.col(results.columns[0]).cast(pl.String).alias("perturbation"), *numbers)
