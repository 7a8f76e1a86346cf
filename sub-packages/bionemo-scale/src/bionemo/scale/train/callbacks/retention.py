# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""NeMo's part in which checkpoints a run keeps, and from which it goes on."""

from pathlib import Path
from typing import Any

from nemo.lightning import AutoResume
from nemo.lightning.ckpt_utils import ckpt_to_dir
from nemo.lightning.pytorch.callbacks import ModelCheckpoint

from bionemo.scale.model.checkpoint import mark_of, newest_whole
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.train.setup.kept import Kept, kept_by


class KeptCheckpoints(ModelCheckpoint):
    """NeMo's checkpoints, which a run that goes on counts rightly.

    NeMo looks for the monitored value in the whole path, where a folder may be called as the value is, and cannot go
    on at all where nothing is monitored.
    """

    async_save: bool

    def nemo_topk_check_previous_run(self) -> None:
        """Take up the checkpoints that an earlier start of the run has kept, and remove those that are too many."""
        kept = Kept(monitor=self.monitor, mode=self.mode, count=self.save_top_k)
        losses = kept.ranked(self._saved_checkpoint_paths)
        order = list(losses)
        for path in kept.surplus(self._saved_checkpoint_paths):
            self._del_model_without_trainer(str(path))
        self.best_k_models = {str(path): losses[path] for path in order[: kept.count]}
        if self.best_k_models:
            self.best_model_path, self.kth_best_model_path = (
                next(iter(self.best_k_models)),
                list(self.best_k_models)[-1],
            )
            self.best_model_score = self.best_k_models[self.best_model_path]

    def _should_remove_checkpoint(self, trainer: Any, previous: str, current: str) -> bool:
        """Treat the checkpoint that a run went on from as any other, which Lightning would keep for good."""
        return previous != current and Path(self.dirpath).absolute() in Path(previous).absolute().parents

    def _remove_checkpoint(self, trainer: Any, filepath: str, override_async: bool = False) -> None:
        """Remove a checkpoint before going on, and leave it marked as unfinished where something of it stays.

        NeMo takes away the mark also where removing fails, and, if checkpoints are written in the background, before
        the thread that removes has ended. What stayed would be half a checkpoint that looks like a whole one.
        """
        is_put_off = self.async_save and not override_async
        saves_in_background, self.async_save = self.async_save, is_put_off
        try:
            super()._remove_checkpoint(trainer, filepath)
        finally:
            self.async_save = saves_in_background
        folder = Path(ckpt_to_dir(filepath))
        if not is_put_off and trainer.is_global_zero and folder.exists():
            mark_of(folder).touch()


class ResumeFromNewest(AutoResume):
    """Goes on from the newest checkpoint that is whole.

    NeMo looks at those called last alone, and refuses to go on where none of them is whole: after a kill while the
    first was written.
    """

    def _find_trainer_ckpt_path(self) -> Path | None:
        return newest_whole(Path(self.resume_from_directory))


def resuming(settings: TrainSettings) -> ResumeFromNewest:
    """Return what looks for a checkpoint of an earlier start of the run."""
    return ResumeFromNewest(resume_if_exists=True, resume_from_directory=str(settings.out / "checkpoints"))


def checkpointing(settings: TrainSettings, *, has_validation: bool) -> KeptCheckpoints:
    """Return what saves the checkpoints of a run.

    Args:
        settings: The run.
        has_validation: Whether there is a validation loss; without one the newest are kept.
    """
    kept = kept_by(settings, has_validation=has_validation)
    return KeptCheckpoints(
        dirpath=str(settings.out / "checkpoints"),
        filename="{step}" + ("-{val_loss:.4f}" if has_validation else ""),
        monitor=kept.monitor,
        mode=kept.mode,
        save_top_k=kept.count,
        save_last=True,
        # With validation, save after it: before it the monitored value is that of the validation before.
        every_n_train_steps=None if has_validation else min(settings.val_interval, settings.max_steps),
        # Without it the last checkpoint of a finished run has no optimizer state, and a longer run cannot continue it.
        save_optim_on_train_end=True,
        always_save_context=True,
        auto_insert_metric_name=True,
        verbose=False,
    )
