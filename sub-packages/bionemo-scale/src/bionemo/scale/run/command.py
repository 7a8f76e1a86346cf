# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What every command shares: one-line refusals with exit code 2."""

import sys
import warnings
from collections.abc import Callable, Sequence

from bionemo.scale.types import InputError


def run_command(function: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> int:
    """Run a command's body and turn its outcome into an exit code.

    Args:
        function: Takes the command line (``None`` reads ``sys.argv``), raises :class:`InputError` to refuse.
        argv: The command line.

    Returns:
        0 on success, 2 when the input was refused (one line on stderr), 130 when interrupted.
    """
    # torch tells whoever has nemo-toolkit's pynvml to install another package; not a user's business.
    warnings.filterwarnings("ignore", message="The pynvml package is deprecated", category=FutureWarning)
    try:
        function(argv)
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
