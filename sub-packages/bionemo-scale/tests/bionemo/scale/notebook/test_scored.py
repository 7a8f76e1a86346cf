# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from bionemo.scale.notebook.scored import labels_by_name, named_predictions
from bionemo.scale.types import FileLabels, InputError


def test_a_prediction_has_the_name_of_its_file():
    cells = ad.AnnData(np.eye(2, dtype=np.float32))
    assert named_predictions(Path("a/ours.h5ad")) == {"ours": Path("a/ours.h5ad")}
    assert list(named_predictions(cells)) == ["prediction"]
    assert named_predictions({"ours": "a.h5ad"}) == {"ours": "a.h5ad"}


def test_labels_are_of_all_or_by_name():
    own, default = FileLabels(control="DMSO"), FileLabels()
    assert labels_by_name(own, ["a", "b"], default) == {"a": own, "b": own}
    assert labels_by_name({"b": own}, ["a", "b"], default) == {"a": default, "b": own}
    with pytest.raises(InputError, match="pred_labels: no prediction 'ours'; did you mean 'our'"):
        labels_by_name({"ours": own}, ["our"], default)
