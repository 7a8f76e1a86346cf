# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The commands as functions, for notebooks and scripts.

    from bionemo.scale import api

    api.prepare(["screen.h5ad"], "store", split="split.toml")
    api.train("store", "run", size="small", max_steps=500)
    predicted = api.Predictor.from_pretrained("run").predict(controls, perturbations=["IFN-beta"])
    scores = api.evaluate(predicted, measured, "scores", store="store")
    api.plot.delta(scores)

Importing this module is quick, because libraries are imported when a function needs them. Input that cannot be used
raises :class:`~bionemo.scale.types.InputError` with the line that the command would print.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from bionemo.scale.files.provenance import version_of
from bionemo.scale.files.quiet import quiet_libraries
from bionemo.scale.infer.trained_run import Run
from bionemo.scale.notebook.cells import (
    CellsLike,
    GivenFiles,
    PathLike,
    each_cells,
    forget_unfinished,
    given_files,
    is_anndata,
    is_cells,
)
from bionemo.scale.notebook.predictor import LabelsLike, Predictor
from bionemo.scale.notebook.process import run_command
from bionemo.scale.notebook.refusals import names_arguments
from bionemo.scale.notebook.scored import score_cells
from bionemo.scale.options.arguments import arguments
from bionemo.scale.types import FileLabels, InputError, ObsKeys


if TYPE_CHECKING:
    from bionemo.scale.crossval.pooled import Pooled
    from bionemo.scale.data.features.build import FeaturesSummary
    from bionemo.scale.data.prepare.preprocess import PrepareSummary
    from bionemo.scale.eval.evaluate import Evaluation
    from bionemo.scale.model.config import ScaleModelConfig as ScaleModelConfig
    from bionemo.scale.model.scale_model import ScaleModel as ScaleModel
    from bionemo.scale.notebook import plot as plot
    from bionemo.scale.rank.rank import Ranking
    from bionemo.scale.run.config.config_models import DataConfig as DataConfig
    from bionemo.scale.run.config.config_models import ExperimentConfig as ExperimentConfig
    from bionemo.scale.run.config.config_models import ExposedScaleConfig as ExposedScaleConfig
    from bionemo.scale.run.config.config_models import MainConfig as MainConfig
    from bionemo.scale.run.config.config_models import OptimizerSchedulerConfig as OptimizerSchedulerConfig
    from bionemo.scale.run.config.config_models import ParallelConfig as ParallelConfig
    from bionemo.scale.run.config.config_models import TrainingConfig as TrainingConfig
    from bionemo.scale.submit.write import Submission
    from bionemo.scale.train.config import ScaleConfig as ScaleConfig
    from bionemo.scale.train.settings import TrainSettings as TrainSettings

__all__ = (
    "FileLabels",
    "InputError",
    "ObsKeys",
    "Predictor",
    "Run",
    "crossval",
    "evaluate",
    "export",
    "features",
    "infer",
    "prepare",
    "rank",
    "report",
    "submit",
    "train",
)
"""What ``import *`` takes, which imports no large library."""


_LATE = {
    "train.settings": ("TrainSettings",),
    "notebook.plot": ("plot",),
    "model.config": ("ScaleModelConfig",),
    "model.scale_model": ("ScaleModel",),
    "train.config": ("ScaleConfig",),
    "run.config.config_models": (
        "MainConfig",
        "DataConfig",
        "ExposedScaleConfig",
        "OptimizerSchedulerConfig",
        "ParallelConfig",
        "TrainingConfig",
        "ExperimentConfig",
    ),
}
"""What is imported when it is first used, by module: most of it needs large libraries."""
_WITHOUT_MEGATRON = ("train.settings", "notebook.plot")


def __dir__() -> list[str]:
    """Return every public name, also of what is imported late."""
    return sorted({*__all__, "__version__", *(name for names in _LATE.values() for name in names)})


def __getattr__(name: str) -> Any:
    """Return the version as ``__version__``, which namespaces have none of, and what takes time to import."""
    if name == "__version__":
        return version_of("bionemo-scale")
    module = next((module for module, names in _LATE.items() if name in names), None)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found = _imported(module)
    except ModuleNotFoundError as error:
        raise _needed(name, error) from None
    return found if module.endswith(f".{name}") else getattr(found, name)


def _imported(module: str) -> ModuleType:
    with quiet_libraries():
        if module not in _WITHOUT_MEGATRON:
            from bionemo.scale.megatron import cpu

            cpu.install()
        return import_module(f"bionemo.scale.{module}")


def _needed(name: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """Return the same error in the words of the commands, where a package is not installed."""
    from bionemo.scale.process.command import is_absent, needs

    if not is_absent(error.name):
        return error
    return ModuleNotFoundError(needs(f"api.{name}", error.name), name=error.name)


@names_arguments("data.prepare.settings.PrepareSettings")
def prepare(
    inputs: CellsLike | Sequence[CellsLike],
    out: PathLike,
    *,
    split: PathLike | None = None,
    keys: ObsKeys = ObsKeys(),
    controls: LabelsLike = ("control",),
    **options: Any,
) -> "PrepareSummary":
    """Make a store of AnnData objects or h5ad files.

    Args:
        inputs: AnnData object or h5ad file, or several, of raw counts or log1p values.
        out: The store, a folder that is made.
        split: Split file (TOML); without it every cell is training data.
        keys: The obs columns that label a cell.
        controls: Perturbation labels of control cells. If there are several, the store has the first for all of them.
        **options: Other fields of :class:`bionemo.scale.data.prepare.settings.PrepareSettings`: datasets, num_hvg,
            target_sum, library_size_key, matrix, gene_key, join, knockdown, codec, workers, overwrite.

    Returns:
        Numbers of cells, by part of the split too, and of groups and genes; size in bytes and time in seconds.

    Raises:
        InputError: The input cannot be used; nothing is left at ``out``.

    Example:
        ```python
        api.prepare(
            "examples/data/kang2018_pbmc_ifnb.h5ad",
            "store",
            split="examples/splits/kang.toml",
            datasets=["kang"],
            library_size_key="n_counts_full",
        )
        ```
    """
    from bionemo.scale.data.prepare.preprocess import prepare as prepare_store
    from bionemo.scale.data.prepare.settings import PrepareSettings

    with given_files() as files, _unfinished_forgotten(files, Path(out)):
        paths = files.inputs(inputs, options)
        return prepare_store(
            PrepareSettings.make(inputs=paths, out=out, split=split, keys=keys, controls=controls, **options)
        )


@names_arguments("data.features.settings.FeaturesSettings")
def features(out: PathLike, **options: Any) -> "FeaturesSummary":
    """Make vectors of genes or drugs for ``perturbation_features``.

    Args:
        out: File to write, .parquet.
        **options: Other fields of :class:`bionemo.scale.data.features.settings.FeaturesSettings`: from_store,
            gene_sets, network, embedding, smiles (files, or lists of them), size, store, names, targets, leave_out,
            like, overwrite.

    Returns:
        How many names have a vector, how many numbers of each kind it has, and which names were left out.

    Raises:
        InputError: A source cannot be read, or a name that must have a vector has none; nothing is written.

    Example:
        ```python
        api.features("vectors.parquet", from_store="store", names=["STAT1", "IRF7"], leave_out=True)
        ```
    """
    from bionemo.scale.data.features.build import make_features
    from bionemo.scale.data.features.settings import FeaturesSettings

    return make_features(FeaturesSettings.make(out=out, **options))


@names_arguments("train.settings.TrainSettings")
def train(
    store: CellsLike | Sequence[CellsLike],
    out: PathLike,
    *,
    prepare: Mapping[str, Any] | None = None,
    size: str | None = None,
    model: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """Train on a store, from the start or from the weights of another run, or continue the run that a folder holds.

    Training runs in a process of its own, or in as many as ``devices`` says, so a notebook keeps its memory. Progress
    goes to standard error.

    Args:
        store: Folder that :func:`prepare` made. Or cells, an AnnData object or a list of them, which are prepared
            first; their store is ``store`` in the run folder.
        out: Run folder.
        prepare: Fields of :class:`bionemo.scale.data.prepare.settings.PrepareSettings` by name, for cells.
        size: "tiny", "small", "base", "184m" or "280m", which have defaults of their own. ``None`` is "small", or the
            network of ``from_checkpoint``.
        model: Fields of :class:`bionemo.scale.model.config.ScaleModelConfig` by name.
        **settings: Other fields of :class:`bionemo.scale.train.settings.TrainSettings`: preset ("paper" or "default"),
            max_steps, seed, lr, from_checkpoint, freeze, ...

    Returns:
        The run folder.

    Raises:
        InputError: The store or the settings cannot be used.
        RuntimeError: Training failed; the log is in the run folder.

    Example:
        ```python
        run = api.train("store", "run", size="small", max_steps=400)
        ```
    """
    from bionemo.scale.recipes.defaults import train_settings

    out, given = Path(out).resolve(), is_cells(store)
    if prepare and not given:
        raise InputError("prepare goes with cells: a store is prepared already")
    folder = out / "store" if given else Path(cast(PathLike, store)).resolve()
    chosen = train_settings(size, store=folder, out=out, overrides=dict(model or {}), **settings)
    with _store_of_cells(store, folder, dict(prepare or {})) if given else nullcontext():
        run_command("bionemo.scale.run.train", arguments(chosen))
    return chosen.out


@contextmanager
def _store_of_cells(cells: Any, store: Path, options: dict[str, Any]) -> Iterator[None]:
    """Prepare cells for a training, which takes away what it made if it is refused before a checkpoint of its own."""
    from bionemo.scale.data.prepare.again import prepare_once
    from bionemo.scale.data.prepare.settings import PrepareSettings
    from bionemo.scale.files.writing.folder import new_folder

    with new_folder(store.parent) as run, given_files() as files, _unfinished_forgotten(files, store):
        paths = files.inputs(cells, options)
        is_new = prepare_once(PrepareSettings.make(inputs=paths, out=store, **options), files.folder)
        before = set(run.path.glob("checkpoints/*"))
        try:
            yield
        except InputError:
            if is_new and set(run.path.glob("checkpoints/*")) == before:
                shutil.rmtree(store)
                run.remove()
            raise


@contextmanager
def _unfinished_forgotten(files: GivenFiles, store: Path) -> Iterator[None]:
    """Remove a conversion of cells that is interrupted: no later call has the same files."""
    try:
        yield
    except KeyboardInterrupt:
        if not files.is_empty:
            forget_unfinished(store)
        raise


@names_arguments("infer.settings.InferSettings")
def infer(checkpoint: PathLike, out: PathLike, **options: Any) -> Path:
    """Predict as ``bionemo-scale-infer`` does, in a process of its own: a split of a store, or a whole screen.

    For cells of a notebook see :class:`Predictor`, which keeps the model between calls.

    Args:
        checkpoint: Run folder, or one of its checkpoints.
        out: h5ad to write; for a split a folder.
        **options: Other fields of :class:`bionemo.scale.infer.settings.InferSettings`: store, split, with_controls,
            adata (an AnnData object or its file), measured, perturbations, all_perturbations, output, ...

    Returns:
        The h5ad of predictions. The measured cells of a split are beside it, in ``adata_real.h5ad``.

    Raises:
        InputError: The input cannot be used.
        RuntimeError: The prediction failed.

    Example:
        ```python
        held_out = api.infer("run", "predicted", store="store", split="test", with_controls=True)
        ```
    """
    from bionemo.scale.infer.settings import InferSettings

    with given_files() as files:
        if is_anndata(options.get("adata")):
            with quiet_libraries():
                from bionemo.scale.megatron import cpu

                cpu.install()
                from bionemo.scale.model.checkpoint import find_checkpoint, read_config

            card = read_config(find_checkpoint(Path(checkpoint)))[1]
            options["matrix"] = options.get("matrix") or card.matrix
            options["gene_key"] = options.get("gene_key") or card.gene_key
            layout = {name: options[name] for name in ("matrix", "gene_key")}
            options["adata"] = files.path(options["adata"], "adata", **layout)
        settings = InferSettings.make(checkpoint=checkpoint, out=out, **options)
        run_command("bionemo.scale.run.infer", arguments(settings))
    return settings.pred_path


@names_arguments("export.settings.ExportSettings")
def export(run: PathLike, out: PathLike, **options: Any) -> Path:
    """Write a run as a folder that can be moved and published, as ``bionemo-scale-export`` does.

    Args:
        run: Run folder, or one of its checkpoints.
        out: Folder to write.
        **options: Other fields of :class:`bionemo.scale.export.settings.ExportSettings`: format, scores, name,
            license, data_license, overwrite.

    Returns:
        The folder, which :meth:`Predictor.from_pretrained` and ``bionemo-scale-infer`` take as they take a run.

    Raises:
        InputError: The run cannot be used, or something else is at ``out``.
        RuntimeError: The export failed and left nothing.

    Example:
        ```python
        api.export("run", "model", name="IFN-beta in blood cells")
        ```
    """
    from bionemo.scale.export.settings import ExportSettings

    settings = ExportSettings.make(run=run, out=out, **options)
    run_command("bionemo.scale.run.export", arguments(settings))
    return settings.out


@names_arguments("submit.settings.SubmitSettings")
def submit(
    inputs: CellsLike | Sequence[CellsLike],
    out: PathLike,
    *,
    genes: PathLike,
    perturbations: PathLike,
    **options: Any,
) -> "Submission":
    """Check predicted counts and write one file for the Virtual Cell Challenge, as ``bionemo-scale-submit`` does.

    Args:
        inputs: AnnData object or h5ad of predicted counts, or several.
        out: h5ad to write.
        genes: CSV with the genes in the order asked for.
        perturbations: CSV with the perturbations of every context.
        **options: Other fields of :class:`bionemo.scale.submit.settings.SubmitSettings`: contexts,
            cells_per_condition, seed, ...

    Returns:
        What was written, with notes on what was left out.

    Raises:
        InputError: A rule is broken that cannot be mended; nothing is written.

    Example:
        ```python
        api.infer("run", "counts.h5ad", store="store", all_perturbations=True, output="counts")
        api.submit("counts.h5ad", "submission.h5ad", genes="gene_names.csv", perturbations="pert_counts.csv")
        ```
    """
    from bionemo.scale.submit.settings import SubmitSettings
    from bionemo.scale.submit.write import submit as write_submission

    with given_files() as files:
        paths = [files.path(cells, f"inputs-{row}", matrix="X") for row, cells in enumerate(each_cells(inputs))]
        panel = {"genes": genes, "perturbations": perturbations}
        return write_submission(SubmitSettings.make(inputs=paths, out=out, **panel, **options))


@names_arguments("rank.settings.RankSettings")
def rank(screen: CellsLike, out: PathLike, **options: Any) -> "Ranking":
    """Order the conditions of a virtual screen, or choose those to measure next, as ``bionemo-scale-rank`` does.

    Args:
        screen: Predictions as an AnnData object or its file: one row for each condition, or cells with their controls.
        out: CSV to write.
        **options: Other fields of :class:`bionemo.scale.rank.settings.RankSettings`: by, next, signature, up, down,
            cell_types, ...

    Returns:
        The table, best first, with notes.

    Raises:
        InputError: The screen or the signature cannot be used; nothing is written.

    Example:
        ```python
        ranked = api.rank("predicted/adata_pred.h5ad", "ranks.csv", by="effect")
        print(ranked.table.head())
        ```
    """
    from bionemo.scale.rank.rank import rank as rank_screen
    from bionemo.scale.rank.settings import RankSettings

    with given_files() as files:
        return rank_screen(RankSettings.make(screen=files.path(screen, "screen", matrix=None), out=out, **options))


@names_arguments("eval.settings.ReportSettings")
def report(run: PathLike, **options: Any) -> Path:
    """Write the page of a run and its scores, as ``bionemo-scale-report`` does.

    Args:
        run: Run folder, the folder that holds it as ``run``, a result folder of :func:`evaluate`, or an h5ad of
            predictions. A run without scores gets a page of its training.
        **options: Other fields of :class:`bionemo.scale.eval.settings.ReportSettings`: scores, out, umap, ...; pred
            and real may be AnnData objects.

    Returns:
        The HTML file.

    Raises:
        InputError: There is neither a run nor scores, or a file cannot be used.
        RuntimeError: The page could not be written.

    Example:
        ```python
        page = api.report("run", scores="scores")
        ```
    """
    from bionemo.scale.eval.settings import ReportSettings

    with given_files() as files:
        for name in ("pred", "real"):
            if options.get(name) is not None:
                options[name] = files.path(options[name], name, matrix="X")
        settings = ReportSettings.make(run=run, **options)
        run_command("bionemo.scale.run.report", arguments(settings))
    return settings.page_path


@names_arguments("eval.settings.EvaluateSettings")
def evaluate(
    pred: CellsLike | Mapping[str, CellsLike],
    real: CellsLike,
    out: PathLike,
    *,
    store: PathLike | None = None,
    keys: ObsKeys = ObsKeys(),
    control: str = "control",
    target_sum: float | None = None,
    pred_labels: FileLabels | Mapping[str, FileLabels] | None = None,
    **options: Any,
) -> "Evaluation":
    """Score predicted cells against real ones with cell-eval, next to baselines; progress goes to standard error.

    Args:
        pred: AnnData object or h5ad of predicted cells, or several by the name they have in the tables.
        real: AnnData object or h5ad of the real perturbed cells and the controls of their cell types.
        out: Folder for the results.
        store: Training store, for the baselines that learn; without it they are left out.
        keys: obs columns of files that this package did not write. Without a column cell_type or batch, all cells are
            of one cell type or batch.
        control: Perturbation label of control cells of such files.
        target_sum: Library size that counts of such files were scaled to before log1p, in counts per cell.
        pred_labels: Columns, control and scale of predictions, if they differ from those of ``real``; one for all
            predictions, or one for each by name.
        **options: Fields of :class:`bionemo.scale.eval.settings.ScoringSettings`: control_policy, baselines, ceiling,
            evaluator, de, replicate_key, gene_sets, plot, ...; ``values="log1p"`` if this cannot be seen from
            ``real``; and ``perturbation_features``, a file of vectors for the baselines that use them.

    Returns:
        ``scores``, a polars table with one row per model, cell type and perturbation; ``table``; ``summary``; and
        ``out``, the folder.

    Raises:
        InputError: The files cannot be compared.

    Example:
        ```python
        found = api.evaluate(
            {"SCALE": "predicted/adata_pred.h5ad"}, "predicted/adata_real.h5ad", "scores", store="store"
        )
        print(found.table)
        ```
    """
    labels = FileLabels(keys=keys, control=control, target_sum=target_sum, values=options.pop("values", None))
    return score_cells(pred, real, Path(out), store=store, labels=labels, pred_labels=pred_labels, options=options)


@names_arguments("crossval.settings.CrossvalSettings")
def crossval(
    out: PathLike,
    *,
    inputs: CellsLike | Sequence[CellsLike] = (),
    prepare: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    **options: Any,
) -> "Pooled | None":
    """Leave out each cell type, donor or perturbation of a screen in turn, and score what is predicted of it.

    Args:
        out: Folder for the results; the same call continues.
        inputs: AnnData object or h5ad file of the screen, or several; or give ``store``.
        prepare: Fields of :class:`bionemo.scale.data.prepare.settings.PrepareSettings` by name, for ``inputs``.
        train: Fields of :class:`bionemo.scale.train.settings.TrainSettings` by name.
        **options: Fields of :class:`bionemo.scale.crossval.settings.CrossvalSettings`: leave_out, no_network, ...

    Returns:
        ``scores``, ``table``, ``models`` and ``against_best_baseline`` over folds; ``None`` for a single ``fold``.

    Raises:
        InputError: The input or the settings cannot be used.
        RuntimeError: A fold ended without success.

    Example:
        ```python
        pooled = api.crossval(
            "folds",
            inputs="examples/data/kang2018_pbmc_ifnb.h5ad",
            prepare={"datasets": ["kang"], "library_size_key": "n_counts_full"},
            leave_out="cell-type",
            only=["CD4 T", "NK"],
            no_network=True,
        )
        print(pooled.table)
        ```
    """
    from bionemo.scale.crossval.crossval import STORE, Crossval
    from bionemo.scale.crossval.job import cross_validate
    from bionemo.scale.crossval.settings import CrossvalSettings

    options_of_prepare = dict(prepare or {})
    with given_files() as files, _unfinished_forgotten(files, Path(out) / STORE):
        paths = files.inputs(inputs, options_of_prepare)
        settings = CrossvalSettings.make(out=out, inputs=tuple(paths), **options)
        if settings.on != "local" or settings.dryrun:
            raise InputError("on and dryrun are options of the command: expected neither")
        chosen = Crossval(settings=settings, prepare=options_of_prepare, train=dict(train or {}))
        return cross_validate(chosen, _say)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
