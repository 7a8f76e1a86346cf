# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""bionemo-scale-infer: checkpoint and control cells -> predicted cells."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from bionemo.scale.run.command import run_command
from bionemo.scale.types import InputError


if TYPE_CHECKING:
    from bionemo.scale.data.reader import Store
    from bionemo.scale.infer.checkpoint import LoadedModel
    from bionemo.scale.infer.plan import Plan


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(
        prog="bionemo-scale-infer",
        description="Predict populations: the held-out groups of a store, or any control cells under any known "
        "perturbation.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    options.add_argument("--checkpoint", type=Path, required=True, help="run folder, or one of its checkpoints")
    options.add_argument("--out", type=Path, required=True, help="h5ad to write; with --split a folder may be given")
    source = options.add_mutually_exclusive_group(required=True)
    source.add_argument("--store", type=Path, help="predict held-out groups of this store")
    source.add_argument("--adata", type=Path, help="predict from the control cells of this h5ad")
    options.add_argument("--split", choices=("train", "val", "test"), default="test", help="split of --store")
    options.add_argument("--perturbations", help="comma-separated labels for --adata; default is every one known")
    options.add_argument("--with-controls", action="store_true", help="append the real controls of the contexts")
    options.add_argument("--generation", choices=("decode", "displace", "contrast"), help="default: as trained")
    options.add_argument("--num-steps", type=int, help="solver steps; default: as trained")
    options.add_argument("--set-size", type=int, help="cells of a set; default: as trained")
    options.add_argument("--seed", type=int, default=0, help="draw of the controls")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(_infer, argv)


def _infer(argv: Sequence[str] | None) -> None:
    options = parser().parse_args(argv)
    if options.adata and options.with_controls:
        raise InputError("--with-controls goes with --store: the controls of --adata are already yours")
    out, real = _outputs(options)
    from bionemo.scale.run.console import quiet_screen

    # The log is for a crash: a prediction or a refusal says itself all there is to say.
    log = out.with_name(f".{out.stem}.log")
    is_new = not out.parent.exists()
    try:
        with quiet_screen(log) as screen:
            from bionemo.scale.megatron import cpu

            cpu.install()
            _predict(options, out, real, screen)
    except InputError:
        log.unlink()
        if is_new:
            out.parent.rmdir()
        raise
    log.unlink()


def _outputs(options: argparse.Namespace) -> tuple[Path, Path | None]:
    """Return the file of predictions and, for a split, the file of the measured cells beside it."""
    if options.out.suffix == ".h5ad":
        return options.out, options.out.with_name("adata_real.h5ad") if options.store else None
    if options.adata:
        raise InputError(f"--out must be an .h5ad file with --adata, found {options.out}")
    return options.out / "adata_pred.h5ad", options.out / "adata_real.h5ad"


def _predict(options: argparse.Namespace, out: Path, real: Path | None, screen: TextIO) -> None:
    from tqdm import tqdm

    from bionemo.scale.data.reader import Store
    from bionemo.scale.infer.checkpoint import load_model
    from bionemo.scale.infer.plan import SplitPlan
    from bionemo.scale.infer.predict import write_predictions, write_real
    from bionemo.scale.megatron.layout import model_parallel

    chosen = {"generation": options.generation, "num_generation_steps": options.num_steps}
    with model_parallel(), Store.open(options.store) if options.store else nullcontext() as store:
        loaded = load_model(options.checkpoint, **{name: value for name, value in chosen.items() if value is not None})
        plan = _plan(options, loaded, store)
        trained = loaded.model.config.set_size
        if options.set_size and options.set_size != trained:
            screen.write(
                f"note: sets of {options.set_size} cells, trained on {trained}: the condition is one token beside the "
                "cells, and the predicted change shrinks as sets grow\n"
            )
        provenance = {"store": options.store.resolve(), "split": options.split} if options.store else {}
        with tqdm(total=len(plan.obs), file=screen, desc="predict", unit="cell", disable=not screen.isatty()) as bar:
            timing = write_predictions(
                loaded, plan, out, provenance=provenance, progress=bar.update, with_controls=options.with_controls
            )
        rate = timing.num_cells / timing.seconds
        screen.write(f"{out}: {timing.num_cells:,} predicted cells, {rate:,.0f} cells/s\n")
        if real is not None and isinstance(plan, SplitPlan):
            write_real(plan, real, provenance=provenance)
            screen.write(f"{real}: the measured cells and their controls\n")


def _plan(options: argparse.Namespace, loaded: "LoadedModel", store: "Store | None") -> "Plan":
    from bionemo.scale.infer.controls import read_controls
    from bionemo.scale.infer.plan import ControlsPlan, SplitPlan
    from bionemo.scale.types import Split

    set_size = options.set_size or loaded.model.config.set_size
    if store is not None:
        _check_same_data(store, loaded, options.checkpoint)
        return SplitPlan(store, Split(options.split), set_size=set_size, seed=options.seed)
    names = options.perturbations.split(",") if options.perturbations else list(loaded.card.perturbations)
    cells = read_controls(options.adata, loaded.card)
    return ControlsPlan(cells, loaded.card, names, source=options.adata, set_size=set_size, seed=options.seed)


def _check_same_data(store: "Store", loaded: "LoadedModel", checkpoint: Path) -> None:
    """A split may only be predicted by a model that was kept from it."""
    for name in ("genes", "cell_types", "perturbations", "batches", "scale", "split_sha256"):
        expected, found = getattr(loaded.card, name), getattr(store.card, name)
        if expected != found:
            raise InputError(
                f"{store.path}: expected the {name} that {checkpoint} was trained on ({_short(expected)}), found "
                f"{_short(found)}; use the store of that run, or --adata"
            )


def _short(value: object) -> str:
    return f"{len(value)} entries" if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    sys.exit(main())
