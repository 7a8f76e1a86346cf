# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning: what a run takes from the checkpoint it starts from, what it may not change, what it reports."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bionemo.scale.estimate.storage import ESTIMATE_NAME, read_groups
from bionemo.scale.files.earlier_groups import EARLIER_NAME, read_earlier, write_earlier
from bionemo.scale.files.labels.grammar import grammar_of
from bionemo.scale.files.suggest import some
from bionemo.scale.megatron.roles import Role, names_of
from bionemo.scale.model.checkpoint import find_checkpoint, read_config, run_folder
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.train.finetune.transfer import Match, Matches, match
from bionemo.scale.train.presets import PRESETS
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.train.setup.fields import size_fields
from bionemo.scale.train.tables import trained_labels
from bionemo.scale.types import DataCard, InputError


@dataclass(frozen=True, kw_only=True)
class Start:
    """The checkpoint that a run starts from."""

    path: Path
    config: ScaleModelConfig
    card: DataCard
    continues: bool
    """Whether it is the run's own: there is nothing to copy then, and nothing to report."""


def find_start(settings: TrainSettings) -> Start:
    """Return the newest checkpoint of the run itself, or else the one that it is to start from.

    Raises:
        InputError: If there is none, or it cannot be read.
    """
    assert settings.from_checkpoint is not None, "callers look for one"
    if settings.from_checkpoint.resolve().is_relative_to(settings.out.resolve()):
        raise InputError(f"--from-checkpoint {settings.from_checkpoint}: expected another run than --out")
    own = _own_checkpoint(settings.out)
    path = own or find_checkpoint(settings.from_checkpoint)
    config, card = read_config(path)
    return Start(path=path, config=config, card=card, continues=own is not None)


def _own_checkpoint(out: Path) -> Path | None:
    """Return where a run stands; its beginning may have moved meanwhile."""
    try:
        return find_checkpoint(out)
    except InputError:
        return None


def inherited_fields(start: Start) -> dict[str, Any]:
    """Return every field of the checkpoint's network that does not follow from data or layout."""
    handed_on = names_of(ScaleModelConfig, Role.ARCHITECTURE, Role.OBJECTIVE)
    fields = {}
    for field in dataclasses.fields(ScaleModelConfig):
        value = getattr(start.config, field.name, field.default)
        if field.name in handed_on and value != field.default and not callable(value):
            fields[field.name] = value
    return fields


def labels_known_to(start: Start) -> dict[str, frozenset[str]]:
    """Return the labels of each kind that the checkpoint's network was trained on."""
    config = start.config
    grammar = grammar_of(start.card, combination=config.combination_separator, dose=config.dose_separator)
    return trained_labels(start.card, grammar)


def note_earlier(out: Path, start: Path) -> None:
    """Write the groups that a run's first weights were trained on to its folder, once.

    They are those of the run that it starts from, as its estimate lists them, and those that this one began with.
    Where that run or its checkpoints are gone, as they may be when its successor continues, nothing is noted.

    Args:
        out: Folder of the run.
        start: Its ``from_checkpoint``.

    Raises:
        InputError: If a file of the run that it starts from is damaged.
    """
    if (out / EARLIER_NAME).exists():
        return
    try:
        run = run_folder(find_checkpoint(start))
    except InputError:
        # A run that begins has looked for it already.
        return
    estimate = run / ESTIMATE_NAME
    own = read_groups(estimate) if estimate.is_file() else ()
    write_earlier(out, read_earlier(run).union(own))


def check_architecture(settings: TrainSettings, overrides: dict[str, Any], start: Start) -> None:
    """Refuse another network than the checkpoint's.

    Raises:
        InputError: Naming the field.
    """
    named = {} if settings.size is None else size_fields(settings.size)
    options = [(f"--size {settings.size}", named, "leave --size out")]
    architecture = names_of(ScaleModelConfig, Role.ARCHITECTURE)
    of_preset = {name: value for name, value in PRESETS[settings.preset].fields.items() if name not in overrides}
    if settings.lora and not {**of_preset, **overrides}.get("ema_decay", start.config.ema_decay):
        raise InputError(
            "--lora: expected ema_decay above 0, as the average of the weights is what holds the adapters"
        )
    options += [("--set", overrides, "only how it is trained can be changed")]
    options += [(f"--preset {settings.preset}", of_preset, "leave --preset out")]
    for option, fields, advice in options:
        for name, value in ((name, value) for name, value in fields.items() if name in architecture):
            expected = getattr(start.config, name)
            if value != expected:
                raise InputError(
                    f"{option}: the network is that of {start.path}: expected {name}={expected}, "
                    f"found {value}; {advice}"
                )


def check_features(start: Start, feature_size: int) -> None:
    """Refuse perturbation features that the checkpoint's network was not made for.

    Raises:
        InputError: If there are none, some where none are read, or vectors of another width.
    """
    expected = start.config.feature_size
    if feature_size != expected:
        described = [f"{width} numbers a perturbation" if width else "none" for width in (expected, feature_size)]
        raise InputError(
            f"--perturbation-features: expected what {start.path} was trained with, {described[0]}; "
            f"found {described[1]}"
        )


def compare(settings: TrainSettings, start: Start, config: ScaleModelConfig, *, card: DataCard) -> Matches:
    """Match genes and labels by name.

    Raises:
        InputError: If no gene is shared, expression is on another scale, or frozen weights would have to learn labels.
    """
    matches = match(start.card, start.config, card, new_config=config)
    if not matches.genes.known:
        raise InputError(
            f"{settings.store}: genes are matched by name, and none of its {len(card.genes)} ({card.genes[0]}, ...) "
            "is "
            f"among the {len(start.card.genes)} of {start.path} ({start.card.genes[0]}, ...)"
        )
    expected, found = start.card.scale.target_sum, card.scale.target_sum
    if expected != found:
        raise InputError(
            f"{settings.store}: expected cells scaled to a library size of {expected:g} as {start.path} was "
            "trained on, "
            f"found {found:g}; prepare it with --target-sum {expected:g}"
        )
    new = [*matches.cell_types.added, *matches.agents.added, *matches.batches.added, *matches.added_covariates]
    if "conditions" in settings.freeze and new:
        raise InputError(
            f"--freeze conditions: {settings.store} has {len(new)} labels that {start.path} does not know "
            f"({some(new, most=5)}), and what is frozen cannot learn them"
        )
    return matches


def report(settings: TrainSettings, start: Start, matches: Matches) -> str:
    """Return what the new run begins with, for a person."""
    kinds = {
        "genes": matches.genes,
        "cell types": matches.cell_types,
        "perturbations": matches.agents,
        "batches": matches.batches,
        **{f"covariate {number + 1}": each for number, (_, each) in enumerate(matches.covariates)},
    }
    lines = [f"starts from {start.path}", *(f"  {name:<14}{_counts(each)}" for name, each in kinds.items())]
    if matches.genes.added:
        lines.append(_fate_of_new_genes(settings, start))
    lines.append(f"  frozen        {', '.join(settings.freeze) or 'nothing'}")
    if settings.lora:
        lines.append(f"  adapters      of rank {settings.lora} on the linear maps of all blocks that are not frozen")
    trained_on = start.config.set_size
    if settings.set_size != trained_on:
        lines.append(f"  note: sets of {settings.set_size} cells, the checkpoint was trained on {trained_on}")
    if settings.sets != start.config.sets:
        lines.append(f"  note: --sets {settings.sets}, the checkpoint was trained with {start.config.sets}")
    return "\n".join(lines) + "\n"


def _counts(each: Match) -> str:
    added = f"{len(each.added)} new" + (f" ({some(each.added, most=5)})" if each.added else "")
    return f"{len(each.known)} copied, {added}, {len(each.left_out)} of the checkpoint left out"


def _fate_of_new_genes(settings: TrainSettings, start: Start) -> str:
    inherited = {"decoder_bias": start.config.decoder_bias}
    bias = {**inherited, **PRESETS[settings.preset].fields, **settings.overrides}["decoder_bias"]
    value = "their training mean" if bias == "mean" else "zero"
    read = "are never read (frozen encoder)" if "encoder" in settings.freeze else "start with zero encoder weights"
    written = (
        f"are always predicted at {value} (frozen decoder)"
        if "decoder" in settings.freeze
        else f"are first predicted at {value}"
    )
    return f"  new genes {read} and {written}"
