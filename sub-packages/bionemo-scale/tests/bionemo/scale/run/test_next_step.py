# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The command that is proposed at the end of another."""

from pathlib import Path

from bionemo.scale.run.next_step import next_step


def test_the_line_can_be_pasted_into_a_shell():
    line = next_step("infer", checkpoint=Path("my run"), out="PREDICTED", with_controls="x")
    assert line == "next      bionemo-scale-infer --checkpoint 'my run' --out PREDICTED --with-controls x"
