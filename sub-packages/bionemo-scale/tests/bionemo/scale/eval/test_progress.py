# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import io
import sys
import time
from contextlib import redirect_stderr

from bionemo.scale.eval.progress import ScoringProgress


def test_a_line_before_the_first_score_and_one_for_each():
    stream = io.StringIO()
    with ScoringProgress(stream) as progress:
        progress.start(2)
        progress.step("NK / mine")
        progress.step("NK / control")
    first, *scores = stream.getvalue().splitlines()
    assert first.startswith("scoring 2 times")
    assert [line.split(" (")[0] for line in scores] == ["scored 1/2", "scored 2/2"]
    assert scores[1].endswith("0 s left): NK / control")


def test_whatever_takes_long_is_said_also_while_streams_are_redirected():
    stream = io.StringIO()
    with redirect_stderr(stream):
        progress = ScoringProgress(silence=0.02)
    with progress, redirect_stderr(io.StringIO()):
        progress.stage("reading real.h5ad")
        time.sleep(0.15)
    lines = stream.getvalue().splitlines()
    assert len(lines) >= 2 and set(lines) == {"reading real.h5ad: 0 s"}


def test_short_work_says_nothing():
    stream = io.StringIO()
    with ScoringProgress(stream) as progress:
        progress.stage("reading real.h5ad")
    assert stream.getvalue() == ""
    assert sys.stderr is not stream
