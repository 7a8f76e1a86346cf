# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""STATE's experiment files: our split of every cell is the one that cell-load made, kept in ``state/``."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bionemo.scale.data.store.reader import Store
from bionemo.scale.run.prepare import main
from bionemo.scale.types import Split


STATE = Path(__file__).parent / "state"


@pytest.fixture
def store(tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(STATE, folder)
    arguments = ["--from-state", str(folder / "experiment.toml"), "--gene-key", "gene_name", "--hvg", "0"]
    assert main([*arguments, "--out", str(tmp_path / "store")]) == 0
    printed = capsys.readouterr().err
    assert "1 perturbations are in val and test, 'p3' first: test" in printed
    assert "the split has names that the data does not have, the first: dataset 'lines' has no cell type" in printed
    return Store.open(tmp_path / "store")


def test_every_cell_is_where_cell_load_puts_it(store):
    golden = json.loads((STATE / "assignment.json").read_text())["splits"]
    assert len(golden) > 250 and {tuple(splits) for splits in golden.values()} >= {("train",), ("val",), ("test",), ()}
    groups = store.groups
    found = {}
    for split in Split:
        for group in groups.perturbed_in(split).tolist():
            found.update(dict.fromkeys(store.obs(groups.rows(group))["cell"], split.value))
    # A store has one split for a cell; of two, the test, which is said.
    expected = {name: "test" if len(splits) == 2 else splits[0] for name, splits in golden.items() if splits}
    assert found == expected


def test_controls_of_every_used_cell_type_are_there(store):
    """Held-out ones too, as cell-load adds them to the training cells."""
    groups = store.groups
    used = {groups.label(index)[:2] for index in np.flatnonzero(~groups.is_control)}
    assert used == {groups.label(index)[:2] for index in np.flatnonzero(groups.is_control)}
    assert ("spare", "C") in used and ("spare", "E") not in used and ("lines", "M") not in used
    assert (store.card.keys.perturbation, store.card.keys.batch, store.card.control) == (
        "gene",
        "gem_group",
        "non-targeting",
    )
    assert store.card.genes == tuple(f"g{number}" for number in range(8))
