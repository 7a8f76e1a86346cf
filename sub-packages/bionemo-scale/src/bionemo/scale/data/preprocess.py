# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From h5ad files to a store: the one function behind ``bionemo-scale-prepare``."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import reduce
from importlib import metadata
from pathlib import Path

import numpy as np

from bionemo.scale.data.controls import ControlMatcher
from bionemo.scale.data.expression import FileStatistics, read_library_size, scan
from bionemo.scale.data.format import MANIFEST_NAME, OBS_NAME, SPLIT_NAME
from bionemo.scale.data.groups import GroupTable
from bionemo.scale.data.h5ad import H5adSource
from bionemo.scale.data.hvg import GeneMoments, select_genes
from bionemo.scale.data.layout import Layout, count_conditions, lay_out, read_labels
from bionemo.scale.data.manifest import FileEntry, InputEntry, Manifest, hash_file
from bionemo.scale.data.split import ResolvedSplit, check_leakage, read_split, resolve_split
from bionemo.scale.data.writer import BUCKET_ENTRIES, ObsWriter, ShardJob, write_shards
from bionemo.scale.types import DataCard, ExpressionScale, InputError, ObsKeys, Split


logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with the stage (``scan``, then ``write``), the cells it has just done, and all cells of the stage."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What to make a store of, and how."""

    inputs: tuple[Path, ...]
    """h5ad files."""
    out: Path
    """The store, a folder that is made."""
    keys: ObsKeys = field(default_factory=ObsKeys)
    controls: tuple[str, ...] = ("control",)
    """Perturbation labels of control cells; all become the first."""
    datasets: tuple[str, ...] = ()
    """Name of each file's data set; file names without ending when empty."""
    split: Path | None = None
    """Split file; ``None`` makes every cell training data."""
    num_hvg: int = 2000
    """Highly variable genes to keep; 0 keeps all."""
    target_sum: float = 1e4
    """Library size cells are scaled to."""
    library_size_key: str | None = None
    """obs column with library sizes; ``None`` sums the counts of the file's genes."""
    layer: str | None = None
    """Layer to read instead of X."""
    gene_key: str | None = None
    """var column with gene names; ``None`` is the index."""
    overwrite: bool = False
    """Replace the store at ``out``."""
    bucket_entries: int = BUCKET_ENTRIES
    """Stored values sorted in memory at once."""


@dataclass(frozen=True, kw_only=True)
class PrepareSummary:
    """What was made."""

    out: Path
    num_groups: int
    """Perturbed and control groups."""
    num_cells: int
    cells_by_split: dict[str, int]
    """Perturbed cells of each split, ``control`` cells and ``excluded`` cells."""
    num_genes: int
    num_genes_found: int
    """Genes that all files have."""
    kind: str
    """``counts`` or ``log1p``."""
    num_fallback_groups: int
    """Perturbed groups whose controls come from other batches."""
    num_bytes: int
    split_sha256: str | None
    warnings: tuple[str, ...]


def prepare(config: PrepareConfig, progress: Progress = lambda stage, cells, total: None) -> PrepareSummary:
    """Make a store from h5ad files; memory does not grow with their size, but for labels and names.

    The store appears at ``config.out`` when it is complete, or not at all.

    Args:
        config: What and how.
        progress: Told of every piece of work.

    Raises:
        InputError: The input cannot be used; one line says why.
    """
    _check_config(config)
    with ExitStack() as stack:
        sources = [
            stack.enter_context(H5adSource(path, layer=config.layer, gene_key=config.gene_key))
            for path in config.inputs
        ]
        genes = _common_genes(sources)
        files = read_labels(sources, _datasets(config), config.keys, config.controls)
        spec = read_split(config.split) if config.split else None
        split = resolve_split(spec, count_conditions(files), control=config.controls[0])
        layout = lay_out(files, split)
        _check_groups(layout.groups)
        total = sum(source.num_cells for source in sources)
        statistics = _scan_all(config, sources, layout, lambda cells: progress("scan", cells, total))
        kept = _choose_genes(config, sources, genes, [file.moments for file in statistics])
        card = DataCard(
            genes=tuple(kept.tolist()),
            cell_types=layout.groups.cell_types,
            perturbations=layout.groups.perturbations,
            batches=layout.groups.batches,
            control=config.controls[0],
            scale=ExpressionScale(
                target_sum=config.target_sum,
                source=statistics[0].kind,
                library_size_key=config.library_size_key if statistics[0].kind == "counts" else None,
            ),
            keys=config.keys,
            split_sha256=split.sha256 if spec else None,
        )
        with _atomic_folder(config.out) as folder:
            manifest = _write_store(
                config,
                folder,
                sources,
                layout,
                statistics,
                card,
                split if spec else None,
                lambda cells: progress("write", cells, total),
            )
    return _summarise(config, manifest, split, len(genes), _warnings(config, statistics, split))


def _check_config(config: PrepareConfig) -> None:
    if config.datasets and len(config.datasets) != len(config.inputs):
        raise InputError(f"expected one dataset name for each of {len(config.inputs)} files, found {config.datasets}")
    for path in config.inputs:
        if config.inputs.count(path) > 1:
            raise InputError(f"{path}: the file is given twice")
    if config.num_hvg < 0 or not config.target_sum > 0:
        raise InputError(
            f"expected hvg of at least 0 and a positive target sum, found {config.num_hvg} and {config.target_sum}"
        )
    if config.out.exists() and not _is_empty_folder(config.out):
        if not config.overwrite:
            raise InputError(f"{config.out}: exists already; choose another folder or give --overwrite")
        if not (config.out / MANIFEST_NAME).is_file():
            raise InputError(f"{config.out}: only a store is overwritten, found no {MANIFEST_NAME} in it")


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _common_genes(sources: Sequence[H5adSource]) -> np.ndarray:
    """Genes that every file has, in the order of the first."""
    shared = set.intersection(*(set(source.genes) for source in sources))
    genes = sources[0].genes
    kept = genes[[gene in shared for gene in genes]]
    if not len(kept):
        names = ", ".join(str(source.path) for source in sources)
        raise InputError(f"{names}: expected genes in common, found none; the first names are {_first_names(sources)}")
    for source in sources:
        if source.num_genes > len(kept):
            logger.info("%s: %d of %d genes are in every file", source.path, len(kept), source.num_genes)
    return kept


def _first_names(sources: Sequence[H5adSource]) -> str:
    return ", ".join(repr(str(source.genes[0])) for source in sources)


def _check_groups(groups: GroupTable) -> None:
    ControlMatcher(groups)
    check_leakage(
        ((groups.label(index), Split(groups.split[index])) for index in range(len(groups))), control=groups.control
    )


def _scan_all(
    config: PrepareConfig, sources: Sequence[H5adSource], layout: Layout, progress: Callable[[int], None]
) -> list[FileStatistics]:
    statistics: list[FileStatistics] = []
    is_training = layout.groups.split == Split.TRAIN
    for source, rows in zip(sources, layout.rows, strict=True):
        group = np.searchsorted(layout.groups.first_row, rows, side="right") - 1
        key = config.library_size_key
        statistics.append(
            scan(
                source,
                is_training=(rows >= 0) & is_training[group],
                library_size=None if key is None else read_library_size(source, key),
                target_sum=config.target_sum,
                progress=progress,
            )
        )
        if statistics[-1].kind != statistics[0].kind:
            raise InputError(
                f"{source.path}: expected the scale of {sources[0].path}, {statistics[0].kind}, found "
                f"{statistics[-1].kind}; give files of one scale"
            )
    return statistics


def _choose_genes(
    config: PrepareConfig, sources: Sequence[H5adSource], genes: np.ndarray, moments: Sequence[GeneMoments]
) -> np.ndarray:
    if not 0 < config.num_hvg < len(genes):
        return genes
    total = GeneMoments(len(genes))
    for source, part in zip(sources, moments, strict=True):
        total.add_moments(part, _positions(genes, source.genes))
    chosen = genes[select_genes(total, config.num_hvg)]
    if not len(chosen):
        names = ", ".join(str(source.path) for source in sources)
        raise InputError(f"{names}: expected genes that vary over training cells, found none")
    return chosen


def _positions(genes: np.ndarray, among: np.ndarray) -> np.ndarray:
    """[genes] int64, where each gene is in ``among``, -1 if nowhere."""
    index = {gene: position for position, gene in enumerate(among.tolist())}
    return np.array([index.get(gene, -1) for gene in genes.tolist()], dtype=np.int64)


def _write_store(
    config: PrepareConfig,
    folder: Path,
    sources: Sequence[H5adSource],
    layout: Layout,
    statistics: Sequence[FileStatistics],
    card: DataCard,
    split: ResolvedSplit | None,
    progress: Callable[[int], None],
) -> Manifest:
    obs = ObsWriter(folder / OBS_NAME, layout.groups)
    shards: list[FileEntry] = []
    dtypes = []
    kept = np.array(card.genes)
    for number, (source, rows, known) in enumerate(zip(sources, layout.rows, statistics, strict=True)):
        job = ShardJob(
            groups=layout.groups,
            shard=number,
            rows=rows,
            num_entries=known.num_entries,
            library_size=known.library_size,
            columns=_positions(source.genes, kept),
            num_genes=len(kept),
            is_counts=known.kind == "counts",
            bucket_entries=config.bucket_entries,
        )
        written = write_shards(source, job, folder=folder, progress=progress)
        shards += [written.perturbed, written.control]
        dtypes.append(written.value_dtype)
        obs.write(source.cell_names(), rows)
    obs.close()
    if split:
        (folder / SPLIT_NAME).write_text(split.to_json(), encoding="utf-8")
    manifest = Manifest(
        card=card,
        groups=layout.groups,
        shards=tuple(shards),
        obs=_entry(folder / OBS_NAME, int(layout.groups.num_cells.sum())),
        value_dtype=reduce(max, dtypes).name,
        split=split.summary() if split else None,
        inputs=tuple(
            InputEntry(
                name=source.path.name,
                dataset=dataset,
                num_bytes=source.path.stat().st_size,
                sha256=hash_file(source.path),
                num_cells=source.num_cells,
                num_genes=source.num_genes,
            )
            for source, dataset in zip(sources, _datasets(config), strict=True)
        ),
        versions={name: _version(name) for name in ("bionemo-scale", "anndata", "lmdb", "numpy")},
    )
    (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _datasets(config: PrepareConfig) -> tuple[str, ...]:
    return config.datasets or tuple(path.stem for path in config.inputs)


def _entry(path: Path, num_cells: int) -> FileEntry:
    return FileEntry(name=path.name, num_bytes=path.stat().st_size, sha256=hash_file(path), num_cells=num_cells)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"


@contextmanager
def _atomic_folder(out: Path) -> Iterator[Path]:
    """Give a folder beside ``out`` that takes its place at the end, or is removed if anything fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.with_name(f".{out.name}.partial-{os.getpid()}")
    folder.mkdir()
    try:
        yield folder
        if out.exists() and not _is_empty_folder(out):
            _swap(folder, out)
        else:
            folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _swap(folder: Path, out: Path) -> None:
    """Put ``folder`` in the place of ``out``; a folder that is not empty cannot be replaced in one step."""
    old = out.with_name(f".{out.name}.old-{os.getpid()}")
    out.rename(old)
    try:
        folder.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old)


def _warnings(config: PrepareConfig, statistics: Sequence[FileStatistics], split: ResolvedSplit) -> tuple[str, ...]:
    lines = []
    if config.library_size_key and statistics[0].kind == "log1p":
        lines.append(f"values are log1p already: library sizes in {config.library_size_key!r} were not used")
    below = sum(file.num_below_total for file in statistics)
    if below:
        lines.append(f"{below} cells have a library size in {config.library_size_key!r} below the sum of their counts")
    if split.absent:
        names = ", ".join(".".join(condition) for condition in split.absent[:3])
        lines.append(f"{len(split.absent)} held-out conditions of the split have no cells ({names} ...)")
    return tuple(lines)


def _summarise(
    config: PrepareConfig,
    manifest: Manifest,
    split: ResolvedSplit,
    num_genes_found: int,
    warnings: tuple[str, ...],
) -> PrepareSummary:
    groups = manifest.groups
    cells = {part.value: split.count_cells(part) for part in Split}
    cells["control"] = int(groups.num_cells[groups.is_control].sum())
    cells["excluded"] = sum(entry.num_cells for entry in manifest.inputs) - manifest.num_cells
    return PrepareSummary(
        out=config.out,
        num_groups=len(groups),
        num_cells=manifest.num_cells,
        cells_by_split=cells,
        num_genes=len(manifest.card.genes),
        num_genes_found=num_genes_found,
        kind=manifest.card.scale.source,
        num_fallback_groups=int((ControlMatcher(groups).is_fallback & ~groups.is_control).sum()),
        num_bytes=sum(path.stat().st_size for path in config.out.iterdir()),
        split_sha256=manifest.card.split_sha256,
        warnings=warnings,
    )
