# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import io
import sys

from bionemo.scale.notebook import bars
from bionemo.scale.progress import Progress


def test_counts_become_a_bar_and_other_lines_pass():
    screen = io.StringIO()
    stream = bars.BarStream(screen)
    progress = Progress(stream, seconds=0.0)
    print("size tiny", file=stream)
    progress.begin("step", 4)
    for _ in range(4):
        progress.add(1)
        progress.show("loss 2.5000, 31 cells/s")
    progress.begin("cells", 1200, unit="cells")
    progress.add(600)
    stream.write("no end")
    stream.end()
    text = screen.getvalue()
    assert text.startswith("size tiny\n") and text.endswith("no end")
    assert text.count("0/4") == 1 and "step: " in text and "4/4" in text and "loss 2.5000" in text
    assert "cells: " in text and "600/1200" in text and "step 1/4" not in text


def test_outside_of_a_notebook_lines_stay_lines():
    assert not bars.in_notebook()
    with bars.notebook_stream() as stream:
        assert stream is sys.stderr


def test_a_notebook_has_bars(monkeypatch):
    class ZMQInteractiveShell:
        pass

    class IPython:
        get_ipython = staticmethod(ZMQInteractiveShell)

    monkeypatch.setitem(sys.modules, "IPython", IPython)
    with bars.notebook_stream() as stream:
        assert isinstance(stream, bars.BarStream)
