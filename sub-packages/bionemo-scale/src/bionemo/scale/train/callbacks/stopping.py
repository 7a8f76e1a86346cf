# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How a run ends before its last step."""


class TrainingStopped(RuntimeError):
    """Training cannot go on, for a reason that a user can act on."""


class TrainingInterrupted(TrainingStopped):
    """A signal asked training to stop before its last step; everything is saved, and the same command continues."""
