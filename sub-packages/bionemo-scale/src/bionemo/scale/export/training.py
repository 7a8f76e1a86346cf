# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What an export says of the training: for its card, and for who fine-tunes it. Nothing of the exporter's machine."""

from pathlib import Path
from typing import Any

from bionemo.scale.eval.page.sources import RunFiles, data_sets, find_run
from bionemo.scale.model.checkpoint import run_folder
from bionemo.scale.model.export.folder import is_export, read_training


SETTINGS = ("size", "preset", "max_steps", "seed", "set_size", "sets")
"""Those that an export names."""


def training_of(checkpoint: Path) -> dict[str, Any]:
    """Return the settings of a run by name, its data sets and the cells of its split; empty without a run folder.

    Raises:
        InputError: The run's files cannot be read.
    """
    if is_export(checkpoint):
        return read_training(checkpoint)
    run = find_run(run_folder(checkpoint))
    if run is None:
        return {}
    asked = run.config["run"]
    found = {name: asked[name] for name in SETTINGS if asked.get(name) is not None}
    size = _size_of_start(run)
    found |= {} if size is None else {"size": size}
    if named := data_sets(run):
        found["data_sets"] = named
    return found if run.split is None else {**found, "split": run.split["counts"]}


def _size_of_start(run: RunFiles) -> str | None:
    """Return the size of the network, which a fine-tuned run has of the run that it started from."""
    asked, seen = run.config["run"], {run.path.resolve()}
    while asked.get("size") is None and asked.get("from_checkpoint"):
        start = Path(asked["from_checkpoint"])
        if is_export(start):
            return read_training(start).get("size")
        start = start if (start / "config.yaml").is_file() else start.parent.parent
        if start.resolve() in seen or not start.is_dir() or (before := find_run(start)) is None:
            return None
        seen.add(start.resolve())
        asked = before.config["run"]
    size = asked.get("size")
    return None if size is None else str(size)
