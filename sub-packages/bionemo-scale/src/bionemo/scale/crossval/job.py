# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A cross-validation from its inputs to its results, on this machine; and as the jobs of a cluster."""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial

from bionemo.scale.crossval.crossval import Crossval, noted_preparation
from bionemo.scale.crossval.fold_run import Processes, run_fold
from bionemo.scale.crossval.pooled import Pooled, pool, read_folds, write_pooled
from bionemo.scale.data.folds.folds import LABELS, fold_split, named_folds
from bionemo.scale.data.labels.guides import guides_of_genes, note_guides_apart
from bionemo.scale.data.prepare.preprocess import prepare
from bionemo.scale.files.labels.grammar import agent_names, grammar_of
from bionemo.scale.files.writing.atomic import remove_dead_in
from bionemo.scale.recipes.arrays import TASK, ShellWord
from bionemo.scale.recipes.pipeline import ScheduledStep
from bionemo.scale.recipes.steps import Step
from bionemo.scale.types import InputError


Say = Callable[[str], None]


def cross_validate(crossval: Crossval, say: Say) -> Pooled | None:
    """Do what is missing, and put the scores of all folds together.

    Args:
        crossval: What to do.
        say: Told of each step as it begins.

    Returns:
        ``None`` where a single fold was asked for.

    Raises:
        InputError: Something is refused.
        FoldStopped: A fold ended without success; what is finished is kept.
    """
    # Other machines may be at work on other folds.
    remove_dead_in(crossval.out)
    make_store(crossval, say)
    only = crossval.settings.fold
    if only is not None:
        _check_number(crossval, only)
        run_fold(crossval, only - 1, say=partial(_say_of, crossval=crossval, number=only - 1, say=say))
        return None
    run_folds(crossval, unfinished(crossval), say)
    pooled = pool(read_folds(crossval))
    write_pooled(crossval, pooled)
    return pooled


def make_store(crossval: Crossval, say: Say) -> None:
    """Prepare the store, once, and refuse a cross-validation that cannot be done on it.

    Raises:
        InputError: Naming what is wrong.
    """
    if crossval.settings.fold_file is not None:
        # Whether its names are in the data is known after the preparation, which is kept then.
        named_folds(crossval.settings.fold_file)
    if crossval.settings.store is None:
        with noted_preparation(crossval) as is_there:
            if not is_there:
                _prepare(crossval, say)
    if not crossval.settings.no_network:
        _check_training(crossval)
    _ = crossval.folds
    if crossval.settings.fold is None:
        # Once, and not by the process of each fold.
        _note_guides(crossval, say)


def _note_guides(crossval: Crossval, say: Say) -> None:
    """Say if a fold leaves out one guide of a gene and trains another."""
    rule, card, groups = crossval.settings.leave_out, crossval.manifest.card, crossval.manifest.groups
    grammar = grammar_of(card)
    if "perturbation" not in LABELS[rule] or not guides_of_genes(agent_names(card.perturbations, grammar), card.genes):
        return
    notes = (note_guides_apart(fold_split(groups, rule, fold), grammar, card.genes) for fold in crossval.folds)
    for line in next(filter(None, notes), ()):
        say(f"warning: {line}")


def _prepare(crossval: Crossval, say: Say) -> None:
    say("preparing the store")
    done = prepare(crossval.conversion())
    for line in done.warnings:
        say(f"warning: {line}")
    if done.num_genes < done.num_genes_found:
        say(
            f"note: {done.num_genes} of {done.num_genes_found} genes were chosen once, from all cells, those that "
            "folds leave out too; --hvg 0 keeps all genes"
        )


def run_folds(crossval: Crossval, numbers: Sequence[int], say: Say) -> None:
    """Run folds, several at a time where there are several workers.

    Raises:
        InputError: One is refused.
        FoldStopped: One ended without success; those that run at the same time are finished first.
    """
    workers = min(crossval.settings.workers, len(numbers))
    if workers <= 1:
        for number in numbers:
            run_fold(crossval, number, say=partial(_say_of, crossval=crossval, number=number, say=say))
        return
    processes = Processes()

    def run(number: int) -> None:
        command = [sys.executable, "-m", "bionemo.scale.run.crossval", *crossval.words(fold=number + 1)]
        processes.run(command, name=crossval.folds[number].name, what="the fold", say=say)

    with ThreadPoolExecutor(workers) as threads:
        futures = [threads.submit(run, number) for number in numbers]
        try:
            done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            processes.interrupt()
            raise
        for future in waiting:
            future.cancel()
    for future in done:
        future.result()


def unfinished(crossval: Crossval) -> list[int]:
    """Return the numbers of the folds that are not finished, from 0."""
    return [number for number in range(len(crossval.folds)) if not crossval.is_finished(number)]


def cluster_steps(crossval: Crossval) -> tuple[ScheduledStep, ...]:
    """Return the jobs: an array with a task for each unfinished fold, and one that puts all together.

    Raises:
        InputError: A fold needs several processes.
    """
    devices = 1 if crossval.settings.no_network else crossval.training(crossval.store, crossval.out).devices
    if devices > 1:
        raise InputError(f"--on slurm: each fold is a job of one process, expected --devices 1, found {devices}")
    words, numbers = crossval.words(), unfinished(crossval)
    array = Step(
        name="folds",
        command="crossval",
        arguments=(*words, ShellWord(f'--fold="${{folds[{TASK}]}}"')),
        each={"folds": tuple(str(number + 1) for number in numbers)},
    )
    together = ScheduledStep(step=Step(name="pool", command="crossval", arguments=tuple(words)))
    return (
        (ScheduledStep(step=array, uses_gpus=not crossval.settings.no_network), together) if numbers else (together,)
    )


def _check_training(crossval: Crossval) -> None:
    settings = crossval.training(crossval.store, crossval.out)
    if settings.num_nodes > 1:
        raise InputError(f"--num-nodes: a fold trains on one machine, found {settings.num_nodes}")


def _check_number(crossval: Crossval, number: int) -> None:
    if number > len(crossval.folds):
        raise InputError(f"--fold must be at most {len(crossval.folds)}, the number of folds, found {number}")


def _say_of(what: str, *, crossval: Crossval, number: int, say: Say) -> None:
    say(f"fold {number + 1}/{len(crossval.folds)} {crossval.folds[number].name}: {what}")
