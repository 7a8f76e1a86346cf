# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from bionemo.scale.notebook.refusals import in_python, names_arguments
from bionemo.scale.types import InputError


PREPARE = "data.prepare.settings.PrepareSettings"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("--hvg must be at least 0", "num_hvg must be at least 0"),
        ("s: exists already; give --overwrite", "s: exists already; give overwrite=True"),
        ("--cell-type-key must be the name of a column", "keys.cell_type must be the name of a column"),
        ("--control: expected a label", "controls: expected a label"),
        ("bionemo-scale-infer --output pseudobulk", "bionemo-scale-infer --output pseudobulk"),
        ("a--hvg.h5ad: no file", "a--hvg.h5ad: no file"),
    ],
)
def test_arguments_stand_for_options(line, found):
    assert in_python(line, PREPARE) == found


def test_a_function_refuses_in_the_words_of_python():
    @names_arguments(PREPARE)
    def refuse(number: int) -> None:
        """Refuse."""
        raise InputError(f"--workers must be at least 1, found {number}")

    with pytest.raises(InputError, match="^workers must be at least 1, found 0"):
        refuse(0)
    assert refuse.__doc__ == "Refuse."
