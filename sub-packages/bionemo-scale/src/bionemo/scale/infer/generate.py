# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From control cells and labels to a predicted population (paper, section 3.5, equation 37)."""

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from bionemo.scale.flow.parameterization import velocity
from bionemo.scale.flow.prior import PRIORS
from bionemo.scale.flow.random import SetGenerator
from bionemo.scale.flow.solver import integrate
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.gene_encoder import SparseCells
from bionemo.scale.model.questions import AskedCells
from bionemo.scale.model.scale_model import ScaleModel, held
from bionemo.scale.population import with_counted_zeros, with_mean


_NEXT_DRAW = 1 << 40
"""Between the seeds of two draws of a set, far from those of other sets."""


@dataclass(frozen=True, kw_only=True)
class EncodedControls:
    """Sets of control cells as far as they go before a perturbation is named: all that predictions of them share."""

    expression: Float[Tensor, "B N G"]
    """log1p."""
    cell_type: Int64[Tensor, " B"]
    batch: Int64[Tensor, "B ..."]
    """One a set, or one a cell where a set has cells of several batches."""
    seed: Int64[Tensor, " B"]
    """On the host: seeds are read as numbers."""
    own_mean: Float[Tensor, "B G"]
    """Over the cells of each set."""
    population_mean: Float[Tensor, "B G"]
    """Over the cells that each set stands for."""
    z_0: Float[Tensor, "B N D"]
    """Enc of the cells."""
    covariates: Int64[Tensor, "B K"]
    """Of no width where the network has none."""
    reference: Float[Tensor, "B N H"]
    """What a change is counted from, as the decoder's features: the cells under the control label ("contrast"), or as
    they are ("displace"); of no width where nothing is ("decode")."""
    asked: AskedCells | None
    """The encoded cells, prepared for questions under several conditions."""

    def take(self, sets: Int64[Tensor, " S"]) -> "EncodedControls":
        """Return some of the sets, each as often as it is named."""
        if torch.equal(sets, torch.arange(len(self.expression))):
            return self
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "asked"}
        taken = {name: value[sets.to(value.device)] for name, value in values.items()}
        asked = None if self.asked is None else self.asked.take(sets.to(self.z_0.device), taken["z_0"])
        return EncodedControls(**taken, asked=asked)


@torch.no_grad()
def encode_controls(
    model: ScaleModel,
    expression: Float[Tensor, "B N G"],
    *,
    cell_type: Int64[Tensor, " B"],
    batch: Int64[Tensor, "B ..."],
    seed: Int64[Tensor, " B"],
    covariates: Int64[Tensor, "B K"] | None = None,
    population_mean: Float[Tensor, "B G"] | None = None,
    sparse: SparseCells | None = None,
) -> EncodedControls:
    """Do the part of a prediction that no perturbation changes.

    Args:
        model: A trained network in evaluation mode, on one pipeline stage.
        expression: log1p expression of control cells.
        cell_type: Rows of the table of cell types.
        batch: Rows of the table of batches, one a set or one a cell.
        seed: Randomness of each set, for stochastic priors; on the host.
        covariates: Rows of the table of each covariate; ``None`` where the network has none.
        population_mean: Mean of all control cells that each set's were drawn from, where the set should stand for
            them; ``None`` lets every set stand for its own cells.
        sparse: The cells once more, set by set, where few of their values are not zero.
    """
    if sparse is not None and held(model.gene_encoder).takes_sparse():
        z_0 = model.encode_sparse(sparse, len(expression))
    else:
        z_0 = model.encode(expression)
    own_mean = expression.mean(dim=1)
    covariates = cell_type.new_empty((len(cell_type), 0)) if covariates is None else covariates
    # Other priors start elsewhere.
    asked = model.asked_cells(z_0) if model.config.prior == "control" else None
    if model.config.generation == "contrast":
        no_perturbation = torch.full_like(cell_type, model.config.num_perturbations)
        condition = model.condition(cell_type, no_perturbation, batch, covariates=covariates)
        reference = _endpoint_features(model, z_0, condition, seed=seed, asked=asked)
    elif model.config.generation == "displace":
        reference = held(model.expression_decoder).features(z_0)
    else:
        reference = z_0[..., :0]
    return EncodedControls(
        expression=expression,
        cell_type=cell_type,
        batch=batch,
        seed=seed,
        own_mean=own_mean,
        population_mean=own_mean if population_mean is None else population_mean,
        z_0=z_0,
        covariates=covariates,
        reference=reference,
        asked=asked,
    )


class Moved(NamedTuple):
    """Sets of control cells after a perturbation, as the network moved them."""

    cells: Float[Tensor, "B N G"]
    """log1p."""
    change: Float[Tensor, "B G"] | None
    """Mean change of each set, for "contrast"; ``None`` where the cells are what is predicted."""


@torch.no_grad()
def perturb(
    model: ScaleModel,
    controls: EncodedControls,
    perturbation: Int64[Tensor, " B"],
    *,
    estimate: Float[Tensor, "B G"] | None = None,
    network_weight: float = 1.0,
) -> Float[Tensor, "B N G"]:
    """Predict how sets of control cells look after a perturbation.

    Args:
        model: The network that :func:`encode_controls` was called with.
        controls: What it returned.
        perturbation: Rows of the embedding table.
        estimate: Mean of each population by the classical estimate, for "contrast".
        network_weight: How far the mean goes from the estimate to the network's.

    Returns:
        log1p expression before the zeros of counts (:func:`with_zeros`), never negative, by the configuration's
        ``generation``:

        - "decode": Dec(Z_1), equation 37, the mean over ``num_generation_samples`` draws of a stochastic prior.
        - "displace": the controls (moved by the anchor, if the model has one) plus Dec(Z_1) - Dec(Z_0).
        - "contrast": the same less what the network does to the controls under the control label, so that what it does
          to every cell cancels; moved so that the mean of a set is ``estimate + network_weight * (network -
          estimate)``, where the network's mean is ``population_mean`` plus the mean change. Without an estimate the
          mean is the network's, with a change of which ``additive_share`` is the perturbation's mean effect in
          training.
    """
    moved = move(model, controls, perturbation)
    if moved.change is None:
        return moved.cells
    told = {} if estimate is None else {"estimate": estimate, "network_weight": network_weight}
    return with_predicted_mean(model, moved, perturbation, population_mean=controls.population_mean, **told)


@torch.no_grad()
def move(model: ScaleModel, controls: EncodedControls, perturbation: Int64[Tensor, " B"]) -> Moved:
    """Do the part of :func:`perturb` that a population goes through as a whole."""
    decoder, divisor = held(model.expression_decoder), model.config.expression_divisor
    start = model.anchor(controls.expression, perturbation)
    # Without an anchor the start is the controls themselves: they are encoded once, and reconstructions cancel.
    z_start = controls.z_0 if start is controls.expression else model.encode(start)
    condition = model.condition(controls.cell_type, perturbation, controls.batch, covariates=controls.covariates)
    features = _endpoint_features(model, z_start, condition, seed=controls.seed, asked=controls.asked)
    if model.config.generation == "decode":
        return Moved((decoder.read_out(features).float() * divisor).clamp_min(0.0), None)
    features = features - controls.reference
    if start is not controls.expression:
        features = features - decoder.features(z_start) + decoder.features(controls.z_0)
    moved = decoder.add_change(start, features, divisor)
    if model.config.generation == "displace":
        return Moved(moved.clamp_min(0.0), None)
    # The last map is linear: the mean change is that of the mean feature.
    change = decoder.change(features.mean(dim=1, keepdim=True))[:, 0].float() * divisor
    return Moved(moved, change if start is controls.expression else change + start.mean(dim=1) - controls.own_mean)


@torch.no_grad()
def with_predicted_mean(
    model: ScaleModel,
    moved: Moved,
    perturbation: Int64[Tensor, " B"],
    *,
    population_mean: Float[Tensor, "B G"],
    estimate: Float[Tensor, "B G"] | None = None,
    network_weight: float = 1.0,
) -> Float[Tensor, "B N G"]:
    """Give cells that were moved for "contrast" the mean that is predicted for them.

    Args:
        model: The network.
        moved: From :func:`move`, or cells of it with the change of the set that they are of.
        perturbation: Rows of the embedding table.
        population_mean: Mean of the controls that the cells stand for.
        estimate: As of :func:`perturb`.
        network_weight: As of :func:`perturb`.
    """
    change = moved.change
    if estimate is None:
        return with_mean(moved.cells, population_mean + _shrunk(model, change, perturbation))
    estimate = estimate.to(change)
    return with_mean(moved.cells, estimate + network_weight * (population_mean + change - estimate))


def has_counted_zeros(config: ScaleModelConfig) -> bool:
    """Return whether predicted cells get the zeros that counting makes: only contrast keeps the controls' counts."""
    return config.counted_zeros and config.generation == "contrast"


def with_zeros(cells: Float[Tensor, "N G"], *, one_count: Float[Tensor, " N"], seed: int) -> Float[Tensor, "N G"]:
    """Give a predicted population the zeros that counting makes; the mean of each gene stays.

    Args:
        cells: What :func:`perturb` predicted for the sets of one population.
        one_count: Of the control cells they were made of.
        seed: Places the zeros.
    """
    offset = SetGenerator(seed, "zeros").uniform(cells.shape[-1])[None].to(cells.device)
    return with_counted_zeros(cells[None], one_count=one_count[None], offset=offset)[0]


def _shrunk(
    model: ScaleModel, change: Float[Tensor, "B G"], perturbation: Int64[Tensor, " B"]
) -> Float[Tensor, "B G"]:
    """Average the network's change with the perturbation's mean effect in training, where it has one.

    The two err differently: the network sees the context and smooths over genes, the mean effect does neither.
    """
    effect = model.effects[perturbation].to(change)
    share = model.config.additive_share * effect.any(dim=-1, keepdim=True)
    return change + share * (effect - change)


def _endpoint_features(
    model: ScaleModel,
    z_0: Float[Tensor, "B N D"],
    condition: Float[Tensor, "B D"],
    *,
    seed: Int64[Tensor, " B"],
    asked: AskedCells | None,
) -> Float[Tensor, "B N H"]:
    """Return the decoder's features of what each cell becomes, on average over the draws of the prior."""
    draws = range(model.config.num_generation_samples)
    ends = (_endpoint(model, z_0, condition, seed=seed + draw * _NEXT_DRAW, asked=asked) for draw in draws)
    decoder = held(model.expression_decoder)
    return sum(decoder.features(end) for end in ends) / len(draws)


def _endpoint(
    model: ScaleModel,
    z_0: Float[Tensor, "B N D"],
    condition: Float[Tensor, "B D"],
    *,
    seed: Int64[Tensor, " B"],
    asked: AskedCells | None,
) -> Float[Tensor, "B N D"]:
    config = model.config

    def field(z_t: Tensor, t: float) -> Tensor:
        if asked is not None and z_t is asked.start and t == 0.0:
            output = model.ask(asked, condition)
        else:
            times = torch.full((z_t.shape[0],), t, device=z_t.device)
            output = model.transport(z_t, times, condition)
        return velocity(output, z_t=z_t, t=t, parameterization=config.parameterization)

    start = PRIORS[config.prior](z_0, seed)
    return integrate(field, start, num_steps=config.num_generation_steps, solver=config.solver)
