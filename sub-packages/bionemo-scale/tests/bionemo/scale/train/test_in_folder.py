# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import errno
import pickle

import pytest
from torch.distributed.checkpoint.api import CheckpointException, _wrap_exception

from bionemo.scale.train.in_folder import _told_by_its_cause
from bionemo.scale.types import InputError


def _of_a_worker(cause: BaseException) -> RuntimeError:
    error = RuntimeError(f"Worker failure: {cause}")
    error.__cause__ = cause
    return error


def _of_ranks(cause: BaseException) -> CheckpointException:
    """What torch raises: no :class:`Exception`, and without a cause of its own."""
    return CheckpointException("write", {0: _wrap_exception(cause)})


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "error",
    [
        _of_a_worker(FULL),
        _of_ranks(FULL),
        _of_ranks(_of_a_worker(FULL)),
        _of_ranks(pickle.loads(pickle.dumps(_of_a_worker(FULL)))),
    ],
    ids=["worker", "rank", "both", "sent"],
)
def test_a_full_disk_is_told_as_such_where_the_writer_of_checkpoints_hides_it(error):
    with pytest.raises(OSError) as found, _told_by_its_cause():
        raise error
    assert (found.value.errno, found.value.strerror) == (errno.ENOSPC, FULL.strerror)


def test_another_failure_of_ranks_stays_what_it_is():
    error = _of_ranks(ValueError("no file"))
    with pytest.raises(CheckpointException) as found, _told_by_its_cause():
        raise error
    assert found.value is error


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="of its own"), _told_by_its_cause():
        raise RuntimeError("of its own") from ValueError("no file")


def test_a_refusal_of_ours_keeps_its_words():
    error = InputError("features.parquet: cannot be read as a table")
    error.__cause__ = OSError("Couldn't deserialize thrift")
    with pytest.raises(InputError, match="features.parquet"), _told_by_its_cause():
        raise error
