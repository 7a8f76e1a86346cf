# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A training command that stands still between rounds of steps; ``measure.py`` starts it.

    python paced_training.py READ WRITE MODULE:FUNCTION ARGUMENTS...

READ and WRITE are open file descriptors. A number that comes in is how many steps to do; then a line of JSON goes out
with the seconds of a step. It needs nothing of this package but the command, so that it paces old revisions too.
"""

import importlib
import json
import os
import sys
import time
from typing import Any


def pace(orders: Any, answer: int) -> Any:
    """Return a Lightning callback that waits for orders before the first step and after each round."""
    from lightning.pytorch import Callback

    class Pace(Callback):
        left, total, begin = 0, 0, (0.0, 0.0)

        def on_train_start(self, *args: Any) -> None:
            self._wait()

        def on_train_batch_end(self, *args: Any) -> None:
            self.left -= 1
            if not self.left:
                cpu, clock = (now - then for now, then in zip(_now(), self.begin, strict=True))
                os.write(answer, (json.dumps({"cpu": cpu / self.total, "clock": clock / self.total}) + "\n").encode())
                self._wait()

        def _wait(self) -> None:
            line = orders.readline()
            if not line:
                os._exit(0)
            self.left = self.total = int(line)
            self.begin = _now()

    return Pace()


def _now() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def main() -> None:
    """Put the callback into whatever trainer the command makes, and run the command."""
    orders, answer = os.fdopen(int(sys.argv[1])), int(sys.argv[2])
    module, function = sys.argv[3].split(":")
    arguments = sys.argv[4:]
    sys.argv = [module, *arguments]
    # The command installs its CPU backend before it imports Lightning; only then the trainer may be looked at.
    command = getattr(importlib.import_module(module), function)
    import lightning.pytorch as pl

    fit = pl.Trainer.fit

    def paced_fit(self: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self.callbacks.append(pace(orders, answer))
        fit(self, *args, **kwargs)

    pl.Trainer.fit = paced_fit
    sys.exit(command(arguments))


if __name__ == "__main__":
    main()
