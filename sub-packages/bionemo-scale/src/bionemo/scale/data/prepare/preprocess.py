# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From h5ad files to a store: the one function behind ``bionemo-scale-prepare``."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from bionemo.scale.data.labels.guides import note_guides_apart
from bionemo.scale.data.labels.shared_genes import few_shared, join_genes
from bionemo.scale.data.labels.split import (
    ResolvedSplit,
    SplitSpec,
    check_leakage,
    check_trains,
    read_split,
    resolve_split,
)
from bionemo.scale.data.prepare.conversion.convert import (
    InputFile,
    ScanTask,
    Survey,
    WriteTask,
    WrittenInput,
    positions,
    scan_input,
    survey,
    write_input,
)
from bionemo.scale.data.prepare.conversion.copies import note_copies
from bionemo.scale.data.prepare.conversion.hvg import GeneMoments, select_genes
from bionemo.scale.data.prepare.conversion.layout import check_controls, count_conditions, lay_out
from bionemo.scale.data.prepare.conversion.scan import PART_OF_COUNTED_GENES, FileStatistics
from bionemo.scale.data.prepare.conversion.scanned import ScannedInput, copy_scans, read_scans, write_scans
from bionemo.scale.data.prepare.conversion.workspace import tidy_store, workspace
from bionemo.scale.data.prepare.pool import run_tasks
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.data.sets.controls import ControlMatcher
from bionemo.scale.data.store.format import MANIFEST_NAME, SPLIT_NAME
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.data.store.manifest import Manifest
from bionemo.scale.files.anndata.label_column import look_alikes
from bionemo.scale.files.labels.grammar import (
    describe_agents,
    likely_combinations,
    likely_controls,
    likely_no_calls,
    respelled,
)
from bionemo.scale.files.provenance import version_of, version_stamp, versions_of
from bionemo.scale.files.suggest import some
from bionemo.scale.files.text import read_text
from bionemo.scale.files.writing.atomic import write_text
from bionemo.scale.options.outputs import check_not_inputs
from bionemo.scale.types import DataCard, ExpressionScale, InputError, ObsKeys, Split


logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with the stage (``filter``, ``scan``, ``write``), the cells it has just done, and all cells of the stage."""
_GRAMMAR = ("combination_separator", "dose_separator", "whole_agents")
"""Fields that say how labels are read, in settings and in a data card."""


@dataclass(frozen=True, kw_only=True)
class PrepareSummary:
    """What was made."""

    out: Path
    num_groups: int
    """Perturbed and control groups."""
    num_cells: int
    cells_by_split: dict[str, int]
    """Perturbed cells of each split, ``control`` cells and ``excluded`` cells."""
    num_filtered: int
    """Of the excluded cells, those without knockdown of their target."""
    num_genes: int
    num_genes_found: int
    """Genes that all files have, or any of them with ``join`` outer."""
    genes_by_input: dict[str, int]
    """Genes of each file."""
    kind: str
    """``counts`` or ``log1p``."""
    num_fallback_groups: int
    """Perturbed groups whose controls come from other batches."""
    num_other_covariates: int
    """Perturbed groups whose controls have other covariates."""
    num_bytes: int
    split_sha256: str | None
    agents: str
    """What perturbations are made of, in words; empty where each label is one agent."""
    warnings: tuple[str, ...]


def _no_progress(stage: str, cells: int, total: int) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is known before the first value is read."""

    files: tuple[InputFile, ...]
    surveys: tuple[Survey, ...]
    genes: np.ndarray
    """Names, of the files that are here."""
    spec: SplitSpec | None
    split: ResolvedSplit
    groups: GroupTable

    @property
    def num_cells(self) -> int:
        return sum(each.num_cells for each in self.surveys)


def prepare(config: PrepareSettings, progress: Progress = _no_progress) -> PrepareSummary:
    """Make a store of AnnData files; memory follows the labels of the largest file, not its expression.

    The store appears at ``config.out`` when it is complete, or not at all. A conversion that was killed leaves a
    folder beside it, and the same call goes on from there.

    Args:
        config: What and how.
        progress: Told of every piece of work.

    Raises:
        InputError: The input cannot be used, or nothing can be written; one line says why.
    """
    check_out(config.out, overwrite=config.overwrite, inputs=_inputs(config))
    with workspace(config.out, _command(config, "store")) as folder:
        plan = _look(config, folder, progress, is_part=bool(config.scanned))
        scans = read_scans(config.scanned, _scan_options(config))
        copy_scans(scans, plan.files, [each.num_cells for each in plan.surveys])
        statistics = _scan_all(config, plan, progress)
        known = scans or tuple(map(_scanned, plan.files, plan.surveys, statistics))
        genes, found = _choose_genes(config, known)
        card = _card(config, plan, statistics, genes=genes)
        tasks = [
            WriteTask(
                file=file,
                groups=plan.groups,
                genes=card.genes,
                codec=config.codec,
                bucket_entries=config.bucket_entries,
            )
            for file in plan.files
        ]
        written = run_tasks(
            write_input, tasks, workers=config.workers, progress=lambda n: progress("write", n, plan.num_cells)
        )
        manifest = _manifest(plan, card, written)
        if plan.spec:
            write_text(folder / SPLIT_NAME, plan.split.to_json())
        write_text(folder / MANIFEST_NAME, manifest.to_json())
        copies = note_copies(folder)
    warnings = (*copies, *_warnings(config, plan, statistics, manifest=manifest))
    return _summarise(config, manifest, plan, num_genes_found=found, warnings=warnings)


def scan_only(config: PrepareSettings, progress: Progress = _no_progress) -> tuple[ScannedInput, ...]:
    """Do the first pass alone, for a conversion of many files on many machines, and keep it at ``config.out``.

    Raises:
        InputError: The input cannot be used, or nothing can be written.
    """
    check_out(config.out, overwrite=config.overwrite, inputs=_inputs(config))
    with workspace(config.out, _command(config, "scan")) as folder:
        plan = _look(config, folder, progress, is_part=True)
        statistics = _scan_all(config, plan, progress)
        known = tuple(map(_scanned, plan.files, plan.surveys, statistics))
        write_scans(folder, known, _scan_options(config))
    return read_scans([config.out], _scan_options(config))


def _scanned(file: InputFile, survey: Survey, statistics: FileStatistics) -> ScannedInput:
    return ScannedInput(
        name=file.path.name,
        dataset=file.dataset,
        num_cells=survey.num_cells,
        kind=statistics.kind,
        genes=survey.genes,
        moments=statistics.moments,
        path=file.scan_path,
    )


def _look(config: PrepareSettings, folder: Path, progress: Progress, *, is_part: bool) -> _Plan:
    """Read the labels and decide where every cell goes; a part need not have what the other parts may have."""
    files = tuple(
        InputFile(
            number=number,
            path=path,
            dataset=dataset,
            folder=folder,
            matrix=config.matrix,
            gene_key=config.gene_key,
            keys=config.keys,
            grammar=config.grammar,
            library_size_key=config.library_size_key,
            target_sum=config.library_target,
            values=config.values,
            is_target_stated=config.target_sum is not None,
            knockdown=config.knockdown,
            hvg_factor=config.hvg_factor,
        )
        for number, (path, dataset) in enumerate(zip(config.inputs, config.dataset_names, strict=True))
    )
    # Labels are read in a moment; only the filter makes it worth to start processes.
    workers = config.workers if config.knockdown else 1
    surveys = tuple(run_tasks(survey, files, workers=workers, progress=lambda cells: progress("filter", cells, 0)))
    check_controls(
        {file.path: each.perturbations for file, each in zip(files, surveys, strict=True)},
        config.keys,
        config.controls,
    )
    spec = read_split(config.split) if isinstance(config.split, Path) else config.split
    spec = None if spec is None else spec.spelled(config.grammar)
    counted = [each.groups for each in surveys]
    split = resolve_split(
        spec,
        count_conditions(counted),
        control=config.controls[0],
        allow_unknown_names=is_part or config.allow_unknown_names,
    )
    groups = lay_out(counted, split)
    if not is_part:
        _check_knockdown(config, surveys, split)
        check_trains(split, config.split)
        check_groups(groups)
    genes = _join_genes(config, [(file.path, each.genes) for file, each in zip(files, surveys, strict=True)])
    return _Plan(files=files, surveys=surveys, genes=genes, spec=spec, split=split, groups=groups)


def _check_knockdown(config: PrepareSettings, surveys: Sequence[Survey], split: ResolvedSplit) -> None:
    """Refuse a filter that leaves no perturbed cell."""
    filtered = sum(each.num_filtered for each in surveys)
    if config.knockdown is not None and filtered and not any(split.count_cells(part) for part in (*Split, None)):
        raise InputError(
            f"--knockdown {config.knockdown.group:g}: expected perturbed cells in which their target is knocked down, "
            f"found none of {filtered}; perturbations must be called as the genes of the file are (--gene-key)"
        )


def check_groups(groups: GroupTable, *, by_batch: bool = False) -> None:
    """Check that every perturbed group has controls and that no condition is in two splits.

    Args:
        groups: Of a store.
        by_batch: Whether batches of one condition may be in different splits.

    Raises:
        InputError: A group has no controls, or a condition is in two splits.
    """
    ControlMatcher(groups)
    labels = ((groups.label(index), Split(groups.split[index])) for index in range(len(groups)))
    check_leakage(labels, control=groups.control, by_batch=by_batch)


def _inputs(config: PrepareSettings) -> tuple[Path, ...]:
    split = (config.split,) if isinstance(config.split, Path) else ()
    return (*config.inputs, *config.scanned, *split)


def check_out(out: Path, *, overwrite: bool, inputs: Sequence[Path] = ()) -> None:
    """Check that a store may be made here.

    Raises:
        InputError: Something else is in the way, or one of the inputs would be replaced.
    """
    if out.exists() and not _is_empty_folder(out):
        if (out / MANIFEST_NAME).is_file():
            tidy_store(out)
        if not overwrite:
            raise InputError(f"{out}: exists already; choose another folder or give --overwrite")
        if not (out / MANIFEST_NAME).is_file():
            raise InputError(f"{out}: only a store is overwritten, found no {MANIFEST_NAME} in it")
        check_not_inputs([out], inputs)


def _command(config: PrepareSettings, what: str) -> dict[str, Any]:
    """What a conversion must have in common with one that it continues."""
    fields = asdict(config)
    for name in ("workers", "overwrite", "out", "bucket_entries"):
        fields.pop(name)
    if not config.keys.covariate:
        # As it was written before there were covariates, so that conversions and scans go on.
        del fields["keys"]["covariate"]
    if config.hvg_factor == PrepareSettings.hvg_factor:
        # As it was written before there was such a factor.
        del fields["hvg_factor"]
    if isinstance(config.split, Path):
        fields["split"] = read_text(config.split) if config.split.is_file() else None
    elif config.split is not None:
        fields["split"] = repr(config.split)
    fields["inputs"] = [[str(path.resolve()), *version_stamp(path)] for path in config.inputs if path.exists()]
    return {"what": what, "version": version_of("bionemo-scale"), **fields}


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _scan_options(config: PrepareSettings) -> dict[str, Any]:
    """What decides about the numbers of a scan."""
    names = (
        "keys",
        "controls",
        *_GRAMMAR,
        "split",
        "target_sum",
        "values",
        "library_size_key",
        "matrix",
        "gene_key",
        "knockdown",
        "hvg_factor",
    )
    command = {"hvg_factor": config.hvg_factor, **_command(config, "scan")}
    return {name: command[name] for name in names}


def _join_genes(config: PrepareSettings, named: Sequence[tuple[object, np.ndarray]]) -> np.ndarray:
    files = [(str(name), genes) for name, genes in named]
    return join_genes(files, join=config.join, least_shared=config.least_shared_genes)


def _scan_all(config: PrepareSettings, plan: _Plan, progress: Progress) -> list[FileStatistics]:
    tasks = [ScanTask(file=file, groups=plan.groups) for file in plan.files]
    statistics = run_tasks(
        scan_input, tasks, workers=config.workers, progress=lambda cells: progress("scan", cells, plan.num_cells)
    )
    for file, of_file in zip(plan.files, statistics, strict=True):
        check_scale(file.path, of_file.kind, plan.files[0].path, first_kind=statistics[0].kind)
    return statistics


def check_scale(name: object, kind: str, first_name: object, *, first_kind: str) -> None:
    """Check that two files are both of counts, or both of log1p values.

    Raises:
        InputError: One is of counts and the other of log1p values.
    """
    if kind != first_kind:
        raise InputError(
            f"{name}: expected the scale of {first_name}, {first_kind}, found {kind}; give files of one scale"
        )


def _choose_genes(config: PrepareSettings, scans: Sequence[ScannedInput]) -> tuple[np.ndarray, int]:
    """Genes to keep, and how many there were to choose from."""
    for scan in scans:
        check_scale(scan.name, scan.kind, scans[0].name, first_kind=scans[0].kind)
    genes = _join_genes(config, [(scan.name, scan.genes) for scan in scans])
    if not 0 < config.num_hvg < len(genes):
        return genes, len(genes)
    total = GeneMoments(len(genes))
    for scan in scans:
        total.add_moments(scan.moments, positions(genes, scan.genes))
    chosen = genes[select_genes(total, config.num_hvg)]
    if not len(chosen):
        names = ", ".join(scan.name for scan in scans)
        raise InputError(f"{names}: expected genes that vary over training cells, found none")
    return chosen, len(genes)


def _card(
    config: PrepareSettings, plan: _Plan, statistics: Sequence[FileStatistics], *, genes: np.ndarray
) -> DataCard:
    kind = statistics[0].kind
    return DataCard(
        genes=tuple(genes.tolist()),
        cell_types=plan.groups.cell_types,
        perturbations=plan.groups.perturbations,
        batches=plan.groups.batches,
        covariates=plan.groups.covariates,
        control=config.controls[0],
        scale=ExpressionScale(
            target_sum=config.library_target,
            source=kind,
            library_size_key=config.library_size_key if kind == "counts" else None,
        ),
        keys=config.keys,
        split_sha256=plan.split.sha256 if plan.spec else None,
        matrix=config.matrix,
        gene_key=config.gene_key,
        control_labels=config.controls,
        **{name: getattr(config, name) for name in _GRAMMAR},
    )


def _manifest(plan: _Plan, card: DataCard, written: Sequence[WrittenInput]) -> Manifest:
    return Manifest(
        card=card,
        groups=plan.groups,
        shards=tuple(shard for part in written for shard in part.shards),
        obs=tuple(part.obs for part in written),
        value_dtype=reduce(max, [np.dtype(part.value_dtype) for part in written]).name,
        split=plan.split.summary() if plan.spec else None,
        inputs=tuple(part.source for part in written),
        versions=versions_of(("bionemo-scale", "anndata", "lmdb", "numpy")),
    )


def _warnings(
    config: PrepareSettings, plan: _Plan, statistics: Sequence[FileStatistics], *, manifest: Manifest
) -> tuple[str, ...]:
    lines = [note for each in plan.surveys for note in dict.fromkeys(each.notes)]
    for what, names in _names_of_labels(plan, config.keys):
        lines += look_alikes(names, what=what)
    if no_calls := likely_no_calls(plan.groups.perturbations):
        lines.append(
            f"{some(no_calls)} count as perturbations, though they seem to be cells without a call; if they are, "
            "remove these cells"
        )
    lines += [*_warn_of_combinations(config, plan), *_warn_of_controls(plan.groups)]
    lines += note_guides_apart(plan.split, config.grammar, plan.genes.tolist())
    if config.library_size_key and statistics[0].kind == "log1p":
        lines.append(
            f"values are log1p already: library sizes in {config.library_size_key!r} only checked their scale"
        )
    lines += [note for file in statistics for note in file.size_notes]
    lines += _warn_of_sums(config, plan, statistics)
    below = sum(file.num_below_total for file in statistics)
    if below:
        lines.append(f"{below} cells have a library size in {config.library_size_key!r} below the sum of their counts")
    few = few_shared([(file.path.name, each.genes) for file, each in zip(plan.files, plan.surveys, strict=True)])
    lines += [few] if few else []
    lines += _empty_cells(statistics)
    for entry in manifest.inputs:
        if entry.num_missing_genes:
            lines.append(f"{entry.name} lacks {entry.num_missing_genes} genes of the store: they are 0 in its cells")
    if plan.split.absent:
        first = ", ".join(".".join(condition) for condition in plan.split.absent[:3])
        lines.append(f"{len(plan.split.absent)} held-out conditions of the split have no cells ({first} ...)")
    if plan.split.unknown:
        lines.append(f"the split has names that the data does not have, the first: {plan.split.unknown[0]}")
    return tuple(lines)


def _warn_of_sums(config: PrepareSettings, plan: _Plan, statistics: Sequence[FileStatistics]) -> Iterator[str]:
    """Say so where cells were scaled by sums over far fewer genes in one file than in another."""
    if config.library_size_key is not None:
        return
    found = [
        (len(each.genes), file.path.name)
        for file, each, scale in zip(plan.files, plan.surveys, statistics, strict=True)
        # Of other log1p values the sums show that genes were taken out after they were scaled.
        if scale.kind == "counts" or scale.target_sum is not None
    ]
    if found and min(found)[0] < PART_OF_COUNTED_GENES * max(found)[0]:
        (few, small), (many, large) = min(found), max(found)
        yield (
            f"{small} has {few} genes and {large} {many}, and each is scaled by the sum over its own genes: values of "
            f"{small} are too high beside the others; give --library-size-key, or files that were scaled before genes "
            "were chosen"
        )


def _warn_of_combinations(config: PrepareSettings, plan: _Plan) -> Iterator[str]:
    written = {name for each in plan.surveys for name in each.perturbations}
    changed = respelled(written, config.grammar)
    if changed:
        label, other = min(changed.items())
        yield f"{len(changed)} perturbations are spelled in one way now, the first: {label!r} is {other!r}"
    if config.combination_separator:
        return
    separator, likely = likely_combinations(plan.groups.perturbations, plan.groups.control)
    if likely:
        yield (
            f"{len(likely)} perturbations look like combinations, the first is {likely[0]!r}: with "
            "--combination-separator "
            f"{separator!r} the order of agents makes no difference, and a control in them none; without it, other "
            "orders "
            "may be in other splits"
        )


def _warn_of_controls(groups: GroupTable) -> Iterator[str]:
    """Say which perturbations may be controls, and which data sets have controls in batches of their own alone."""
    likely = likely_controls(groups.perturbations)
    if likely:
        yield (
            f"taken as perturbations, though they are called like controls: {some(likely)}; if they are controls, "
            f"give --control for each, beside {groups.control!r}"
        )
    for number, name in enumerate(groups.datasets):
        own = groups.dataset == number
        controls, perturbed = (np.flatnonzero(own & chosen) for chosen in (groups.is_control, ~groups.is_control))
        # Controls of a part may be in other parts, so that those that are here say nothing of other cell types.
        has_pairs = np.isin(groups.cell_type[perturbed], groups.cell_type[controls]).any()
        if has_pairs and not np.isin(groups.batch[perturbed], groups.batch[controls]).any():
            yield (
                f"{name}: no batch has both controls and perturbed cells, so that differences between batches are "
                "taken for effects of perturbations; check --batch-key"
            )


def _names_of_labels(plan: _Plan, keys: ObsKeys) -> Iterator[tuple[str, tuple[str, ...]]]:
    groups = plan.groups
    yield "data sets", groups.datasets
    yield "cell types", groups.cell_types
    yield "perturbations", (*groups.perturbations, groups.control)
    yield "batches", groups.batches
    yield from zip(keys.covariates, groups.covariates, strict=True)


def _empty_cells(statistics: Sequence[FileStatistics]) -> list[str]:
    """Say how many cells have no counts, and whose controls all are so."""
    empty = sum(file.num_empty for file in statistics)
    lines = [f"{empty} cells have no counts at all: they are kept as zeros"] if empty else []
    bare = [name for file in statistics for name in file.empty_controls]
    if bare:
        more = f" and {len(bare) - 3} more" if len(bare) > 3 else ""
        lines.append(
            f"every control cell of {', '.join(map(repr, bare[:3]))}{more} is empty: nothing is known of its state"
        )
    return lines


def _summarise(
    config: PrepareSettings, manifest: Manifest, plan: _Plan, *, num_genes_found: int, warnings: tuple[str, ...]
) -> PrepareSummary:
    groups = manifest.groups
    cells = {part.value: plan.split.count_cells(part) for part in Split}
    cells["control"] = int(groups.num_cells[groups.is_control].sum())
    cells["excluded"] = sum(entry.num_cells for entry in manifest.inputs) - manifest.num_cells
    return PrepareSummary(
        out=config.out,
        num_groups=len(groups),
        num_cells=manifest.num_cells,
        cells_by_split=cells,
        num_filtered=sum(each.num_filtered for each in plan.surveys),
        num_genes=len(manifest.card.genes),
        num_genes_found=num_genes_found,
        genes_by_input={entry.name: entry.num_genes for entry in manifest.inputs},
        kind=manifest.card.scale.source,
        num_fallback_groups=count_fallbacks(groups),
        num_other_covariates=count_other_covariates(groups),
        num_bytes=sum(path.stat().st_size for path in config.out.iterdir()),
        split_sha256=manifest.card.split_sha256,
        agents=describe_agents(manifest.card.perturbations, config.grammar),
        warnings=warnings,
    )


def count_other_covariates(groups: GroupTable) -> int:
    """Return how many perturbed groups have controls of other covariates only."""
    matched = ControlMatcher(groups, allow_missing=True)
    return int((matched.has_other_covariates & ~groups.is_control).sum())


def count_fallbacks(groups: GroupTable) -> int:
    """Return how many perturbed groups have controls of other batches only; those of a part may have none."""
    matched = ControlMatcher(groups, allow_missing=True)
    return int((matched.is_fallback & ~groups.is_control).sum())
