# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How long a training process has waited for its data."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Waiting:
    """Adds up seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """In all."""

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Add the time of what is done inside."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - begin


FOR_DATA = Waiting()
"""Of this process. One for all, because Megatron calls the step that reads data by its name, without anything of ours.
With ``--num-workers 0`` reading is part of it, since the process waits for itself."""
