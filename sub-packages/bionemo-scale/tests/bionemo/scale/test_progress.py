# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import io
import threading
import time

import pytest

from bionemo.scale.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def wait_for(stream: io.StringIO, line: str) -> None:
    deadline = time.monotonic() + 20
    while line not in stream.getvalue():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stream.truncate(0)


def test_lines_come_now_and_then():
    stream = io.StringIO()
    with Progress(stream, seconds=0.0) as progress:
        progress.begin("scan", 4000, unit="cells", done=1000)
        progress.add(500)
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("scan 1,500/4,000 cells (") and line.endswith(" s left)")


def test_nothing_is_written_between_two_lines_or_where_another_process_speaks():
    streams = [io.StringIO(), io.StringIO()]
    for stream, options in zip(streams, ({"seconds": 100.0}, {"seconds": 0.0, "shown": False}), strict=True):
        with Progress(stream, **options) as progress:
            progress.begin("predict", 10)
            progress.add(3)
    assert [stream.getvalue() for stream in streams] == ["", ""]


def test_what_takes_long_is_said_before_and_after_it_is_counted():
    stream, threads = io.StringIO(), threading.active_count()
    with Progress(stream, silence=0.05) as progress:
        for _ in range(2):
            progress.stage("loading the model")
            wait_for(stream, "loading the model: 0 s")
            progress.begin("predict", 10)
            progress.stage("predicting")
            wait_for(stream, "predicting: 0 s")
            progress.add(10)
            wait_for(stream, "finishing: 0 s")
    assert threading.active_count() == threads


def test_an_unknown_total_has_no_end():
    stream = io.StringIO()
    progress = Progress(stream)
    progress.begin("read")
    progress.add(7)
    progress.show("a.h5ad")
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("read 7 (") and line.endswith("/s): a.h5ad") and "left" not in line


@pytest.mark.parametrize("stages", [1, 2])
def test_a_terminal_has_a_line_for_each_piece_of_work(stages):
    stream = Terminal()
    with Progress(stream) as progress:
        for number in range(stages):
            progress.begin(f"stage {number}", 2)
            for _ in range(2):
                progress.add(1)
                progress.show()
    lines = stream.getvalue().split("\n")
    assert len(lines) == stages + 1 and lines[-1] == ""
    assert all(line.count("\r") == 2 for line in lines[:-1])
