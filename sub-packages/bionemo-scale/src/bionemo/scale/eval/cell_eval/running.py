# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The evaluator that scores beside cell-eval 0.6.6, as it was asked for."""

import contextlib
from collections.abc import Callable

from bionemo.scale.eval.cell_eval.challenge import CELL_EVAL2, CellEval2, own_environment
from bionemo.scale.eval.cell_eval.environment import ensure_environment
from bionemo.scale.eval.cell_eval.newest import NEWEST, CurrentCellEval
from bionemo.scale.eval.settings import ScoringSettings


def running_evaluator(
    settings: ScoringSettings, say: Callable[[str], None]
) -> contextlib.AbstractContextManager[CurrentCellEval | CellEval2 | None]:
    """Return the other evaluator, which runs as long as the context; ``None`` where none was asked for.

    Args:
        settings: ``evaluator`` names it, ``evaluator_environment`` is where it is or will be installed.
        say: Gets a line before anything is downloaded, and one with the versions.

    Raises:
        InputError: Its environment cannot be made.
    """
    tools = {NEWEST.option: (NEWEST, CurrentCellEval), CELL_EVAL2.option: (CELL_EVAL2, CellEval2)}
    if settings.evaluator not in tools:
        return contextlib.nullcontext()
    tool, worker = tools[settings.evaluator]
    folder = settings.evaluator_environment
    environment = own_environment() if tool is CELL_EVAL2 and folder is None else None
    if environment is None:
        environment = ensure_environment(tool, folder, announce=say)
    say("note: beside cell-eval 0.6.6: " + ", ".join(f"{name} {at}" for name, at in environment.versions.items()))
    return worker(environment)
