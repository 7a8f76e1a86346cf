# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a run notes of the one that it starts from; with checkpoints it is tests/end_to_end/test_finetuning.py."""

import pytest

from bionemo.scale.files.earlier_groups import EARLIER_NAME
from bionemo.scale.train.finetune.start import note_earlier


@pytest.mark.parametrize("is_there", [True, False])
def test_a_run_continues_where_the_checkpoints_of_its_beginning_are_gone(is_there, tmp_path):
    out, start = tmp_path / "out", tmp_path / "start"
    out.mkdir()
    if is_there:
        start.mkdir()
    note_earlier(out, start)
    assert not (out / EARLIER_NAME).exists()
