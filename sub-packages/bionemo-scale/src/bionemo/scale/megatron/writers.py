# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The process that holds what writers of checkpoints report: it ends with the process that trains."""

import multiprocessing
import os
from functools import cache
from multiprocessing.managers import SyncManager
from queue import Queue
from typing import Any

from bionemo.scale.process.parent import end_with


def install() -> None:
    """Let Megatron use this queue: the process of its own lives on when training is killed, in all its memory."""
    from megatron.core.dist_checkpointing.strategies import filesystem_async

    filesystem_async._get_write_results_queue = results_queue


@cache
def results_queue() -> "Queue[Any]":
    """Return a queue between processes, whose process is started by the first call."""
    manager = SyncManager(ctx=multiprocessing.get_context("spawn"))
    manager.start(end_with, (os.getpid(),))
    return manager.Queue()
