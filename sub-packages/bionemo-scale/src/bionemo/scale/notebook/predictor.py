# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A trained model in a notebook: AnnData in, AnnData out."""

import atexit
import os
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bionemo.scale.files.label_list import given_labels
from bionemo.scale.files.quiet import quiet_libraries
from bionemo.scale.notebook.cells import PathLike
from bionemo.scale.notebook.refusals import names_arguments
from bionemo.scale.types import DataCard


if TYPE_CHECKING:
    import anndata

    from bionemo.scale.infer.plans.plan import Plan
    from bionemo.scale.infer.trained_model import LoadedModel


LabelsLike = str | os.PathLike[str] | Sequence[str]
"""Labels: a list, one text as the command takes it (commas, ``@FILE``), or the path of a file with one a line."""


class Predictor:
    """A trained model that predicts populations of cells from control cells, in this process.

    Example:
        ```python
        import anndata

        cells = anndata.read_h5ad("examples/data/kang2018_pbmc_ifnb.h5ad")
        controls = cells[(cells.obs["cell_type"] == "NK") & (cells.obs["perturbation"] == "control")].copy()
        predictor = api.Predictor.from_pretrained("run")
        predicted = predictor.predict(controls, ["IFN-beta"])
        print(predicted.uns["conditions"])
        ```
    """

    def __init__(self, loaded: "LoadedModel"):
        self._loaded = loaded

    @classmethod
    @names_arguments("infer.settings.InferSettings")
    def from_pretrained(
        cls,
        path: PathLike,
        *,
        generation: Literal["decode", "displace", "contrast"] | None = None,
        network_weight: float | None = None,
        additive_share: float | None = None,
        num_steps: int | None = None,
        samples: int | None = None,
        precision: Literal["fp32", "bf16", "fp8", "mxfp8"] = "fp32",
    ) -> "Predictor":
        """Load a model, once for many predictions.

        Args:
            path: Folder that :func:`bionemo.scale.api.export` wrote, run folder, or one of its checkpoints.
            generation: How cells are made of the network's output. ``None`` is the setting of the training.
            network_weight: How far predicted means follow the network, 0 to 1. 0 gives the means of the classical
                estimate, 1 those of the network. ``None`` is the weight that training measured.
            additive_share: Combine the network's means with the perturbation's mean effect in training instead. 0 is
                the network alone, 1 the mean effect alone. ``None`` is the setting of the training.
            num_steps: Steps of the solver. ``None`` is the setting of the training.
            samples: Draws of a stochastic prior that are averaged for each cell. ``None`` is the setting of the
                training.
            precision: Number format of matrix products; "fp8" and "mxfp8" need a GPU that has it.

        Returns:
            The predictor.

        Raises:
            InputError: No checkpoint is complete, ``samples`` is given without a stochastic prior, ``additive_share``
                without mean effects, or this machine does not have the precision.
        """
        from bionemo.scale.infer.settings import InferSettings

        checked = InferSettings.checked(
            checkpoint=path,
            precision=precision,
            generation=generation,
            network_weight=network_weight,
            additive_share=additive_share,
            num_steps=num_steps,
            samples=samples,
        )
        with quiet_libraries():
            join_process_group()
            from bionemo.scale.infer.trained_model import load_model

            return cls(
                load_model(
                    checked["checkpoint"],
                    precision=checked["precision"],
                    generation=checked["generation"],
                    network_weight=checked["network_weight"],
                    additive_share=checked["additive_share"],
                    num_generation_steps=checked["num_steps"],
                    num_generation_samples=checked["samples"],
                )
            )

    @classmethod
    def from_checkpoint(cls, path: PathLike, **options: Any) -> "Predictor":
        """Load a model, as :meth:`from_pretrained` does; the older name of it."""
        return cls.from_pretrained(path, **options)

    @property
    def card(self) -> DataCard:
        """Genes, labels and scale of the training data."""
        return self._loaded.card

    @names_arguments("infer.settings.InferSettings")
    def predict(
        self,
        adata: "anndata.AnnData",
        perturbations: LabelsLike | None = None,
        *,
        perturbation_features: PathLike | None = None,
        allow_unknown: bool = False,
        matrix: str | None = None,
        gene_key: str | None = None,
        set_size: int | None = None,
        seed: int = 0,
        **options: Any,
    ) -> "anndata.AnnData":
        """Predict how control cells look under perturbations.

        Args:
            adata: [cells, genes] raw counts or log1p values. It has the model's genes, by name and in any order, and
                its obs columns. Cells with the control label are used, or all if there is no perturbation column.
            perturbations: Labels, or a text as ``--perturbations`` takes it. ``None`` is every perturbation that the
                model knows.
            perturbation_features: File with one vector per perturbation, for those the model was not trained on.
            allow_unknown: Whether cell types, batches and covariates that were not trained are predicted under the
                unknown label.
            matrix: Expression of ``adata``: "X", "layers/NAME", "raw/X" or "obsm/NAME". ``None`` is that of the
                training data.
            gene_key: var column with gene names, or "_index" for the index. ``None`` is that of the training data.
            set_size: Cells that the network processes together. ``None`` is the setting of the training.
            seed: Seed of random choices, in stochastic priors and in the zeros of counts.
            **options: ``covariate``, such as {"time": "24h"}, predicts under this value of a covariate rather than
                under that of each control cell; ``adata`` need not have the column then.
                ``cells_per_condition`` is how many cells of each perturbation are predicted in a (cell type,
                covariates, batch); where there are fewer controls, some are drawn again. Also fields of
                :class:`bionemo.scale.infer.settings.GivenScale`, for values whose scale is not recognised: values,
                target_sum, library_size_key, sum_as_library_size.

        Returns:
            [controls x perturbations, genes] log1p expression. obs has labels, ``control_cell`` with the name of the
            cell that each was predicted from, and the other obs columns of that cell. ``uns["conditions"]`` has a row
            for each (cell type, perturbation), and varm its mean change with an interval. ``uns["bionemo_scale"]``
            has the provenance.

        Raises:
            InputError: Genes, columns or labels are missing or unknown, or values are no counts or log1p values.
        """
        from bionemo.scale.infer.controls.notebook_cells import keep_obs, keep_var, matrix_of
        from bionemo.scale.infer.labels import asked_perturbations, with_new_perturbations
        from bionemo.scale.infer.settings import GivenScale, InferSettings
        from bionemo.scale.notebook.controls import controls_to_predict, plan_controls

        checked = InferSettings.checked(
            set_size=set_size,
            seed=seed,
            allow_unknown=allow_unknown,
            **{name: options.pop(name) for name in ("covariate", "cells_per_condition") if name in options},
        )
        features = None if perturbation_features is None else Path(perturbation_features)
        names = self.card.perturbations
        if perturbations is not None:
            names = asked_perturbations(self._loaded, given_labels(perturbations), features)
        self._loaded = with_new_perturbations(self._loaded, names, features)
        matrix = matrix_of(adata, self.card, matrix)
        given = GivenScale.make(**options)
        cells = controls_to_predict(adata, self.card, given, asked=checked, matrix=matrix, gene_key=gene_key)
        loaded, plan = plan_controls(
            self._loaded, cells, names, seed=seed, set_size=set_size, allow_unknown=allow_unknown
        )
        predicted, notes = _predict(loaded, plan, card=self.card, seed=seed)
        for note in notes:
            # Above this function and what renames options in its refusals.
            warnings.warn(note, stacklevel=3)
        predicted.obs = keep_obs(predicted.obs, adata.obs)
        predicted.var = keep_var(self.card.genes, adata, matrix=matrix, gene_key=gene_key or self.card.gene_key)
        return predicted


def _predict(loaded: "LoadedModel", plan: "Plan", *, card: DataCard, seed: int) -> tuple["anndata.AnnData", list[str]]:
    """Return the predicted cells of a plan, with what is known of them, and what the user should know."""
    import anndata
    import pandas as pd

    from bionemo.scale.eval.cells.predicted_sd import CONDITIONS
    from bionemo.scale.infer.certainty.certainty import Certainty
    from bionemo.scale.infer.output.origin import describe
    from bionemo.scale.infer.predict import predict_all

    bounded: list[int] = []
    predicted = predict_all(loaded, plan, on_bounded=bounded.append)
    certainty, varm = Certainty.of_cells(loaded, plan, predicted, num_bounded=sum(bounded))
    origin = {"checkpoint": loaded.path, "seed": seed, **certainty.notes()}
    cells = anndata.AnnData(
        X=predicted,
        obs=plan.obs,
        var=pd.DataFrame(index=list(card.genes)),
        varm=varm,
        uns={"bionemo_scale": describe(card, origin), CONDITIONS: certainty.table()},
    )
    return cells, list(certainty.all_lines())


@cache
def join_process_group() -> None:
    """Make this process a process group of one, once, until it ends."""
    from bionemo.scale.megatron import cpu

    cpu.install()
    from bionemo.scale.megatron.layout import model_parallel

    # Predictors share it, so none takes it down; it ends with the process.
    groups = ExitStack()
    groups.enter_context(model_parallel())
    atexit.register(groups.close)
