# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path

import pytest

from bionemo.scale.train.callbacks.metrics_file import COLUMNS, MetricsFile
from bionemo.scale.train.objective import TERMS


@pytest.fixture
def file(tmp_path: Path) -> MetricsFile:
    return MetricsFile(tmp_path / "metrics.csv")


def steps(file: MetricsFile) -> list[int]:
    return [int(row["step"]) for row in file.rows()]


def test_columns_are_all_terms_of_training_and_validation():
    assert COLUMNS[0] == "step" and len(set(COLUMNS)) == len(COLUMNS)
    assert {*TERMS, *(f"val_{name}" for name in TERMS)} < set(COLUMNS)


def test_a_new_file_has_a_header_and_no_rows(file):
    assert file.rows() == []
    file.open_at(0)
    assert file.rows() == []
    assert file.path.read_text().strip() == ",".join(COLUMNS)


def test_rows_come_back_and_what_is_not_named_stays_empty(file):
    file.open_at(0)
    file.append({"step": 10, "loss": 0.123456789, "cells_per_second": 1234.5})
    file.append({"step": 10, "val_loss": math.nan})
    first, second = file.rows()
    assert (first["step"], first["loss"], first["cells_per_second"]) == ("10", "0.123457", "1234.5")
    assert first["val_loss"] == "" and second["loss"] == "" and second["val_loss"] == "nan"


def test_an_unknown_column_is_an_error(file):
    file.open_at(0)
    with pytest.raises(ValueError, match="accuracy"):
        file.append({"step": 1, "accuracy": 1.0})


def test_resuming_drops_what_was_written_after_the_checkpoint(file):
    file.open_at(0)
    for step in (10, 20, 30, 40):
        file.append({"step": step, "loss": step / 10})
    file.append({"step": 40, "val_loss": 1.0})
    before = file.path.read_text().splitlines()
    MetricsFile(file.path).open_at(20)
    assert file.path.read_text().splitlines() == before[:3]
    file.append({"step": 30, "loss": 9.0})
    assert steps(file) == [10, 20, 30] and file.rows()[-1]["loss"] == "9"
    assert [path.name for path in file.path.parent.iterdir()] == ["metrics.csv"]


def test_resuming_at_the_end_keeps_everything(file):
    file.open_at(0)
    file.append({"step": 10, "loss": 1.0})
    file.append({"step": 10, "val_loss": 2.0})
    file.open_at(10)
    assert steps(file) == [10, 10]
    file.open_at(0)
    assert steps(file) == []


def test_a_row_that_was_cut_off_by_a_kill_is_dropped(file):
    """A killed process leaves half a line; the run must still resume."""
    file.open_at(0)
    file.append({"step": 10, "loss": 1.0})
    with file.path.open("a") as handle:
        handle.write("2")
    MetricsFile(file.path).open_at(10)
    assert [row["loss"] for row in file.rows()] == ["1"]
