# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which checkpoints a run keeps (the last, and the best or the newest), and from which it goes on."""

import re
from pathlib import Path

from nemo.lightning import AutoResume
from nemo.lightning.pytorch.callbacks import ModelCheckpoint

from bionemo.scale.model.checkpoint import newest_whole
from bionemo.scale.train.settings import TrainSettings


class KeptCheckpoints(ModelCheckpoint):
    """NeMo's checkpoints, which a run that goes on counts rightly.

    NeMo looks for the monitored value in the whole path, where a folder may be called as the value is, and cannot go
    on at all where nothing is monitored.
    """

    def nemo_topk_check_previous_run(self) -> None:
        """Take up the checkpoints that an earlier start of the run has kept, and remove those that are too many."""
        losses: dict[str, float] = {}
        for path in map(str, self._saved_checkpoint_paths):
            value = re.search(rf"(?:^|-){self.monitor}=(-?[\d.]+)", Path(path).name)
            if value and not path.endswith("-last"):
                losses[path] = float(value.group(1).rstrip("."))
        order = sorted(losses, key=lambda path: losses[path], reverse=self.mode == "max")
        for path in order[self.save_top_k :]:
            self._del_model_without_trainer(path)
        self.best_k_models = {path: losses[path] for path in order[: self.save_top_k]}
        if self.best_k_models:
            self.best_model_path, self.kth_best_model_path = (
                next(iter(self.best_k_models)),
                list(self.best_k_models)[-1],
            )
            self.best_model_score = losses[self.best_model_path]


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
    newest = bool(settings.keep_last) or not has_validation
    return KeptCheckpoints(
        dirpath=str(settings.out / "checkpoints"),
        filename="{step}" + ("-{val_loss:.4f}" if has_validation else ""),
        monitor="step" if newest else "val_loss",
        mode="max" if newest else "min",
        save_top_k=settings.keep_last or settings.keep_best,
        save_last=True,
        # With validation, save after it: before it the monitored value is that of the validation before.
        every_n_train_steps=None if has_validation else min(settings.val_interval, settings.max_steps),
        # Without it the last checkpoint of a finished run has no optimizer state, and a longer run cannot continue it.
        save_optim_on_train_end=True,
        always_save_context=True,
        auto_insert_metric_name=True,
        verbose=False,
    )
