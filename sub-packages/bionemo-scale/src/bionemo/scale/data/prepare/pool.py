# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The same work on several input files, in this process or in several."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from typing import TypeVar


Task = TypeVar("Task")
Result = TypeVar("Result")
_SECONDS_BETWEEN_LOOKS = 0.1

_done: Synchronized | None = None
_stop: Event | None = None


def run_tasks(
    function: Callable[[Task, Callable[[int], None]], Result],
    tasks: Sequence[Task],
    *,
    workers: int,
    progress: Callable[[int], None],
) -> list[Result]:
    """Call a function on every task.

    Args:
        function: Takes a task and what it shall tell the cells of each piece to; known by name in its module.
        tasks: One a file.
        workers: Processes; with 1, or one task, everything happens here.
        progress: Told of the cells of each piece.

    Returns:
        Results in the order of the tasks.

    Raises:
        OSError: A worker was killed.
    """
    if workers <= 1 or len(tasks) <= 1:
        return [function(task, progress) for task in tasks]
    # Forked workers would inherit open HDF5 and LMDB files.
    context = multiprocessing.get_context("spawn")
    done, stop = context.Value("q", 0), context.Event()
    with ProcessPoolExecutor(
        min(workers, len(tasks)), mp_context=context, initializer=_start_worker, initargs=(done, stop)
    ) as pool:
        with _deaf_to_interrupts():
            futures = [pool.submit(_run, function, task) for task in tasks]
        try:
            _wait(futures, done, progress)
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise OSError("a worker that was killed, perhaps for want of memory") from error
        finally:
            # Workers stop at the next piece, and what they have done stays.
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start processes that a terminal's interrupt does not reach: this one answers it, and tells them to stop."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(futures: Sequence[Future], done: Synchronized, progress: Callable[[int], None]) -> None:
    pending, told = set(futures), 0
    while pending:
        finished, pending = wait(pending, timeout=_SECONDS_BETWEEN_LOOKS)
        told, before = done.value, told
        if told > before:
            progress(told - before)
        for future in finished:
            future.result()


def _start_worker(done: Synchronized, stop: Event) -> None:
    global _done, _stop
    _done, _stop = done, stop
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave as soon as the parent is killed: an idle worker would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _run(function: Callable[[Task, Callable[[int], None]], Result], task: Task) -> Result:
    return function(task, _report)


def _report(cells: int) -> None:
    assert _stop is not None and _done is not None, "set when the worker starts"
    if _stop.is_set():
        raise InterruptedError("the process that started this one has stopped")
    with _done.get_lock():
        _done.value += cells
