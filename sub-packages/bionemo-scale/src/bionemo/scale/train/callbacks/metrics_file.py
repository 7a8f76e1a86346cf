# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""metrics.csv: one row a logged step or validation, kept consistent over interruptions."""

import csv
from collections.abc import Mapping
from pathlib import Path

from bionemo.scale.files.writing.atomic import atomic
from bionemo.scale.train.objective import TERMS


SPEED = ("cells_per_second", "steps_per_second", "filler_share", "wait_share")
"""Of the steps since the row before, validation aside: cells that sets are made of, fillers left out; optimizer steps;
the fillers' share of all rows; the share of the time in which the process waited for data."""
COLUMNS = ("step", *TERMS, *(f"val_{name}" for name in TERMS), "learning_rate", "grad_norm", *SPEED)


class MetricsFile:
    """Appends rows; a run that resumes at step s first drops what an interrupted run wrote beyond s."""

    def __init__(self, path: Path):
        self.path = path

    def open_at(self, step: int) -> None:
        """Keep the whole rows up to and including a step, and write the header of a new file.

        A process that was killed may have left half a row.
        """
        rows = [row for row in self.rows() if None not in row.values() and int(row["step"]) <= step]
        with atomic(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)

    def rows(self) -> list[dict[str, str]]:
        """Return all rows, as text."""
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            return list(csv.DictReader(file))

    def append(self, row: Mapping[str, int | float]) -> None:
        """Write one row; columns it does not name stay empty."""
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS, restval="").writerow({name: _text(value) for name, value in row.items()})


def _text(value: int | float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"
