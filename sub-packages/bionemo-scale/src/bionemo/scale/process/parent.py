# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A process that does not outlive the one that has started it."""

import ctypes
import os
import signal


_SIGNAL_OF_PARENTS_DEATH = 1
"""PR_SET_PDEATHSIG of Linux's prctl."""


def end_with(parent: int) -> None:
    """Let this process end when the process that has started it ends, also by a kill."""
    ctypes.CDLL(None).prctl(_SIGNAL_OF_PARENTS_DEATH, signal.SIGKILL)
    if os.getppid() != parent:
        # It ended before it could be asked to say so.
        os._exit(0)
