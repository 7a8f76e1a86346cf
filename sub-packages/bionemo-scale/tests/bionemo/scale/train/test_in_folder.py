# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import errno

import pytest

from bionemo.scale.train.in_folder import _told_by_its_cause


def test_a_full_disk_is_told_as_such_where_the_writer_of_checkpoints_hides_it():
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError) as found, _told_by_its_cause():
        raise RuntimeError(f"Worker failure: {full}") from full
    assert found.value is full


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="of its own"), _told_by_its_cause():
        raise RuntimeError("of its own") from ValueError("no file")
