# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""bionemo-scale-report: one self-contained HTML page of a run and its scores."""

from bionemo.scale.process import interrupt  # isort: skip  # noqa: F401 - before all others, so that an interrupt finds it

import sys
from collections.abc import Sequence

from bionemo.scale.eval.settings import ReportSettings
from bionemo.scale.files.writing.lock import only_writer
from bionemo.scale.options.outputs import check_not_inputs
from bionemo.scale.options.parser import OptionParser, make_settings
from bionemo.scale.process.command import run_command
from bionemo.scale.process.imports import imports
from bionemo.scale.types import InputError


_NO_CELLS = (
    "note: no plots of cells, because the cells that were scored are not in a file, or the file has moved or changed; "
    "give them with --pred and --real (in Python pred and real)"
)


def parser() -> OptionParser:
    """Return the command's options."""
    return OptionParser(
        ReportSettings,
        prog="bionemo-scale-report",
        description="Write one HTML page about a run, with a verdict, scores beside baselines, figures and the origin "
        "of the data. A run without scores gets a page of its training, and an h5ad of predictions one of what it "
        "predicts. The page loads nothing from the internet.",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(_report, argv)


def _report(argv: Sequence[str] | None) -> None:
    args = make_settings(ReportSettings, parser().parse_args(argv))
    out = args.page_path
    if out.is_dir():
        raise InputError(f"{out}: expected an HTML file to write, found a folder")
    if args.is_prediction:
        _report_prediction(args)
    elif not _report_training(args):
        _report_scores(args)
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")


def _report_prediction(args: ReportSettings) -> None:
    with imports():
        from bionemo.scale.eval.page.prediction import read_prediction, render_prediction
        from bionemo.scale.files.writing.atomic import write_text

    check_not_inputs([args.page_path], [args.run, args.gene_sets])
    with only_writer(args.page_path):
        write_text(args.page_path, render_prediction(read_prediction(args.run), args.gene_sets))


def _report_training(args: ReportSettings) -> bool:
    """Write the page of a run without scores; return whether it is one."""
    with imports():
        from bionemo.scale.eval.page.sources import find_run, score_folder
        from bionemo.scale.eval.page.training import render_training
        from bionemo.scale.files.writing.atomic import write_text
        from bionemo.scale.recipes.rerun import commands

    if args.scores is not None or score_folder(args.run, None) is not None:
        return False
    run = find_run(args.run)
    if run is None:
        return False
    print("note: no scores were found, so the page is of the training alone; bionemo-scale-evaluate makes scores")
    check_not_inputs([args.page_path], [path for path in run.path.iterdir() if path.suffix != ".html"])
    with only_writer(args.page_path):
        write_text(args.page_path, render_training(run, commands(run, None, None)))
    return True


def _report_scores(args: ReportSettings) -> None:
    with imports():
        from bionemo.scale.data.store.manifest import is_store
        from bionemo.scale.eval.page.embedding import embed_populations
        from bionemo.scale.eval.page.page import Page, write_page
        from bionemo.scale.eval.page.payload import shown_pairs
        from bionemo.scale.eval.page.sources import cell_files, find_run, find_scores
        from bionemo.scale.recipes.rerun import commands

    out = args.page_path
    if is_store(args.run):
        raise InputError(f"{args.run}: expected a run folder or a result folder, found a store")
    run = find_run(args.run)
    scores = find_scores(args.run, args.scores)
    cells = cell_files(scores, pred=args.pred, real=args.real, target_sum=args.target_sum)
    folders = {scores.path, args.run} if run is None else {scores.path, args.run, run.path}
    read = [path for folder in folders for path in folder.iterdir() if path.suffix != ".html"]
    check_not_inputs([out], [*read, *([] if cells is None else [cells.real, *cells.pred.values()])])
    with only_writer(out):
        clouds = []
        if cells is None:
            print(_NO_CELLS)
        else:
            clouds = embed_populations(cells, umap=args.umap, seed=args.seed, shown=set(shown_pairs(scores.genes)))
        if run is None:
            print(f"note: {args.run} holds no config.yaml of bionemo-scale-train: no training section")
        lines = commands(run, scores, None if cells is None else next(iter(cells.pred.values())))
        write_page(out, Page(run=run, scores=scores, cells=cells, clouds=clouds, commands=lines))


if __name__ == "__main__":
    sys.exit(main())
