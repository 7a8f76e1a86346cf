# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a run will be, settled before anything is started: settings, store, beginning and run folder fit one another.

It needs Megatron and not NeMo, whose import takes several times as long as all the checks.
"""

from dataclasses import dataclass, replace
from typing import Any

from bionemo.scale.data.labels.split import check_leakage
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.labels.grammar import Grammar, describe_agents, grammar_of
from bionemo.scale.megatron.kernels import PRECISIONS, check_devices, choose_layer_spec
from bionemo.scale.megatron.roles import Role
from bionemo.scale.model.checkpoint import check_pickles, newest_whole
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.size.arithmetic import ENDS, stage_fields
from bionemo.scale.train.finetune.start import (
    Start,
    check_architecture,
    check_features,
    compare,
    find_start,
    inherited_fields,
    labels_known_to,
)
from bionemo.scale.train.finetune.transfer import Matches
from bionemo.scale.train.presets import PRESETS
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.train.setup.fields import network_overrides, size_fields
from bionemo.scale.train.setup.run_folder import check_same_run, description, shards_optimizer
from bionemo.scale.train.tables import TABLES_NAME, Perturbations, card_of_training, read_perturbations
from bionemo.scale.types import DataCard, GroupMeans, InputError, Split


_SEPARATORS = ("combination_separator", "dose_separator")


@dataclass(frozen=True, kw_only=True)
class ResolvedRun:
    """A run that can be started."""

    settings: TrainSettings
    fields: dict[str, Any]
    """Of :class:`ScaleModelConfig`."""
    described: dict[str, Any]
    """What config.yaml says of the run."""
    is_sharded: bool
    """Whether data parallel ranks share the optimizer's state."""
    card: DataCard
    """Genes and labels of the training data."""
    training: GroupMeans
    """Pseudobulks of the training split."""
    perturbations: Perturbations
    agents: str
    """What perturbations are made of, in words; empty where each label is one agent."""
    grammar: Grammar
    """How labels are read."""
    has_validation: bool
    """Whether the store's split has perturbed cells to validate with."""
    start: Start | None
    """The checkpoint of another run that this one starts from, or the run's own newest one in its place."""
    matches: Matches | None
    """Genes and labels shared with that checkpoint; ``None`` where there is nothing to copy."""


def resolve(settings: TrainSettings) -> ResolvedRun:
    """Settle what a run is. Writes nothing.

    Raises:
        InputError: If the store, the settings or what the run folder already holds do not fit.
    """
    check_devices(settings.devices)
    with Store.open(settings.store) as store:
        overrides, identity = read_overrides(settings), store.identity
        start = None if settings.from_checkpoint is None else find_start(settings)
        grammar = read_grammar(store, start, overrides)
        fold = settings.left_out
        held_out = None if fold is None else store.hold_out(fold.read_by(grammar))
        has_validation = len(store.groups.perturbed_in(Split.VAL)) > 0
        training = store.group_means(Split.TRAIN)
        known = None if start is None else labels_known_to(start)
        card = card_of_training(store.card, training, grammar, known=known)
        card = replace(card, counted_genes=store.counted_genes)
    # Before anything opens them: NeMo unpickles the weights of a run that it continues.
    for path in {newest_whole(settings.out / "checkpoints"), None if start is None else start.path}:
        if path is not None:
            check_pickles(path)
    perturbations = read_perturbations(card.perturbations, grammar, settings.perturbation_features)
    fields = network_fields(settings, card, perturbations, start=start)
    config = checked_config(fields)
    matches = None if start is None or start.continues else compare(settings, start, config, card=card)
    is_sharded = shards_optimizer(settings.out)
    described = description(settings, config, identity=identity, is_sharded=is_sharded, held_out=held_out)
    check_same_run(settings.out, described)
    return ResolvedRun(
        settings=settings,
        fields=fields,
        described=described,
        is_sharded=is_sharded,
        card=card,
        training=training,
        perturbations=perturbations,
        agents=describe_agents(card.perturbations, grammar),
        grammar=grammar,
        has_validation=has_validation,
        start=start,
        matches=matches,
    )


def _size_fields(settings: TrainSettings) -> dict[str, Any]:
    assert settings.size is not None, "checked by the settings, where no checkpoint has the network"
    return size_fields(settings.size)


def network_fields(
    settings: TrainSettings, card: DataCard, perturbations: Perturbations, *, start: Start | None = None
) -> dict[str, Any]:
    """Return the network's fields: a size's or a checkpoint's, a preset's, the data's, the layout, the user's own.

    Raises:
        InputError: If they do not fit one another.
    """
    overrides = read_overrides(settings)
    agents, features = perturbations.agents, perturbations.features
    if start is not None:
        check_architecture(settings, overrides, start)
        check_features(start, 0 if features is None else features.shape[1])
    fields: dict[str, Any] = {
        "perturbation_source": "learned" if features is None else "both",
        **(_size_fields(settings) if start is None else inherited_fields(start)),
        **PRESETS[settings.preset].fields,
        **{name: getattr(card, name) for name in _SEPARATORS if getattr(card, name)},
        "num_genes": len(card.genes),
        "num_cell_types": len(card.cell_types),
        "num_perturbations": len(card.perturbations),
        "num_batches": len(card.batches),
        "covariate_sizes": [len(names) for names in card.covariates],
        "set_size": settings.set_size,
        "sets": settings.sets,
        "seed": settings.seed,
        "tensor_model_parallel_size": settings.tensor_parallel,
        "pipeline_model_parallel_size": settings.pipeline_parallel,
        "layer_spec": choose_layer_spec(settings.spec, settings.precision),
        **PRECISIONS[settings.precision].config_fields(),
        "tables_file": str(settings.out / TABLES_NAME),
        "num_agents": len(agents.names),
        "max_agents": agents.members.shape[1],
        "feature_size": 0 if features is None else features.shape[1],
        **overrides,
    }
    if (fields["perturbation_source"] == "learned") == bool(fields["feature_size"]):
        raise InputError(
            f"--set perturbation_source={fields['perturbation_source']}: features go with --perturbation-features and "
            "with no other source than features or both"
        )
    return {**_stages(fields, settings.pipeline_parallel), **fields}


def _stages(fields: dict[str, Any], stages: int) -> dict[str, int]:
    """Return how many blocks the first pipeline stage and the last have, where no field says it."""
    if stages == 1 or fields.keys() & set(ENDS):
        return {}
    config = checked_config({**fields, "pipeline_model_parallel_size": 1})
    return stage_fields(config, stages) if stages <= config.num_layers else {}


def read_overrides(settings: TrainSettings, *, decided: frozenset[Role] = frozenset(Role)) -> dict[str, Any]:
    """Return the fields that a user sets by name.

    Args:
        settings: Of the run.
        decided: Roles whose fields the run decides where it can.

    Raises:
        InputError: If there is no such field, a value is not of its type, or an option or the data decide the field.
    """
    return network_overrides(settings.overrides, decided=decided)


def checked_config(fields: dict[str, Any]) -> ScaleModelConfig:
    """Return the configuration of a network.

    Raises:
        InputError: If the fields do not fit one another.
    """
    try:
        return ScaleModelConfig(**fields)
    except (ValueError, AssertionError) as error:
        raise InputError(f"model configuration: {error}") from error


def read_grammar(store: Store, start: Start | None, overrides: dict[str, Any]) -> Grammar:
    """Return how labels are read: as the store says, or else as ``--set`` or the checkpoint does.

    Raises:
        InputError: Two of them differ, or one perturbation is in two splits under two spellings.
    """
    inherited = {} if start is None else inherited_fields(start)
    for name in _SEPARATORS:
        said = getattr(store.card, name)
        if said and overrides.get(name, said) != said:
            raise InputError(
                f"--set {name}={overrides[name]}: expected {said!r}, with which {store.path} was prepared; prepare it "
                "again to read its labels otherwise"
            )
        if name == "dose_separator" and said and start is not None and not inherited.get(name):
            raise InputError(
                f"{store.path}: labels have doses after {said!r}, expected none: the network of {start.path} knows no "
                "doses"
            )
    separators = {name: overrides.get(name, inherited.get(name, "")) for name in _SEPARATORS}
    grammar = grammar_of(
        store.card, combination=separators["combination_separator"], dose=separators["dose_separator"]
    )
    if any(separators[name] and not getattr(store.card, name) for name in _SEPARATORS):
        _check_spellings(store, grammar)
    return grammar


def _check_spellings(store: Store, grammar: Grammar) -> None:
    """Look for leaks that prepare could not see, for it was not told how labels are read."""
    groups = store.groups
    labels = ((groups.label(index), Split(groups.split[index])) for index in range(len(groups)))
    read = ((group._replace(perturbation=grammar.canonical(group.perturbation)), split) for group, split in labels)
    try:
        check_leakage(read, control=store.card.control, by_batch=store.is_split_by_batch)
    except InputError as error:
        raise InputError(
            f"{store.path}: {error} under two spellings; prepare it again with --combination-separator and "
            "--dose-separator"
        ) from error
