# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a run folder that say what the run is: config.yaml, split.json and tables.npz."""

import os
import shutil
from pathlib import Path
from typing import Any

import megatron.core.optimizer
import torch
import yaml

from bionemo.scale.estimate.features import AgentFeatures
from bionemo.scale.estimate.mixed_model import fit
from bionemo.scale.estimate.storage import ESTIMATE_NAME, save
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.files.text import read_yaml
from bionemo.scale.files.writing.atomic import atomic, write_text
from bionemo.scale.megatron.kernels import PRECISIONS
from bionemo.scale.megatron.roles import Role, names_of
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.train.settings import BEFORE, TrainSettings
from bionemo.scale.train.tables import TABLES_NAME, Perturbations, write_tables
from bionemo.scale.types import DataCard, GroupMeans, InputError


CONFIG_NAME = "config.yaml"


def description(
    settings: TrainSettings,
    config: ScaleModelConfig,
    *,
    identity: str,
    is_sharded: bool,
    held_out: str | None = None,
) -> dict[str, Any]:
    """Return what config.yaml says of a run.

    Args:
        settings: What its user decided.
        config: The network, its objective and its layout.
        identity: Of the store's content, wherever it is; see :attr:`bionemo.scale.data.store.reader.Store.identity`.
        is_sharded: See :func:`shards_optimizer`.
        held_out: Name of the training groups that the network is kept from, ``None`` for all other runs; see
            :meth:`bionemo.scale.data.store.reader.Store.hold_out`.
    """
    return {
        "run": settings.as_dict(),
        "model": _plain_fields(config),
        "store": identity,
        "optimizer": "sharded" if is_sharded else "whole",
        **({} if held_out is None else {"held_out": held_out}),
    }


def check_same_run(out: Path, described: dict[str, Any]) -> None:
    """Refuse a folder that holds another run: one may be continued further or on another layout, no more.

    Raises:
        InputError: With what is there and what was asked for.
    """
    path = out / CONFIG_NAME
    if not path.exists():
        return
    earlier = {"model": {}, "run": {}, **read_yaml(path)}
    _check_same_preset(path, earlier, described)
    may_differ = names_of(ScaleModelConfig, Role.LAYOUT)
    for name, value in described["model"].items():
        # A run of an earlier version says nothing of some fields.
        before = earlier["model"].get(name, value)
        if name not in may_differ and before != value:
            raise InputError(
                f"{path}: the run folder holds another run: expected {name}={before}, found {value}; "
                "choose another --out, or remove the folder"
            )
    # The optimizer of bfloat16 parameters keeps copies of them that the other does not have.
    before, value = (run.get("precision", "fp32") for run in (earlier["run"], described["run"]))
    if PRECISIONS[before].dtype is not PRECISIONS[value].dtype:
        raise InputError(f"{path}: the run folder holds another run: expected --precision {before}, found {value}")
    _check_same_store(path, earlier, described)
    parts = ("fold", "folds") if described["run"].get("blind") else ()
    for name in ("seed", "set_size", "sets", "share_controls", "blind", *parts, "from_checkpoint", "freeze", "lora"):
        # A run of an earlier version has no such entry.
        before, value = (run.get(name) or BEFORE.get(name) for run in (earlier["run"], described["run"]))
        if before != value:
            raise InputError(
                f"{path}: the run folder holds another run: expected --{name.replace('_', '-')} {before}, "
                f"found {value}; choose another --out, or remove the folder"
            )
    _check_same_held_out(path, earlier, described)


def _check_same_held_out(path: Path, earlier: dict[str, Any], described: dict[str, Any]) -> None:
    """Of two versions, a part of the same number may be other groups: the network would learn what it is kept from."""
    # A run of an earlier version did not note them.
    before, value = earlier.get("held_out", "not noted"), described.get("held_out", "not noted")
    if before != value:
        raise InputError(
            f"{path}: the run was begun by another version, for which --blind leaves out other training groups: "
            f"expected held_out {before}, found {value}; choose another --out, or remove the folder"
        )


def _check_same_preset(path: Path, earlier: dict[str, Any], described: dict[str, Any]) -> None:
    """Name the preset, rather than the first of many fields that differ with it."""
    # A run of an earlier version has no preset.
    before, value = (run.get("preset", TrainSettings.preset) for run in (earlier["run"], described["run"]))
    if before != value:
        raise InputError(
            f"{path}: the run folder holds another run: expected --preset {before}, found {value}; choose another "
            "--out, or remove the folder"
        )


def _check_same_store(path: Path, earlier: dict[str, Any], described: dict[str, Any]) -> None:
    """The content counts, so that a store can be moved or copied; runs of earlier versions noted its path alone."""
    store, before = described["run"]["store"], earlier["run"].get("store")
    if "store" not in earlier and store != before:
        raise InputError(
            f"{path}: the run folder holds another run: expected --store {before}, found {store}; choose "
            "another --out, "
            "or remove the folder"
        )
    if earlier.get("store", described["store"]) != described["store"]:
        raise InputError(
            f"{path}: the run folder holds a run on other data: expected the store that was {before} (manifest "
            f"{earlier['store'][:12]}), found {store} ({described['store'][:12]}); "
            "choose another --out, or remove the folder"
        )


def write_run_folder(
    settings: TrainSettings,
    described: dict[str, Any],
    card: DataCard,
    *,
    training: GroupMeans,
    perturbations: Perturbations,
) -> None:
    """Write config.yaml, tables.npz and split.json, on the first of all processes."""
    if os.environ.get("RANK", "0") != "0":
        # The first rank writes before it joins the others, so that they find everything when they build the model.
        return
    settings.out.mkdir(parents=True, exist_ok=True)
    path = settings.out / CONFIG_NAME
    write_text(path, yaml.safe_dump(described, sort_keys=True))
    write_tables(settings.out / TABLES_NAME, card, training, perturbations=perturbations)
    split = settings.store / "split.json"
    if split.exists():
        shutil.copyfile(split, settings.out / "split.json")


def write_estimate(
    out: Path, card: DataCard, training: GroupMeans, *, grammar: Grammar, features: AgentFeatures | None
) -> None:
    """Fit the classical estimate to the training data and write it, once.

    Args:
        out: Run folder.
        card: Of the training data.
        training: Its pseudobulks.
        grammar: How labels are read.
        features: Vectors of the agents of all labels, where there are any.
    """
    path = out / ESTIMATE_NAME
    if path.exists():
        return
    model = fit(training, control=card.control, parse=grammar.parse, features=features)
    if model is not None:
        with atomic(path) as temporary:
            save(model, temporary)


def shards_optimizer(run_dir: Path) -> bool:
    """Return whether data parallel ranks share a run's optimizer state: as it began, else where they can.

    Megatron's distributed optimizer needs a fused Adam, of Transformer Engine or Apex. Where Megatron has to take
    torch's, it saves a checkpoint and cannot load it: torch's Adam knows no step before its first one.

    Raises:
        InputError: The run began with shards, and this machine has no fused Adam.
    """
    path = run_dir / CONFIG_NAME
    before = read_yaml(path).get("optimizer", "whole") if path.exists() else None
    if before == "sharded" and not _has_fused_adam():
        raise InputError(
            f"{path}: the run's optimizer state is sharded, which needs a CUDA device and Transformer Engine, found "
            "none; --from-checkpoint begins a new run with its weights"
        )
    return _has_fused_adam() if before is None else before == "sharded"


def _has_fused_adam() -> bool:
    return torch.cuda.is_available() and megatron.core.optimizer.Adam is not torch.optim.AdamW


def _plain_fields(config: ScaleModelConfig) -> dict[str, Any]:
    values = {name: getattr(config, name) for name in sorted(names_of(ScaleModelConfig))}
    return {
        name: value if isinstance(value, int | float | str | bool) else str(value)
        for name, value in values.items()
        if not callable(value)
    }
