# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from bionemo.scale.export.settings import ExportSettings
from bionemo.scale.types import InputError


def test_the_name_is_that_of_the_folder():
    assert ExportSettings.make(run="run", out="models/kang").title == "kang"
    assert ExportSettings.make(run="run", out="models/kang", name="Kang 2018").title == "Kang 2018"


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("name", "two\nlines", "--name must be one line of text"),
        ("data_license", "a\x00", "--data-license must be one line of text"),
        ("license", "Apache 2", "--license: expected an identifier of the Hugging Face hub"),
        ("format", "onnx", "--format must be one of safetensors, megatron"),
    ],
)
def test_what_a_card_cannot_hold_is_refused(field, text, said):
    with pytest.raises(InputError, match=said):
        ExportSettings.make(run="run", out="out", **{field: text})
