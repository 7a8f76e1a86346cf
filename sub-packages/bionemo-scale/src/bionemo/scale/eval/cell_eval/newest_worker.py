# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Runs another cell-eval in its own interpreter: one JSON request a line in, one answer a line out.

Started by path with the interpreter of the isolated environment, which has cell-eval and nothing of this package.
"""

import contextlib
import json
import logging
import os
import sys
import tempfile
import traceback
import warnings


def answer(request: dict) -> dict:
    """Score one pair of h5ad files and write the results; returns ``{}``, or ``{"error": line}``."""
    from cell_eval import MetricsEvaluator

    try:
        with tempfile.TemporaryDirectory(prefix="cell-eval-", ignore_cleanup_errors=True) as scratch:
            evaluator = MetricsEvaluator(
                adata_pred=request["pred"],
                adata_real=request["real"],
                control_pert=request["control"],
                pert_col=request["pert_col"],
                num_threads=request["num_threads"],
                outdir=scratch,
            )
            results, _ = evaluator.compute(
                profile="full", skip_metrics=request["skip"], write_csv=False, break_on_error=True
            )
            results.write_parquet(request["out"])
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}
    return {}


def main() -> None:
    """Answer until the input ends; everything that libraries print goes to standard error."""
    warnings.simplefilter("ignore")
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            logging.disable(logging.CRITICAL)
            reply = answer(json.loads(line))
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
