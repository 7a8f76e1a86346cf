# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation says while it runs: a line per score, and one whenever it has been silent for a while."""

import math
from io import TextIOBase
from typing import TextIO

from bionemo.scale.progress import SILENCE, Progress


class ScoringProgress(Progress):
    """Progress of an evaluation, whose scores are few and take long."""

    def __init__(self, stream: TextIO | TextIOBase | None = None, *, silence: float = SILENCE):
        super().__init__(stream, seconds=math.inf, silence=silence)

    def start(self, total: int) -> None:
        """Say that ``total`` scores are to come."""
        self.begin("scored", total)
        self.stage(f"scoring 1/{total}")
        self.say(f"scoring {total} times: each model, baseline and ceiling in each cell type")

    def step(self, what: str) -> None:
        """Say that a score is there."""
        self.add(1)
        is_last = self._done == self._total
        self.stage("writing the results" if is_last else f"scoring {self._done + 1}/{self._total}")
        self.show(what, last=is_last)
