# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from bionemo.scale.data.prepare.preprocess import prepare
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.data.store.reader import Store
from bionemo.scale.infer.controls.control_cells import CellSource, read_controls
from bionemo.scale.infer.settings import GivenScale
from bionemo.scale.notebook.controls import read_notebook_controls
from bionemo.scale.types import DataCard, InputError, ObsKeys


@pytest.fixture
def timed(screen, tmp_path):
    """The small screen with times, its file, and the data card of its store."""
    screen.obs["time"] = np.where(np.arange(screen.n_obs) % 2, "6h", "24h")
    path = tmp_path / "screen.h5ad"
    screen.write_h5ad(path)
    prepare(PrepareSettings(inputs=(path,), out=tmp_path / "store", keys=ObsKeys(covariate="time"), num_hvg=0))
    with Store.open(tmp_path / "store") as store:
        return screen, path, store.card


def read(cells, card: DataCard, **options):
    return read_notebook_controls(cells, card, GivenScale(), matrix="X", gene_key=None, **options)


def test_an_object_is_read_as_its_file_is(timed):
    cells, path, card = timed
    found, expected = read(cells, card), read_controls(CellSource(path=path), card)
    np.testing.assert_array_equal(found.expression.toarray(), expected.expression.toarray())
    for name in ("cell_type", "batch", "names", "context"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()
    assert found.covariates[0].tolist() == expected.covariates[0].tolist()
    assert found.notes == expected.notes


def test_covariates_are_asked_for_by_the_name_of_the_argument_unless_they_are_stated(timed):
    cells, _, card = timed
    del cells.obs["time"]
    with pytest.raises(InputError, match=r"^adata: obs has no column 'time'"):
        read(cells, card)
    assert set(read(cells, card, stated=["time"]).covariates[0]) == {""}
