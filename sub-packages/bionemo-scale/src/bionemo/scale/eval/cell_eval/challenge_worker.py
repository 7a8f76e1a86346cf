# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Runs cell-eval2 in its own interpreter: one JSON request a line in, one answer a line out.

Started by path, isolated; it has cell-eval2 and nothing of this package.
"""

import contextlib
import dataclasses
import json
import logging
import math
import os
import sys
import traceback
import warnings
from typing import Any


def answer(request: dict) -> dict:
    """Score a prediction, or find both ends of the scale; returns ``{"error": line}`` where that fails."""
    try:
        if request["what"] == "scale":
            return _scale(request)
        return _score(request)
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def _config(request: dict, metrics: list[str]) -> Any:
    from cell_eval2 import EvalConfig

    config = EvalConfig.from_preset("vcc2026")
    return dataclasses.replace(
        config,
        metrics=metrics,
        pert_col=request["pert_col"],
        control=request["control"],
        target_gene_map=request["targets"],
        cache_real=request["cache"],
        device="cpu",
        num_threads=1,
        de=dataclasses.replace(config.de, backend="scanpy"),
    )


def _score(request: dict) -> dict:
    """Return the value of each metric over all perturbations, and write those of each perturbation."""
    import polars as pl
    from cell_eval2 import compute_metrics
    from cell_eval2.run import aggregate_metrics

    metrics = request["metrics"]
    rows = compute_metrics(request["pred"], request["real"], config=_config(request, metrics))
    rows.select("perturbation", "metric", pl.col("value").cast(pl.Float64)).write_parquet(request["out"])
    try:
        overall = aggregate_metrics(rows, metrics=metrics)
    except ValueError:
        # The ratio of sums has no value where the real cells show no effect beyond sampling; the others have.
        overall = aggregate_metrics(rows, metrics=[name for name in metrics if name != request["ratio"]])
    values = {row["metric"]: _number(row["mean"]) for row in overall.to_dicts()}
    return {"values": values, "scaled": _scaled(values, request["ends"])}


def _scale(request: dict) -> dict:
    """Return for each metric of the challenge its value for the mean response and for a replicate, or why it has none.

    Groups of metrics are asked for one after another, because one without a value stops the whole group.
    """
    ends: dict[str, dict] = {}
    for metrics in request["groups"]:
        named = [name for name in metrics if name in request["scored"]]
        try:
            found = _ends(request, metrics)
            ends |= {name: {**found[name], "why": ""} for name in named}
        except Exception as error:
            traceback.print_exc()
            why = " ".join(str(error).split()) or type(error).__name__
            ends |= {name: {"mean_response": None, "replicate": None, "why": why} for name in named}
    return {"ends": ends}


def _ends(request: dict, metrics: list[str]) -> dict[str, dict]:
    import anndata
    from cell_eval2 import build_generic_baseline
    from cell_eval2.anchor import compute_replicate_anchor

    real = anndata.read_h5ad(request["real"])
    config = dataclasses.replace(_config(request, metrics), cache_real=None)
    baseline = build_generic_baseline(real, config=config, allow_degenerate=True).agg
    means = baseline.filter(baseline["statistic"] == "mean").to_dicts()[0]
    _, anchor = compute_replicate_anchor(real, config=config)
    replicates = dict(zip(anchor["metric"].to_list(), anchor["replicate"].to_list(), strict=True))
    return {
        name: {"mean_response": _number(means.get(name)), "replicate": _number(replicates.get(name))}
        for name in metrics
    }


def _scaled(values: dict, ends: dict) -> dict:
    """Return each value between the mean response, 0, and a replicate, 1; ``None`` where those span no scale."""
    from cell_eval2.catalog import CATALOG
    from cell_eval2.scoring import is_degenerate, score_one

    scaled: dict[str, float | None] = {}
    for name, end in ends.items():
        low, high, scaled[name] = end["mean_response"], end["replicate"], None
        if low is None or high is None:
            continue
        try:
            policy = dataclasses.replace(CATALOG[name].scoring, anchor=high, allow_negative_baseline=False)
        except ValueError:
            continue
        if not is_degenerate(low, policy):
            scaled[name] = _number(score_one(values.get(name), low, policy))
    return scaled


def _number(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


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
