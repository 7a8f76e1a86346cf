# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The commands that damaged inputs are given to, and what is compared of their results."""

import gc
import hashlib
import importlib
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch
from forked import Main
from scipy.sparse import issparse
from torch.distributed.checkpoint import FileSystemReader, load

from bionemo.scale import types as types_of_package
from bionemo.scale.data.store.reader import Store
from bionemo.scale.model.checkpoint import newest_whole
from bionemo.scale.process import interrupt
from bionemo.scale.run import crossval, evaluate, export, features, infer, prepare, rank, report, split, submit, train
from bionemo.scale.run.config import recipe
from bionemo.scale.run.inner import launch


LATE = (
    *("data/prepare", "data/labels", "data/features", "data/folds", "infer", "eval", "rank", "submit", "crossval"),
    *("train/setup", "train/finetune", "recipes", "run"),
)
"""Folders of modules that commands import when they need them: once here, rather than in every fork."""
LATE_LIBRARIES = (
    *(
        "adpbulk",
        "pdex",
        "cell_eval",
        "pyarrow.dataset",
        "pyarrow.pandas_compat",
        "einops._torch_specific",
        "lmdb._envid",
        "rdkit.Chem.Descriptors",
        "rdkit.Chem.MolStandardize.rdMolStandardize",
    ),
    *(
        "megatron.core.dist_checkpointing.strategies.torch",
        "megatron.core.transformer.moe.experts",
        "PIL.PngImagePlugin",
    ),
)


def import_all() -> None:
    """Import what the commands import late."""
    package = Path(types_of_package.__file__).parent
    files = [path.relative_to(package) for folder in LATE for path in sorted((package / folder).rglob("*.py"))]
    # The workers are for another environment.
    own = [
        ".".join(("bionemo.scale", *file.with_suffix("").parts)) for file in files if not file.stem.endswith("_worker")
    ]
    for name in (*own, *LATE_LIBRARIES):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def digest(*parts: object) -> str:
    """Return a short hash of values; arrays count with their bytes."""
    found = hashlib.sha256()
    for part in parts:
        found.update(np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return found.hexdigest()[:16]


def of_store(path: str) -> str:
    """Return a digest of all cells of a store with their labels."""
    with Store.open(path) as store:
        rows = np.arange(store.num_cells)
        return digest(store.read(rows).toarray(), store.obs(rows).to_csv(), store.card, store.groups.split)


def of_h5ad(path: str) -> str:
    """Return a digest of predicted cells."""
    found = ad.read_h5ad(path)
    values = found.X.toarray() if issparse(found.X) else np.asarray(found.X)
    return digest(values, found.obs.to_csv(), list(found.var_names))


def of_scores(path: str) -> str:
    """Return a digest of the table of all scores."""
    return digest((Path(path) / "results.csv").read_text())


def of_text(path: str) -> str:
    """Return a digest of a text file."""
    return digest(Path(path).read_text(encoding="utf-8"))


def of_table(path: str) -> str:
    """Return a digest of the vectors of a parquet file."""
    found = pd.read_parquet(path)
    return digest(found.to_numpy(), list(found.index), list(found.columns))


def of_run(path: str) -> str:
    """Return a digest of a run: its losses, the names of its checkpoints, and the tensors of the newest."""
    checkpoint = newest_whole(Path(path) / "checkpoints")
    assert checkpoint is not None
    losses = (Path(path) / "metrics.csv").read_text().splitlines()
    tensors = dict(saved_tensors(checkpoint / "weights"))
    # A kill as the last one was copied leaves a run without that copy.
    names = sorted({entry.name.removesuffix("-last") for entry in checkpoint.parent.iterdir()})
    return digest(len(losses), names, *(tensors[name] for name in sorted(tensors)))


def saved_tensors(weights: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the tensors of a checkpoint, optimizer included."""
    described = FileSystemReader(weights).read_metadata().state_dict_metadata
    state = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in described.items()
        if hasattr(entry, "size")
    }
    load(state, storage_reader=FileSystemReader(weights), no_dist=True)
    for name, tensor in state.items():
        yield name, tensor.float().numpy()


def of_folder(path: str) -> str:
    """Return a digest of the files of a folder."""
    return digest(*((file.name, file.read_bytes()) for file in sorted(Path(path).iterdir())))


def of_page(path: str) -> str:
    """Return whether there is a page."""
    return "a page" if Path(path).read_text(encoding="utf-8").rstrip().endswith("</html>") else "half a page"


def nothing() -> str:
    """Return the same for every result."""
    return "done"


def without_training() -> None:
    """Let training be refused where it is refused, and end where it would begin."""
    module: Any = types.ModuleType("bionemo.scale.train.training")
    module.train = lambda run, screen, given: None
    sys.modules[module.__name__] = module
    train._train_in_processes = lambda settings, arguments: 0


def launch_main(arguments: Any) -> int:
    """Run the launch script on the site's file of the folder."""
    return launch.main(arguments, site=Path("site.yaml"))


def composed_main(arguments: Any) -> int:
    """Train on a store with NeMo's objects, and end where the process would become the command."""
    import nemo_run

    from bionemo.scale.recipes import composed, tasks

    composed.execute = lambda step: None
    recipe = tasks.train_recipe("tiny", *map(Path, arguments))
    recipe.trainer.max_steps, recipe.trainer.val_check_interval, recipe.trainer.log_every_n_steps = 4, 2, 1
    recipe.data.set_size, recipe.data.seed = 4, 3
    try:
        nemo_run.run(recipe, direct=True)
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        # A fork ends without what is done at the end of a process.
        interrupt._end()
    return 1


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command line, run in a folder that holds its inputs."""

    main: Main
    words: tuple[str, ...]
    out: str = "out"
    """The only name in the folder that it may make."""
    keeps: tuple[str, ...] = ()
    """What may stay where it is refused, for the same command goes on with it."""
    look: Callable[[], str] = nothing
    before: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        """Which command it is."""
        return self.main.__module__.rpartition(".")[2]

    def __str__(self) -> str:
        return " ".join((self.name, *self.words))


_OF_SCREEN = ("--dataset", "d", "--split", "split.toml", "--hvg", "20", "--out", "out")
_PRED, _REAL = "predicted/adata_pred.h5ad", "predicted/adata_real.h5ad"


def converts(*inputs: str, options: tuple[str, ...] = _OF_SCREEN) -> Command:
    """Return the command that makes a store."""
    return Command(main=prepare.main, words=(*inputs, *options), look=partial(of_store, "out"))


def predicts(*words: str, folder: str = "out.h5ad", checkpoint: str = "run") -> Command:
    """Return the command that predicts."""
    file = folder if folder.endswith(".h5ad") else f"{folder}/adata_pred.h5ad"
    arguments = ("--checkpoint", checkpoint, *words, "--out", folder)
    return Command(main=infer.main, words=arguments, out=folder, look=partial(of_h5ad, file))


def trains(*words: str, out: str = "out") -> Command:
    """Return the command that trains, up to its first step."""
    return Command(main=train.main, words=("--out", out, *words), out=out, before=without_training)


def scores(*words: str, pred: str = _PRED, real: str = _REAL) -> Command:
    """Return the command that scores."""
    arguments = ("--pred", pred, "--real", real, "--no-baselines", "--out", "out", *words)
    return Command(main=evaluate.main, words=arguments, look=partial(of_scores, "out"))


WITH_SETS = scores("--gene-sets", "members.gmt")


def shows(*words: str) -> Command:
    """Return the command that writes a page."""
    look = partial(of_page, "out.html")
    return Command(main=report.main, words=("scores", "--out", "out.html", *words), out="out.html", look=look)


def inspects(*words: str) -> Command:
    """Return what prepare says of a store."""
    return Command(main=prepare.main, words=words, out="")


def launches(where: str) -> Command:
    """Return the launch script, which shows what it would start."""
    words = ("--on", where, "--dryrun", "--inputs", "screen.h5ad", "--split", "split.toml", "--out", "out")
    return Command(main=launch_main, words=words, out="")


def ranks(*words: str, screen: str = "ranked.h5ad") -> Command:
    """Return the command that orders a screen."""
    return Command(
        main=rank.main,
        words=(screen, "--out", "ranks.csv", *words),
        out="ranks.csv",
        look=partial(of_text, "ranks.csv"),
    )


def submits(*words: str) -> Command:
    """Return the command that writes predicted counts for the challenge."""
    lists = ("--genes", "panel/gene_names.csv", "--perturbations", "panel/pert_counts.csv")
    return Command(
        main=submit.main,
        words=("counts.h5ad", *lists, "--cells-per-condition", "6", "--out", "submitted.h5ad", *words),
        out="submitted.h5ad",
        look=partial(of_h5ad, "submitted.h5ad"),
    )


def describes(*words: str) -> Command:
    """Return the command that makes vectors of the screen's perturbations."""
    look = partial(of_table, "made.parquet")
    return Command(main=features.main, words=(*words, "--out", "made.parquet"), out="made.parquet", look=look)


def settles(*words: str) -> Command:
    """Return the command that writes the settings of a training."""
    look = partial(of_text, "made.yaml")
    return Command(main=recipe.main, words=(*words, "--dest", "made.yaml"), out="made.yaml", look=look)


def holds_out(*words: str) -> Command:
    """Return the command that writes a split."""
    look = partial(of_text, "made.toml")
    return Command(main=split.main, words=(*words, "--out", "made.toml"), out="made.toml", look=look)


def crosses(*words: str, out: str = "out") -> Command:
    """Return the command that leaves out cell types in turn, without a network."""
    arguments = ("screen.h5ad", "--out", out, "--leave-out", "cell-type", "--fold-file", "folds.toml", *words)
    look = partial(of_text, f"{out}/scores.csv")
    return Command(main=crossval.main, words=(*arguments, "--dataset", "d", "--hvg", "20"), out=out, look=look)


SMALL = ("--size", "tiny", "--max-steps", "4", "--val-interval", "4", "--log-interval", "1", "--set-size", "4")
SPLIT_OF_STORE = predicts("--store", "store", folder="out")
CONTROLS = predicts("--adata", "controls.h5ad", "--perturbations", "p0,p1")
FROM_EXPORT, FROM_MEGATRON = (
    predicts("--adata", "controls.h5ad", "--perturbations", "p0,p1", checkpoint=name)
    for name in ("export", "megatron")
)
ON_EXPORT = trains(
    *("--store", "store", "--from-checkpoint", "export", "--max-steps", "2", "--perturbation-features", "features.csv")
)
EXPORTS = Command(main=export.main, words=("run", "--out", "out"), look=partial(of_folder, "out"))
FROM_LIST = predicts("--adata", "controls.h5ad", "--perturbations", "@labels.txt")
WITH_FEATURES = predicts(
    *("--adata", "controls.h5ad", "--perturbations", "p0,p9", "--perturbation-features", "features.csv")
)
ON_FEATURES = trains("--store", "store", *SMALL, "--perturbation-features", "features.csv")
ON_PARQUET = trains("--store", "store", *SMALL, "--perturbation-features", "features.parquet")
FROM_CONFIG = trains("--store", "store", "--config", "settings.yaml")
FROM_RECIPE = trains("--store", "store", "--config", "recipe.yaml")
OF_SIZE = settles("--size", "tiny", "--lr", "0.001")
OF_CONFIG, OF_RECIPE = (settles("--config", f"{name}.yaml") for name in ("settings", "recipe"))
FROM_CHECKPOINT = trains(
    *("--store", "store", "--from-checkpoint", "run", "--max-steps", "2", "--perturbation-features", "features.csv")
)
RESUMES = trains("--store", "store", *SMALL, "--perturbation-features", "features.csv", out="run")
OF_RUN = Command(
    main=report.main,
    words=("run", "--scores", "scores", "--out", "out.html"),
    out="out.html",
    look=partial(of_page, "out.html"),
)
_NAMES = ("--names", "p0,p1,p2")
BY_SIGNATURE = ranks("--by", "reversal", "--signature", "signature.csv")
BY_EFFECT = ranks("--cell-types", "A")
RANK_CELLS = ranks(screen=_PRED)
SUBMITS = submits()
OF_GENES = describes("--gene-sets", "sets.gmt", "--network", "edges.tsv", *_NAMES)
OF_TARGETS = describes("--gene-sets", "sets.gmt", "--targets", "targets.csv", *_NAMES)
OF_DRUGS = describes("--smiles", "drugs.csv", *_NAMES)
OF_STORE = describes("--from-store", "store", "--leave-out", *_NAMES)
OF_EMBEDDING = {
    name: describes("--embedding", name, *_NAMES)
    for name in ("features.csv", "features.parquet", "vectors.h5", "vectors.npz")
}
AT_RANDOM = holds_out("screen.h5ad", "--dataset", "d", "--share", "0.4")
BY_TIME = converts("screen.h5ad", options=(*_OF_SCREEN, "--covariate-key", "time"))
SIMILAR = holds_out("screen.h5ad", "--dataset", "d", "--hold-out", "similar", "--features", "features.csv")
CELL_TYPES = holds_out("store", "--hold-out", "cell-types")
_METHODS = ("--no-network", "--baselines", "additive")
CROSSES = crosses(*_METHODS)
GOES_ON = crosses(*_METHODS, out="cv")
SHOWS_FOLDS = replace(crosses("--dryrun"), look=nothing, keeps=("out/store", "out/prepared.json"))
REPLACES = replace(
    converts("dense.h5ad", options=("--dataset", "d", "--hvg", "0", "--out", "store", "--overwrite")),
    out="store",
    look=partial(of_store, "store"),
)
MERGE = converts("store", "other", options=("--merge", "--split", "split.toml", "--out", "out"))
_STATE_LABELS = ("--perturbation-key", "perturbation", "--batch-key", "batch", "--control", "control")
FROM_STATE = converts(options=("--from-state", "state.toml", *_STATE_LABELS, "--hvg", "20", "--out", "out"))
