# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which groups a run's first weights were trained on, as a file."""

import pytest

from bionemo.scale.files.earlier_groups import EARLIER_NAME, read_earlier, write_earlier
from bionemo.scale.types import Group, InputError


def test_groups_are_read_as_they_were_written(tmp_path):
    groups = {Group("d", "t", "p", "b"), Group("d", "t", "p+q", "b", ("6h", "x"))}
    assert read_earlier(tmp_path) == frozenset()
    write_earlier(tmp_path, groups)
    assert read_earlier(tmp_path) == groups


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"groups": 3}', '{"groups": [["d", "t", "p", []]]}', '{"groups": [["d", 1, "p", "b", []]]}'],
)
def test_a_damaged_file_is_refused(text, tmp_path):
    (tmp_path / EARLIER_NAME).write_text(text)
    with pytest.raises(InputError, match=f"{EARLIER_NAME}: "):
        read_earlier(tmp_path)
