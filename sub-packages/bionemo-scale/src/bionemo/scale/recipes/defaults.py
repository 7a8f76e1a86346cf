# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a run of a size does by default, and on what hardware: one table for the command, the API and the recipes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bionemo.scale.files.text import read_yaml
from bionemo.scale.model.export.folder import is_export, read_training
from bionemo.scale.options.parser import Others
from bionemo.scale.train.presets import PRESETS
from bionemo.scale.train.settings import BEFORE, TrainSettings
from bionemo.scale.types import InputError


@dataclass(frozen=True, kw_only=True)
class SizeDefaults:
    """Settings of a size where they are not those of :class:`TrainSettings`, and what it takes to run it."""

    settings: dict[str, Any] = field(default_factory=dict)
    needs: str
    """Hardware, expected duration and memory, for documentation; "measured" or "estimate"."""


DEFAULTS: dict[str, SizeDefaults] = {
    "tiny": SizeDefaults(
        settings=dict(max_steps=100, set_size=16, val_interval=50),
        needs="one CPU core, 1 GB of memory, under a minute; a test, not a model",
    ),
    "small": SizeDefaults(needs="two CPU cores, 1.2 GB of memory, three minutes for 400 steps (measured)"),
    "base": SizeDefaults(
        settings=dict(max_steps=20_000, set_size=64, micro_batch_size=16, lr=3e-4, warmup_steps=500, val_interval=1000,
                      log_interval=50, num_workers=4, precision="bf16"),
        needs="one GPU of 24 GB or more, hours (estimate: not run on one)",
    ),
    "184m": SizeDefaults(
        settings=dict(max_steps=100_000, set_size=128, micro_batch_size=16, lr=2e-4, warmup_steps=1000,
                      val_interval=2000, log_interval=50, num_workers=8, devices=8, precision="bf16"),
        needs="one node of 8 GPUs of 80 GB, a day (estimate: not run on one)",
    ),
    "280m": SizeDefaults(
        settings=dict(max_steps=100_000, set_size=128, micro_batch_size=16, lr=2e-4, warmup_steps=1000,
                      val_interval=2000, log_interval=50, num_workers=8, devices=8, precision="bf16"),
        needs="one node of 8 GPUs of 80 GB, a day or two (estimate: not run on one)",
    ),
}  # fmt: skip
"""By name of the size; a size without an entry takes every default of :class:`TrainSettings`."""


OTHERS: Others = {
    TrainSettings: {
        "--size": {name: entry.settings for name, entry in DEFAULTS.items()},
        "--preset": {name: entry.settings for name, entry in PRESETS.items()},
    }
}
"""Which defaults of a training go with a size or a preset, for help."""


def size_defaults(size: str | None) -> SizeDefaults:
    """Return the defaults of a size."""
    return DEFAULTS.get(size or "", SizeDefaults(needs="not measured"))


def train_settings(size: str | None, *, store: Path, out: Path, **chosen: Any) -> TrainSettings:
    """Return a run's settings: those chosen, of the preset, of the size, of :class:`TrainSettings`, in this order.

    Args:
        size: Name of the size; ``None`` is that of the checkpoint the run starts from, or small.
        store: The store.
        out: Run folder.
        chosen: Other fields of :class:`TrainSettings`.

    Raises:
        InputError: A value is not possible.
    """
    start = chosen.get("from_checkpoint")
    if size is None and start is None:
        size = TrainSettings.size
    # A run that goes on knows better than the one it started from, which may have moved.
    places = [out] if start is None else [out, Path(start)]
    known = size_defaults(size).settings if size else next(filter(None, map(_settings_of_run, places)), {})
    named = TrainSettings.checked(preset=chosen.get("preset", TrainSettings.preset))
    sets = _sets_of_run(out) or ({} if start is None else _sets_of_start(Path(start)))
    return TrainSettings.make(
        store=store, out=out, size=size, **{**known, **PRESETS[named["preset"]].settings, **sets, **chosen}
    )


def preset_held(preset: str, settings: Mapping[str, Any], network: Mapping[str, Any] | None) -> str | None:
    """Return the preset whose values are held beside the name of another one, ``None`` where they go together.

    A recipe holds what its preset decides, and would keep it under another name.

    Args:
        preset: The name.
        settings: Fields of :class:`TrainSettings` that are held.
        network: Fields of the network that are held; ``None`` looks at the settings alone.
    """
    if preset not in PRESETS:
        return None
    own = PRESETS[preset]
    for name, other in PRESETS.items():
        decided = {key: getattr(TrainSettings, key) for key in own.settings} | dict(other.settings)
        of_network = network is None or (
            all(key in network and network[key] != value for key, value in own.fields.items())
            and _holds(network, other.fields)
        )
        if name != preset and of_network and _holds(settings, decided):
            return name
    return None


def _holds(held: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(key in held and held[key] == value for key, value in values.items())


def _settings_of_run(path: Path) -> dict[str, Any]:
    """Return the defaults of the size that a run has, and the set size it was trained on, where its folder says so."""
    if is_export(path):
        training = read_training(path)
        own = {name: training[name] for name in ("set_size",) if name in training}
        return {**size_defaults(training.get("size")).settings, **own}
    file = _config_in(*_folders_of_run(path))
    if file is None:
        return {}
    run = read_yaml(file).get("run")
    if not isinstance(run, dict) or not {"size", "set_size"} <= run.keys():
        raise InputError(f"{file}: expected the settings of a run, found none")
    defaults = size_defaults(run["size"]).settings if run["size"] else _settings_of_run(Path(run["from_checkpoint"]))
    return {**defaults, "set_size": run["set_size"]}


def _sets_of_run(out: Path) -> dict[str, Any]:
    """Return how a run that is there forms its sets, which it keeps; of an earlier version as those did."""
    file = _config_in(out)
    run = None if file is None else read_yaml(file).get("run")
    return {name: run.get(name, before) for name, before in BEFORE.items()} if isinstance(run, dict) else {}


def _sets_of_start(path: Path) -> dict[str, Any]:
    """Return the kind of sets of a run that another one starts from, which that one keeps."""
    if is_export(path):
        return {"sets": read_training(path).get("sets", BEFORE["sets"])}
    found = next(filter(None, map(_sets_of_run, _folders_of_run(path))), None)
    return {} if found is None else {"sets": found["sets"]}


def _folders_of_run(path: Path) -> tuple[Path, Path]:
    """Return where a run's files are, if a path is a run folder or one of its checkpoints."""
    return path, path.parent.parent


def _config_in(*folders: Path) -> Path | None:
    return next((file for folder in folders if (file := folder / "config.yaml").is_file()), None)
