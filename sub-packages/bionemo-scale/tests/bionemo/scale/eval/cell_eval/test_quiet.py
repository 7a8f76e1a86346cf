# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import logging
import sys
import warnings

import pytest

from bionemo.scale.eval.cell_eval.quiet import quiet


def test_swallows_prints_logs_and_warnings(capfd):
    with quiet():
        print("out")
        print("err", file=sys.stderr)
        logging.getLogger("pdex").warning("log")
        warnings.warn("warning", stacklevel=1)
    assert capfd.readouterr() == ("", "")


def test_undoes_what_an_import_does_to_the_root_logger():
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    with quiet():
        logging.basicConfig(level=logging.DEBUG, force=True)
    assert (list(root.handlers), root.level) == before
    assert logging.getLogger("pdex").level == logging.NOTSET


def test_lets_exceptions_pass():
    with pytest.raises(KeyError), quiet():
        raise KeyError("x")
