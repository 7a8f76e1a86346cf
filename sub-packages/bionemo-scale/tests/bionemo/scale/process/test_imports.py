# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a command imports is not searched for garbage; what others import is."""

import gc
import sys

import pytest

from bionemo.scale.process.imports import imports, keep_all
from bionemo.scale.run.inner import weigh


@pytest.fixture
def own_process(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/bionemo-scale-infer"])
    yield
    gc.unfreeze()


def test_a_command_does_not_search_what_it_imports(own_process):
    before = gc.get_freeze_count()
    with imports():
        assert not gc.isenabled()
        imported = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(imported)


def test_the_search_goes_on_where_an_import_fails(own_process):
    with pytest.raises(ImportError), imports():
        raise ImportError
    assert gc.isenabled()


def test_objects_of_a_notebook_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py"])
    before = gc.get_freeze_count()
    with imports():
        assert gc.isenabled()
    keep_all()
    assert gc.get_freeze_count() == before


def test_a_step_of_a_training_is_a_process_of_its_own(monkeypatch):
    monkeypatch.setattr(sys, "argv", [weigh.__file__])
    with imports():
        assert not gc.isenabled()
    gc.unfreeze()
