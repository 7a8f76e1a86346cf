# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Weights of one network in another whose genes and labels are not the same.

What stands for a gene or a label is found by name. Genes and labels of tensors are never split over ranks, so that
this is the same under every layout.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state
from torch import Tensor, nn

from bionemo.scale.data.labels.agents import agents_of
from bionemo.scale.files.labels.grammar import grammar_of
from bionemo.scale.model.checkpoint import load_network, read_config
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.scale_model import ScaleModel, held
from bionemo.scale.train.averaged import AveragedModel
from bionemo.scale.train.settings import FREEZABLE
from bionemo.scale.types import DataCard


@dataclass(frozen=True, kw_only=True)
class Match:
    """Names of a checkpoint beside those of a new network."""

    old: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def known(self) -> tuple[str, ...]:
        """Names that both have, in the order of the new network."""
        before = set(self.old)
        return tuple(name for name in self.new if name in before)

    @property
    def added(self) -> tuple[str, ...]:
        """Names that only the new network has."""
        before = set(self.old)
        return tuple(name for name in self.new if name not in before)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names that only the checkpoint has."""
        after = set(self.new)
        return tuple(name for name in self.old if name not in after)

    def rows(self, *, special: int = 0) -> tuple[Tensor, Tensor]:
        """Return the rows of the known names in the checkpoint and in the new network, int64 each.

        Args:
            special: Rows after those of names that mean the same in both: control, the unknown label.
        """
        old = {name: row for row, name in enumerate(self.old)}
        new = {name: row for row, name in enumerate(self.new)}
        pairs = [(old[name], new[name]) for name in self.known]
        pairs += [(len(self.old) + row, len(self.new) + row) for row in range(special)]
        return tuple(torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1))


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Everything that has a name."""

    genes: Match
    cell_types: Match
    agents: Match
    """What perturbation labels are made of: the labels themselves, without combinations and doses."""
    batches: Match
    covariates: tuple[tuple[int, Match], ...] = ()
    """Of each covariate of the new network: which one of the checkpoint it is, by its column's name, -1 for none."""

    @property
    def added_covariates(self) -> tuple[str, ...]:
        """Values that only the new network has."""
        return tuple(name for _, each in self.covariates for name in each.added)


def match(old: DataCard, old_config: ScaleModelConfig, new: DataCard, *, new_config: ScaleModelConfig) -> Matches:
    """Compare the names of a checkpoint with those of a new network."""
    agents = [
        agents_of(
            card.perturbations,
            grammar_of(card, combination=config.combination_separator, dose=config.dose_separator),
        ).names
        for card, config in ((old, old_config), (new, new_config))
    ]
    return Matches(
        genes=Match(old=old.genes, new=new.genes),
        cell_types=Match(old=old.cell_types, new=new.cell_types),
        agents=Match(old=agents[0], new=agents[1]),
        batches=Match(old=old.batches, new=new.batches),
        covariates=_match_covariates(old, new),
    )


def _match_covariates(old: DataCard, new: DataCard) -> tuple[tuple[int, Match], ...]:
    before, found = old.keys.covariates, []
    for key, names in zip(new.keys.covariates, new.covariates, strict=True):
        number = before.index(key) if key in before else -1
        found.append((number, Match(old=() if number < 0 else old.covariates[number], new=names)))
    return tuple(found)


def start_from_checkpoint(model: AveragedModel, checkpoint: Path, card: DataCard) -> None:
    """Give a new network the weights of a checkpoint: those that predict, its running average where it keeps one.

    Args:
        model: Initialised, and told of its own training data; labels that the checkpoint does not have stay so.
        checkpoint: Of a network of the same architecture.
        card: Genes and labels of the new network.

    Raises:
        InputError: If the checkpoint cannot be read.
    """
    config, trained_on = read_config(checkpoint)
    matches = match(trained_on, config, card, new_config=model.config)
    source = load_network(config, checkpoint, layer_spec=model.config.layer_spec)
    for network in (model, model.average):
        if network is not None:
            copy_weights(source, network, matches)


@torch.no_grad()
def copy_weights(source: ScaleModel, target: ScaleModel, matches: Matches) -> None:
    """Copy every weight; of those that belong to genes or labels, the rows of known names.

    A gene that the source does not have begins unread and is predicted as its mean: the columns of the encoder's
    projection and the rows of the decoder are zero, the decoder's bias stays as it is. So a new network with more
    genes begins where the old one stood, frozen or not.
    """
    weights = dict(source.named_parameters())
    genes, labels = matches.genes.rows(), _label_rows(matches)
    for name, parameter in target.named_parameters():
        if name.startswith("average."):
            continue
        if name in _GENE_AXES:
            if not name.endswith("bias"):
                parameter.zero_()
            _copy_rows(weights[name], parameter, genes, axis=_GENE_AXES[name])
        elif name in labels:
            _copy_rows(weights[name], parameter, labels[name], axis=0)
        elif name.startswith(_COVARIATES):
            number, match_of = matches.covariates[int(name.split(".")[2])]
            # A covariate that the checkpoint does not have begins as a new network's.
            if number >= 0:
                _copy_rows(weights[f"{_COVARIATES}{number}.weight"], parameter, match_of.rows(special=1), axis=0)
        else:
            parameter.copy_(weights[name])
    if not target.pre_process:
        return
    encoder = held(target.condition_encoder).perturbation
    if encoder.feature_table is not None:
        _scale_features_alike(held(source.condition_encoder).perturbation, encoder)


_COVARIATES = "condition_encoder.covariates."
_GENE_AXES = {
    "gene_encoder.projection.linear.weight": 1,
    "expression_decoder.mlp.linear_fc2.weight": 0,
    "expression_decoder.mlp.linear_fc2.bias": 0,
}


def _label_rows(matches: Matches) -> dict[str, tuple[Tensor, Tensor]]:
    return {
        "condition_encoder.cell_type.weight": matches.cell_types.rows(special=1),
        "condition_encoder.perturbation.embedding.weight": matches.agents.rows(special=2),
        "condition_encoder.batch.weight": matches.batches.rows(special=1),
    }


def _copy_rows(source: Tensor, target: Tensor, rows: tuple[Tensor, Tensor], *, axis: int) -> None:
    old, new = rows
    # Before the trainer moves a network, Megatron's weights are on the GPU and torch's own on the host.
    copied = source.index_select(axis, old.to(source.device)).to(target)
    target.index_copy_(axis, new.to(target.device), copied)


def _scale_features_alike(source: nn.Module, target: nn.Module) -> None:
    """Bring the features of the new agents to the scale that the copied weights were trained on."""
    named = target.num_agents
    raw = target.feature_table[:named] * target.feature_scale + target.feature_mean
    target.feature_mean.copy_(source.feature_mean)
    target.feature_scale.copy_(source.feature_scale)
    target.feature_table[:named] = (raw - target.feature_mean) / target.feature_scale


def freeze(model: ScaleModel, parts: Sequence[str]) -> None:
    """Keep the weights of parts of a network out of training.

    Args:
        model: Of this rank's pipeline stage.
        parts: Names in :data:`bionemo.scale.train.settings.FREEZABLE`.
    """
    for name in (module for part in parts for module in FREEZABLE[part]):
        part = getattr(model, name)
        # Another stage holds it where there is none.
        if part is not None:
            part.requires_grad_(False)


def count_weights(model: ScaleModel, wanted: Callable[[nn.Parameter], Any] = lambda parameter: True) -> int:
    """Return how many weights the whole network has, without its running average, over all ranks that share it.

    Args:
        model: Of this rank's pipeline stage; every stage must ask.
        wanted: Chooses the parameters that are counted.
    """
    size = parallel_state.get_tensor_model_parallel_world_size()
    count = 0
    for name, parameter in model.named_parameters():
        if not name.startswith("average.") and wanted(parameter):
            split = getattr(parameter, "tensor_model_parallel", False)
            count += parameter.numel() * (size if split else 1)
    if parallel_state.get_pipeline_model_parallel_world_size() == 1:
        return count
    total = torch.tensor(count, device=torch.cuda.current_device())
    torch.distributed.all_reduce(total, group=parallel_state.get_pipeline_model_parallel_group())
    return int(total)
