# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The scores that a model card may show: of this checkpoint, on the split that it was kept from."""

from dataclasses import dataclass
from pathlib import Path

from bionemo.scale.eval.page.provenance import file_notes
from bionemo.scale.eval.page.sources import ScoreFiles, cell_files, find_scores, score_folder
from bionemo.scale.export.settings import ExportSettings
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.types import DataCard, InputError


@dataclass(frozen=True, kw_only=True)
class OwnScores:
    """Scores with the row that is this model's."""

    files: ScoreFiles
    model: str
    """Its name in the tables."""


def own_scores(settings: ExportSettings, checkpoint: Path, card: DataCard) -> tuple[OwnScores | None, str]:
    """Return the scores of a checkpoint, or ``None`` and why there are none.

    Args:
        settings: Where the user says that they are.
        checkpoint: What is exported.
        card: Its data card.

    Raises:
        InputError: The scores that the user names cannot be read, or are of another split or model.
    """
    if settings.scores is None and score_folder(settings.run, None) is None:
        return None, "the run was not scored, and the model card says so"
    scores = find_scores(settings.run, settings.scores)
    # Beside a run there may be the scores of another.
    is_of_run = settings.scores is not None or scores.path.resolve().is_relative_to(settings.run.resolve())
    try:
        return OwnScores(files=scores, model=_own_model(scores, checkpoint, card, is_of_run=is_of_run)), ""
    except InputError as error:
        if settings.scores is not None:
            raise
        return None, f"{error}; the model card has no scores"


def _own_model(scores: ScoreFiles, checkpoint: Path, card: DataCard, *, is_of_run: bool) -> str:
    """Return the name of the model whose predictions say that this checkpoint made them.

    Raises:
        InputError: There is none, or the split is another.
    """
    store = scores.summary.inputs.store
    if store is None or store.split_sha256 != card.split_sha256:
        found = None if store is None else store.split_sha256
        raise InputError(
            f"{scores.path}: expected scores on the run's split {_short(card.split_sha256)}, found {_short(found)}"
        )
    names, cells = scores.summary.names.models, cell_files(scores, pred=None, real=None, target_sum=None)
    if cells is None and len(names) == 1 and is_of_run:
        # Nothing is left that could say otherwise, and the split is the same.
        return names[0]
    for name, path in ({} if cells is None else cells.pred).items():
        if _is_same(Path(file_notes(path).get("checkpoint", "")), checkpoint):
            return name
    raise InputError(
        f"{scores.path}: expected predictions by {checkpoint.name} among {', '.join(names)}, found none that says so"
    )


def _is_same(noted: Path, checkpoint: Path) -> bool:
    """Whether a noted checkpoint is this one, which may have moved since; names alone may be those of several runs."""
    if noted.name != checkpoint.name:
        return False
    return not noted.is_dir() or noted.samefile(checkpoint) or hash_file(noted) == hash_file(checkpoint)


def _short(digest: str | None) -> str:
    return "none" if digest is None else f"{digest[:12]}..."
