# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What training minimises: L = L_flow + weight * L_AE (paper, equations 13 to 16 and 20 to 30), and L_endpoint.

This is where flow and model meet. Norms are means over coordinates, so that weights do not depend on sizes; expression
errors are taken in log1p space.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from bionemo.scale.flow.coupling import optimal_pairs
from bionemo.scale.flow.mmd import compare, mmd_squared
from bionemo.scale.flow.parameterization import Prediction, flow_loss, interpret
from bionemo.scale.flow.path import sample_path, sample_times
from bionemo.scale.flow.prior import PRIORS
from bionemo.scale.flow.random import SetGenerator
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.layers import mean_of_cells
from bionemo.scale.model.scale_model import PlaceOnPath, ScaleOutput
from bionemo.scale.types import CellBatch


TERMS = ("loss", "flow", "mse", "mmd", "endpoint", "latent_variance")
"""What :func:`objective` reports; the first is what is minimised."""

Decode = Callable[[Float[Tensor, "B N D"]], Tensor]
DecodeMean = Callable[[Float[Tensor, "B N D"], Float[Tensor, "B N"] | None], Float[Tensor, "B G"]]


def path_placement(config: ScaleModelConfig, batch: CellBatch) -> PlaceOnPath:
    """Return the choice of Z_t and t for a batch: a prior's start, a uniform time, the straight path."""

    def place(
        z_0: Float[Tensor, "B N D"], z_1: Float[Tensor, "B N D"]
    ) -> tuple[Float[Tensor, "B N D"], Float[Tensor, " B"]]:
        start = PRIORS[config.prior](z_0, batch["seed"])
        sample = sample_path(start=start, target=z_1, t=_times(batch, config, z_0))
        return sample.z_t, sample.t

    return place


def _times(batch: CellBatch, config: ScaleModelConfig, like: Tensor) -> Float[Tensor, " B"]:
    return sample_times(batch["seed"], start_share=config.start_share, device=like.device)


def pair_cells(config: ScaleModelConfig, batch: CellBatch) -> CellBatch:
    """Put the control cells of each set in the order of the perturbed cells they are paired with."""
    if config.coupling == "random":
        return batch
    labels = batch["batch"]
    # Each cell of a set of several batches came with a control of its own batch, at the same place.
    order = optimal_pairs(batch["control"], batch["perturbed"], kinds=labels if labels.dim() > 1 else None)
    return {**batch, "control": torch.take_along_dim(batch["control"], order[:, :, None], dim=1)}


def hide_labels(
    labels: Int64[Tensor, "B ..."], seeds: Int64[Tensor, " B"], *, kind: str, prob: float, unknown: int
) -> Int64[Tensor, "B ..."]:
    """Replace the label of some sets by the unknown one; which sets is up to their seeds.

    Args:
        labels: Rows of an embedding table, one a set or one a cell.
        seeds: The sets' seeds.
        kind: What the labels are, so that two kinds are not hidden together.
        prob: Share of the sets whose label is hidden.
        unknown: Row of the unknown label.
    """
    hidden = [SetGenerator(seed, kind).random() < prob for seed in seeds.tolist()]
    of_sets = torch.tensor(hidden, device=labels.device)
    return labels.masked_fill(of_sets.view(-1, *[1] * (labels.dim() - 1)), unknown)


def objective(
    output: ScaleOutput, batch: CellBatch, config: ScaleModelConfig, *, decode: Decode, decode_mean: DecodeMean
) -> dict[str, Tensor]:
    """Return every term of the loss, and the latent variance that shows whether the encoder collapsed.

    Args:
        output: What the last pipeline stage computed.
        batch: The sets it was computed from.
        config: Weights and variants.
        decode: The network's decoder, for the endpoint.
        decode_mean: The mean of what it decodes, ``[B, N, D] -> [B, G]``, at less cost; also told the cells' shares.

    Returns:
        Scalars by the names in :data:`TERMS`; "loss" carries the gradient. Sets count by their ``weight`` and cells by
        their ``share``, where the batch has them.
    """
    prediction, flow = _flow_term(output, batch, config)
    share, weight = batch.get("share"), batch.get("weight")
    # Of controls and of perturbed cells.
    both = None if share is None else torch.cat([share, share])
    compared = compare(output.decoded, output.observed, estimator=config.mmd_estimator, share=both)
    controls_of = batch.get("controls_of")
    of_sets = [_of_each_set(values, controls_of) for values in (compared.squared_error, compared.mmd_squared)]
    # In log1p space; MMD has no scale.
    mse = 2 * config.expression_divisor**2 * _over_sets(of_sets[0], weight)
    mmd = 2 * _over_sets(of_sets[1], weight)
    endpoint = _endpoint_term(prediction, batch, config, decode=decode, decode_mean=decode_mean)
    loss = flow + config.autoencoder_weight * (mse + config.mmd_weight * mmd) + endpoint
    return {
        "loss": loss,
        "flow": flow.detach(),
        "mse": mse.detach(),
        "mmd": mmd.detach(),
        "endpoint": endpoint.detach(),
        "latent_variance": _over_sets(latent_variance(output.z_1.detach(), share), weight),
    }


def add_up(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the terms of a micro-batch whose sets are several batches, each of one size."""
    return parts[0] if len(parts) == 1 else {name: torch.stack([part[name] for part in parts]).sum() for name in TERMS}


def _of_each_set(values: Float[Tensor, " P"], controls_of: Int64[Tensor, " B"] | None) -> Float[Tensor, " Q"]:
    """Return the values of the controls that each set starts from, then those of its perturbed cells."""
    if controls_of is None:
        return values
    of_controls, of_perturbed = values.split([len(values) - len(controls_of), len(controls_of)])
    return torch.cat([of_controls[controls_of], of_perturbed])


def _over_sets(values: Float[Tensor, " S"], weight: Float[Tensor, " B"] | None) -> Float[Tensor, ""]:
    """Average over sets, or over the controls and the perturbed cells of sets."""
    if weight is None:
        return values.mean()
    return (values.view(-1, len(weight)).mean(dim=0) * weight).sum()


def _of_cells(batch: CellBatch) -> Float[Tensor, "B N"] | None:
    """Return the weight of each cell in an average over sets and cells, ``None`` where all are alike."""
    share, weight = batch.get("share"), batch.get("weight")
    if share is None and weight is None:
        return None
    num_sets, num_cells = batch["perturbed"].shape[:2]
    of_sets = 1 / num_sets if weight is None else weight[:, None]
    of_cells = torch.full((1, num_cells), 1 / num_cells, device=batch["perturbed"].device) if share is None else share
    return of_sets * of_cells


def _flow_term(
    output: ScaleOutput, batch: CellBatch, config: ScaleModelConfig
) -> tuple[Prediction, Float[Tensor, ""]]:
    # The last stage was not told the start and the time; the sets' seeds give the same ones again.
    start = PRIORS[config.prior](output.z_0, batch["seed"])
    target = output.z_1.detach() if config.stop_gradient_target else output.z_1
    prediction = interpret(output.head, start=start, parameterization=config.parameterization)
    t = _times(batch, config, start) if config.loss_space == "jit-v" else None
    loss = flow_loss(
        prediction, start=start, target=target, loss_space=config.loss_space, t=t, weight=_of_cells(batch)
    )
    return prediction, loss


def _endpoint_term(
    prediction: Prediction,
    batch: CellBatch,
    config: ScaleModelConfig,
    *,
    decode: Decode,
    decode_mean: DecodeMean,
) -> Float[Tensor, ""]:
    """Compare the decoded endpoint with the measured cells: the means of the populations, and their distributions."""
    perturbed, share, weight = batch["perturbed"], batch.get("share"), batch.get("weight")
    term = perturbed.new_zeros(())
    if config.endpoint_weight:
        error = decode_mean(prediction.endpoint, share) - mean_of_cells(perturbed, share)
        term = config.endpoint_weight * _over_sets(error.square().mean(dim=1), weight)
    if config.endpoint_mmd_weight:
        decoded = decode(prediction.endpoint)
        mmd = mmd_squared(decoded, perturbed, estimator=config.mmd_estimator, share=share)
        term = term + config.endpoint_mmd_weight * _over_sets(mmd, weight)
    return term


def latent_variance(z: Float[Tensor, "B N D"], share: Float[Tensor, "B N"] | None = None) -> Float[Tensor, " B"]:
    """Return the variance of a latent coordinate among the cells of each set; near zero the encoder has collapsed.

    Sets of different cell types may still lie apart then: that alone carries no cell.
    """
    if share is None:
        return z.float().var(dim=1, unbiased=False).mean(dim=1)
    centred = z.float() - mean_of_cells(z.float(), share)[:, None]
    return mean_of_cells(centred.square(), share).mean(dim=1)


def stack_terms(terms: dict[str, Tensor]) -> Float[Tensor, " K"]:
    """Return the terms in the order of :data:`TERMS`, detached, as one tensor that can be reduced over ranks."""
    return torch.stack([terms[name].detach().float() for name in TERMS])
