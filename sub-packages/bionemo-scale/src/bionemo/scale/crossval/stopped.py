# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How a fold ends before it is finished."""


class FoldStopped(RuntimeError):
    """A command of a fold ended without success."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code
