# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Writes an exported model: everything that predicts, in one folder, whole or not at all."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from megatron.core import dist_checkpointing

from bionemo.scale.estimate.storage import ESTIMATE_NAME
from bionemo.scale.export.card import Exported, model_card
from bionemo.scale.export.scores import own_scores
from bionemo.scale.export.settings import ExportSettings
from bionemo.scale.export.training import training_of
from bionemo.scale.files.earlier_groups import EARLIER_NAME
from bionemo.scale.files.network_weight import WEIGHT_NAME, measured_weight
from bionemo.scale.files.writing.atomic import atomic
from bionemo.scale.files.writing.lock import only_writer
from bionemo.scale.megatron.layout import model_parallel
from bionemo.scale.model.checkpoint import (
    distributed_tensors,
    find_checkpoint,
    load_network,
    network_fields,
    read_config,
    run_folder,
)
from bionemo.scale.model.export.folder import (
    CARD_NAME,
    MEGATRON_NAME,
    README_NAME,
    TENSORS_NAME,
    is_export,
    write_config,
)
from bionemo.scale.model.export.tensors import write_tensors
from bionemo.scale.model.scale_model import ScaleModel
from bionemo.scale.options.outputs import check_not_inputs
from bionemo.scale.types import InputError


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What was written."""

    out: Path
    checkpoint: Path
    num_weights: int
    note: str
    """Why the card has no scores; empty where it has."""


def export(settings: ExportSettings) -> ExportSummary:
    """Write the network of a run that predicts, and all that a prediction reads beside it.

    Raises:
        InputError: There is no whole checkpoint, the scores are of another split, or the output is no export.
        OSError: It cannot be written.
    """
    _check_inputs(settings)
    with only_writer(settings.out):
        # Not before: another command may have just made it, or have been killed when it had.
        check_out(settings)
        return _export(settings)


def _export(settings: ExportSettings) -> ExportSummary:
    checkpoint = find_checkpoint(settings.run)
    config, card = read_config(checkpoint)
    training = training_of(checkpoint)
    scores, note = own_scores(settings, checkpoint, card)
    with model_parallel():
        model = load_network(config, checkpoint)
        num_weights = sum(value.numel() for value in model.parameters())
        described = Exported(
            settings=settings,
            config=config,
            card=card,
            num_weights=num_weights,
            training=training,
            scores=scores,
            weight=measured_weight(run_folder(checkpoint)),
        )
        with atomic(settings.out) as folder:
            folder.mkdir()
            _write_weights(model, folder, settings)
            _copy_estimate(run_folder(checkpoint), folder)
            (folder / CARD_NAME).write_text(card.to_json() + "\n", encoding="utf-8")
            (folder / README_NAME).write_text(model_card(described), encoding="utf-8")
            write_config(folder, network_fields(config), training)
    return ExportSummary(out=settings.out, checkpoint=checkpoint, num_weights=num_weights, note=note)


def _check_inputs(settings: ExportSettings) -> None:
    """Refuse to replace the run or its scores, or to write where it would become a part of one of them."""
    inputs = [path for path in (settings.run, settings.scores) if path is not None]
    check_not_inputs([settings.out], inputs)
    for path in inputs:
        if is_export(path) and settings.out.resolve().is_relative_to(path.resolve()):
            raise InputError(f"{settings.out}: would change the export {path}; choose another output")


def check_out(settings: ExportSettings) -> None:
    """Refuse to replace what is no export, or an export where that was not asked for.

    Raises:
        InputError: Naming the folder.
    """
    out = settings.out
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not settings.overwrite:
        raise InputError(f"{out}: exists already; choose another --out or give --overwrite")
    if not out.is_dir() or not is_export(out):
        raise InputError(f"{out}: --overwrite replaces an export, found something else there; choose another --out")


def _write_weights(model: ScaleModel, folder: Path, settings: ExportSettings) -> None:
    if settings.format == "safetensors":
        write_tensors(model, folder / TENSORS_NAME)
        return
    (folder / MEGATRON_NAME).mkdir()
    dist_checkpointing.save(distributed_tensors(model), str(folder / MEGATRON_NAME))


def _copy_estimate(run: Path, folder: Path) -> None:
    for name in (ESTIMATE_NAME, WEIGHT_NAME, EARLIER_NAME):
        if (run / name).is_file():
            shutil.copyfile(run / name, folder / name)
