# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a command says at its end: the command that usually follows."""

import shlex


def next_step(command: str, **options: object) -> str:
    """Return a line with a command to run next.

    Args:
        command: Its name without ``bionemo-scale-``.
        **options: Values by option, underscores for dashes. In capitals: what the user is to choose.
    """
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return f"next      bionemo-scale-{command} {shlex.join(words)}"
