# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""bionemo-scale-report: one self-contained HTML page of a run and its scores."""

from bionemo.scale.run import interrupt  # isort: skip  # noqa: F401 - before all others, so that an interrupt finds it

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bionemo.scale.run.command import run_command
from bionemo.scale.types import InputError


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(
        prog="bionemo-scale-report",
        description="Write one HTML page of a run: scores beside baselines, figures, provenance. It needs no network.",
    )
    options.add_argument(
        "run", type=Path, metavar="RUN", help="run folder, the folder that holds it as run/, or a result folder"
    )
    options.add_argument(
        "--scores",
        type=Path,
        help="result folder of bionemo-scale-evaluate (default: RUN/scores, or scores beside RUN)",
    )
    options.add_argument("--pred", type=Path, help="predicted h5ad, for the populations (default: as the scores say)")
    options.add_argument("--real", type=Path, help="real h5ad, for the populations (default: as the scores say)")
    options.add_argument("--out", type=Path, help="HTML file (default: RUN/report.html)")
    options.add_argument("--umap", action="store_true", help="embed populations by UMAP too, which takes a minute")
    options.add_argument("--seed", type=int, default=0, help="seed of the cells that are drawn (default: 0)")
    options.add_argument(
        "--target-sum", type=float, help="library size behind log1p values, for h5ad files that do not record it"
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(_report, argv)


def _report(argv: Sequence[str] | None) -> None:
    args = parser().parse_args(argv)
    out = args.out or args.run / "report.html"
    if out.is_dir():
        raise InputError(f"{out}: expected an HTML file to write, found a folder")
    if args.seed < 0:
        raise InputError(f"--seed: expected 0 or more, found {args.seed}")
    from bionemo.scale.eval.page.embedding import embed_populations
    from bionemo.scale.eval.page.page import write_page
    from bionemo.scale.eval.page.sources import file_labels, find_run, find_scores, population_files

    run = find_run(args.run)
    scores = find_scores(args.run, args.scores)
    pred, real = population_files(scores, args.pred, args.real)
    clouds = []
    if pred is None or real is None:
        print("note: the h5ad files of the scores are gone: no populations; --pred and --real say where they are")
    else:
        clouds = embed_populations(
            pred, real, labels=file_labels(scores, args.target_sum), umap=args.umap, seed=args.seed
        )
    if run is None:
        print(f"note: {args.run} holds no config.yaml of bionemo-scale-train: no training section")
    write_page(out, run=run, scores=scores, pred=pred, clouds=clouds)
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    sys.exit(main())
