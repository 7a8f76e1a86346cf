# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a loader takes: the clock, and the CPU time of this process and of its workers. Standard library only."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def cpu_seconds() -> float:
    """CPU time of this process and of the workers it has now."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return time.process_time() + sum(_of_process(child) for child in children)


def peak_mb() -> float:
    """Most memory that this process had; unlike ``ru_maxrss`` it knows nothing of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _of_process(number: str) -> float:
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def count_cells(batches: Iterator, cells_of: Callable[[Any], int], seconds: float) -> dict[str, float]:
    """Cells a second of the clock and of CPU time, after half as long that starts workers and fills caches."""
    start = time.perf_counter()
    next(batches)
    while time.perf_counter() - start < seconds / 2:
        next(batches)
    total, start, cpu = 0, time.perf_counter(), cpu_seconds()
    for batch in batches:
        total += cells_of(batch)
        if time.perf_counter() - start > seconds:
            break
    return {"rate": total / (time.perf_counter() - start), "cpu_rate": total / max(cpu_seconds() - cpu, 1e-9)}
