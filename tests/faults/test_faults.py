# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What docs/reliability.md promises: damaged input is refused in one line, and what was stopped goes on."""

import json
import os
from pathlib import Path

import pytest

from bionemo.scale.run.main import COMMANDS


pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
CASES = int(os.environ.get("BIONEMO_SCALE_FAULT_CASES", "1000"))
PAIRS, TRAININGS = 1, 2
STOPS = int(os.environ.get("BIONEMO_SCALE_FAULT_STOPS", "3"))


def test_damaged_inputs_are_refused_or_make_no_difference(script, tmp_path: Path):
    figures = tmp_path / "figures.json"
    done = script("campaign", "--cases", CASES, "--figures", figures)
    assert figures.exists(), done.stderr[-2000:]
    found = json.loads(figures.read_text())
    assert found["faults"] == []
    assert found["total"]["tried"] >= 0.99 * CASES
    # In the library that reads HDF5, which docs/reliability.md tells of: one family makes it so.
    assert found["families"]["h5ad, a heap without an end"]["endless"] >= 1
    assert found["total"]["endless"] <= 0.01 * CASES
    assert set(COMMANDS) <= set(found["commands"]["inputs"]) and set(COMMANDS) <= set(found["commands"]["options"])
    # A generator that damages nothing, or an oracle that lets all pass, would be no test.
    assert found["total"]["refused"] > 0.5 * CASES and found["total"]["equal"] > 0.1 * CASES


def test_commands_that_are_stopped_go_on_and_of_two_one_is_refused(script):
    done = script("stops", "--kills", STOPS, "--full", STOPS, "--disks", STOPS, "--pairs", PAIRS)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    figures = json.loads(done.stdout)["figures"]
    assert set(COMMANDS) - {"train"} <= set(figures)
    assert all(each["killed"] and each["pairs"] for each in figures.values())


def test_a_training_that_is_killed_ends_bit_equal_and_reads_one_store(script):
    only = ("--only", "train", "--only", "composed")
    done = script("stops", *only, "--train", TRAININGS, "--full", 1, "--pairs", 1)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    figures = json.loads(done.stdout)["figures"]
    assert figures["train"]["killed"] == figures["composed"]["killed"] == TRAININGS
    assert figures["replaced"]["tried"] == 1


def test_a_terminated_command_leaves_nothing_outside_of_its_output(script):
    """Ends and refusals are seen by the campaign, in a folder of temporary files of each command."""
    commands = ("prepare", "infer", "evaluate", "report", "export", "rank", "features", "split")
    done = script("leftovers", "--how", "TERM", *(word for name in commands for word in ("--only", name)))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_memory_and_descriptors_stay_as_they_are(script):
    done = script("flat", "--evaluations", 12, "--predictions", 12, "--steps", 0)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
