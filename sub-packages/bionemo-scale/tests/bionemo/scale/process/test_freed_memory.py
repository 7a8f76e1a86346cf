# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import platform
import subprocess
import sys

import pytest


# Page faults of tensors of 8 MB that are made and forgotten, two at a time.
COUNT = """
import resource, sys
import numpy as np
from bionemo.scale.process.freed_memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def touch():
    first, second = np.empty(1 << 21, np.float32), np.empty(1 << 21, np.float32)
    first[:], second[:] = 1, 2
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(way: str) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT, way], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_what_is_freed_is_not_asked_for_again():
    assert faults("kept") < 100 < faults("given back")
