# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From labels to one condition token (paper, section 3.4, equations 31 to 33 and 38)."""

import math
from collections.abc import Callable, Collection

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.layers import Linear, shallow_copy


class ConditionEncoder(nn.Module):
    """Embeds cell type, perturbation, batch and covariates, projects them to the latent width and pools them to one.

    A label's embedding is the row that its one-hot vector selects (equation 31). The last row of each table is the
    unknown label; perturbations have a row for control before it, which teaches the network what a cell type looks
    like when nothing is done to it, also where no perturbation of that cell type was ever seen.
    """

    def __init__(self, config: ScaleModelConfig):
        super().__init__()
        self.cell_type = nn.Embedding(config.num_cell_types + 1, config.condition_size)
        self.perturbation = PerturbationEncoder(config)
        self.batch = nn.Embedding(config.num_batches + 1, config.condition_size)
        self.covariates = nn.ModuleList(
            nn.Embedding(size + 1, config.condition_size) for size in config.covariate_sizes
        )
        self.label_scale = config.label_scale
        self.projection = Linear(config, config.condition_size, config.hidden_size, bias=config.condition_bias)
        self.pool = POOLINGS[config.condition_pooling](config)

    def forward(
        self,
        cell_type: Int64[Tensor, " B"],
        perturbation: Int64[Tensor, " B"],
        batch: Int64[Tensor, "B ..."],
        *,
        covariates: Int64[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B D"]:
        """Return the condition token of each set.

        Args:
            cell_type: Label of each set.
            perturbation: Label of each set.
            batch: Label of each set, or of each cell of sets that mix batches: the mean of its cells' rows then stands
                for the set's batch.
            covariates: Label of each set for each covariate; ``None`` where the network has none.
        """
        of_batch = self.batch(batch)
        if batch.dim() > 1:
            of_batch = of_batch.mean(dim=1)
        labels = [self.cell_type(cell_type), self.perturbation(perturbation), of_batch]
        if covariates is not None:
            labels += [table(column) for table, column in zip(self.covariates, covariates.unbind(1), strict=True)]
        return self.pool(self.projection(self.label_scale * torch.stack(labels, dim=1)))


class PerturbationEncoder(nn.Module):
    """Embeds a perturbation's label as the sum over the agents it names (a drug, a cytokine, a targeted gene).

    ``e_p = sum_m (E[m] + W f_m + V [log(1 + dose_m), 1])``, the row, the features and the dose of each agent m; terms
    that the configuration does not ask for are left out. With one agent a label, no features and no doses that is the
    label's row. What a label is made of stands in buffers, a row for each training label, then control, then the
    unknown label; :meth:`with_labels` adds labels that were not trained on.
    """

    def __init__(self, config: ScaleModelConfig):
        super().__init__()
        self.source = config.perturbation_source
        self.num_agents = config.num_agents or config.num_perturbations
        self.embedding = nn.Embedding(self.num_agents + 2, config.condition_size)
        # One row for each agent, one for control, one for an unknown agent.
        members = torch.full((config.num_perturbations + 2, config.max_agents), -1)
        members[:, 0] = torch.arange(len(members)) + self.num_agents - config.num_perturbations
        self.register_buffer("members", members)
        has_features, has_doses = self.source != "learned", bool(config.dose_separator)
        width, size = config.feature_size, config.condition_size
        self.feature_linear = nn.Linear(width, size, bias=False) if has_features else None
        self.register_buffer("feature_table", torch.zeros(self.num_agents + 2, width) if has_features else None)
        # What brought the features of the training agents to mean 0 and standard deviation 1.
        self.register_buffer("feature_mean", torch.zeros(width) if has_features else None)
        self.register_buffer("feature_scale", torch.ones(width) if has_features else None)
        self.dose_linear = nn.Linear(2, size, bias=False) if has_doses else None
        self.register_buffer("doses", torch.full(members.shape, -1.0) if has_doses else None)

    def forward(self, perturbation: Int64[Tensor, " B"]) -> Float[Tensor, "B E"]:
        """Return the embedding of each label, before ``label_scale``."""
        agents = self.members[perturbation]
        named = agents >= 0
        agents = agents.clamp_min(0)
        # Agents that were appended have features and no row.
        rows = agents.clamp_max(self.num_agents + 1)
        terms = self.embedding(rows)
        if self.source == "features":
            terms = terms * ((agents == self.num_agents) | (agents == self.num_agents + 1))[..., None]
        if self.feature_linear is not None:
            terms = terms + self.feature_linear(self.feature_table[agents])
        if self.dose_linear is not None:
            dose = self.doses[perturbation]
            has_dose = dose >= 0
            given = torch.stack([torch.where(has_dose, dose, 0.0).log1p(), has_dose.to(dose)], dim=-1)
            terms = terms + self.dose_linear(given)
        return (terms * named[..., None]).sum(dim=1)

    @torch.no_grad()
    def average_untrained(self, untrained: Collection[int]) -> None:
        """Give agents that training did not show, the unknown one among them, the mean of the trained rows.

        Training moves all rows by what perturbations have in common. No gradient has touched theirs, which are noise.

        Args:
            untrained: Rows of agents.
        """
        trained = [row for row in range(self.num_agents) if row not in untrained]
        if trained:
            rows = self.embedding.weight
            rows[[*untrained, self.num_agents + 1]] = rows[trained].mean(dim=0)

    def with_labels(
        self,
        members: Int64[Tensor, "L M"],
        *,
        doses: Float[Tensor, "L M"] | None = None,
        features: Float[Tensor, "A F"] | None = None,
    ) -> "PerturbationEncoder":
        """Return an encoder with more labels after those of this one, which stays as it is. They share all weights.

        Args:
            members: Agents of each label, -1 where it has fewer; agents of ``features`` follow the unknown one.
            doses: Dose of each agent, -1 for none; without doses in training they are left out.
            features: Features of agents that were not trained on, as they stand in a file.
        """
        encoder, width = shallow_copy(self), max(members.shape[1], self.members.shape[1])
        encoder.members = torch.cat([_widen(self.members, width), _widen(members.to(self.members), width)])
        if self.doses is not None:
            doses = torch.full(members.shape, -1.0) if doses is None else doses
            encoder.doses = torch.cat([_widen(self.doses, width), _widen(doses.to(self.doses), width)])
        if features is not None:
            scaled = (features.to(self.feature_mean) - self.feature_mean) / self.feature_scale
            encoder.feature_table = torch.cat([self.feature_table, scaled])
        return encoder


def _widen(table: Tensor, width: int) -> Tensor:
    return nn.functional.pad(table, (0, width - table.shape[1]), value=-1)


def _square(config: ScaleModelConfig) -> Linear:
    return Linear(config, config.hidden_size, config.hidden_size, bias=config.condition_bias)


class MeanPool(nn.Module):
    """Uniform weights."""

    def __init__(self, config: ScaleModelConfig):
        super().__init__()

    def forward(self, tokens: Float[Tensor, "B C D"]) -> Float[Tensor, "B D"]:
        """Pool the tokens of each set."""
        return tokens.mean(dim=1)


class TokenPool(nn.Module):
    """Weights from a learned score of each token by itself."""

    def __init__(self, config: ScaleModelConfig):
        super().__init__()
        self.norm = config.condition_qk_norm
        self.score = _square(config)
        self.query = nn.Parameter(torch.empty(config.hidden_size))

    def forward(self, tokens: Float[Tensor, "B C D"]) -> Float[Tensor, "B D"]:
        """Pool the tokens of each set."""
        weights = torch.softmax(_similarity(self.query[None], torch.tanh(self.score(tokens)), self.norm)[:, 0], dim=1)
        return torch.einsum("bc,bcd->bd", weights, tokens)


class AttentionPool(nn.Module):
    """Self-attention among the tokens, then their mean."""

    def __init__(self, config: ScaleModelConfig):
        super().__init__()
        self.norm = config.condition_qk_norm
        self.query, self.key, self.value = (_square(config) for _ in range(3))

    def forward(self, tokens: Float[Tensor, "B C D"]) -> Float[Tensor, "B D"]:
        """Pool the tokens of each set."""
        scores = _similarity(self.query(tokens), self.key(tokens), self.norm)
        return torch.bmm(torch.softmax(scores, dim=-1), self.value(tokens)).mean(dim=1)


class SeedPool(nn.Module):
    """A learned seed asks the tokens (equations 32 and 33)."""

    def __init__(self, config: ScaleModelConfig):
        super().__init__()
        self.norm = config.condition_qk_norm
        self.seed = nn.Parameter(torch.empty(1, config.hidden_size))
        self.query, self.key, self.value = (_square(config) for _ in range(3))

    def forward(self, tokens: Float[Tensor, "B C D"]) -> Float[Tensor, "B D"]:
        """Pool the tokens of each set."""
        scores = _similarity(self.query(self.seed), self.key(tokens), self.norm)
        return torch.bmm(torch.softmax(scores, dim=-1), self.value(tokens)).squeeze(1)


def _similarity(queries: Float[Tensor, "*B Q D"], keys: Float[Tensor, "B C D"], norm: bool) -> Float[Tensor, "B Q C"]:
    """Return what the softmax over tokens is taken of: scaled inner products, or cosines."""
    if norm:
        return nn.functional.normalize(queries, dim=-1) @ nn.functional.normalize(keys, dim=-1).transpose(1, 2)
    return queries @ keys.transpose(1, 2) / math.sqrt(keys.shape[-1])


POOLINGS: dict[str, Callable[[ScaleModelConfig], nn.Module]] = {
    "mean": MeanPool,
    "token": TokenPool,
    "attention": AttentionPool,
    "seed": SeedPool,
}
