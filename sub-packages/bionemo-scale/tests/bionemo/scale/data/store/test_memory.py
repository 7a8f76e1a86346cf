# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import gc
import threading

import numpy as np
import pytest
import torch

from bionemo.scale.data.store.memory import ReusedMemory, _rounded


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_that_nobody_holds_is_lent_again():
    memory = ReusedMemory()
    first = memory.take(1000, np.float32)
    where = address(first)
    assert first.shape == (1000,) and first.dtype == np.float32 and first.flags.writeable
    del first
    gc.collect()
    assert address(memory.take(1001, np.int32)) == where


@pytest.mark.parametrize(
    "hold",
    [
        lambda array: array[3:10],
        lambda array: array.reshape(100, 10)[7],
        lambda array: array.view(np.int32),
        torch.from_numpy,
        lambda array: torch.from_numpy(array).view(10, 100).unbind(0)[9],
        lambda array: torch.from_numpy(array)[5:].numpy()[1:],
    ],
)
def test_memory_that_somebody_holds_is_not(hold):
    memory = ReusedMemory()
    array = memory.take(1000, np.float32)
    array[:] = 1.0
    where = address(array)
    held = hold(array)
    del array
    gc.collect()
    other = memory.take(1000, np.float32)
    other[:] = 2.0
    assert address(other) != where
    held = np.asarray(held)
    assert (held.view(np.float32) == 1.0).all()


def test_little_is_kept():
    memory = ReusedMemory()
    arrays = [memory.take(100 * number, np.uint8) for number in range(1, 20)]
    arrays.clear()
    gc.collect()
    assert 0 < len(memory._free) <= 12


@pytest.mark.parametrize("num_bytes", [1, 63, 64, 1000, 4097, 10**7 + 1])
def test_sizes_are_rounded_up_by_at_most_an_eighth(num_bytes):
    assert num_bytes <= _rounded(num_bytes) <= max(num_bytes * 9 / 8, num_bytes + 64)
    assert _rounded(0) == 0


def test_threads_never_share_memory():
    memory, wrong = ReusedMemory(), []

    def work(number):
        for _ in range(300):
            array = memory.take(500, np.int64)
            array[:] = number
            if (array != number).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
