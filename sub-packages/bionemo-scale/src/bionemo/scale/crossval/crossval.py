# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A cross-validation: its store, its folds, and the command line of each."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bionemo.scale.crossval.settings import CrossvalSettings
from bionemo.scale.data.folds.folds import Fold, fold_split, make_folds, read_folds
from bionemo.scale.data.folds.resplit import resplit
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.data.store.manifest import Manifest, read_manifest
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.names import file_name
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.files.text import read_json
from bionemo.scale.files.writing.atomic import write_text
from bionemo.scale.files.writing.folder import new_folder
from bionemo.scale.options.arguments import arguments, arguments_of
from bionemo.scale.options.fields import options_of, path_options
from bionemo.scale.recipes.defaults import train_settings
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import InputError


NOTE = "fold.json"
"""In the folder of a fold: what it is."""
PREPARED = "prepared.json"
"""In the folder of the results: what the store was made of."""
STORE, RUN, PREDICTED, SCORES = "store", "run", "predicted", "scores"
"""Folders of a fold."""
_ELSEWHERE = ("store", "out", "perturbation_features")
_HARDWARE = (
    *("devices", "num_nodes", "tensor_parallel", "pipeline_parallel", "num_workers"),
    *("log_interval", "wandb", "async_checkpoints", "keep_best", "keep_last"),
)
"""Settings of a training that do not change what it learns."""


@dataclass(frozen=True, kw_only=True)
class Crossval:
    """What is done in every fold."""

    settings: CrossvalSettings
    prepare: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of PrepareSettings."""
    train: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of TrainSettings."""

    def __post_init__(self) -> None:
        if self.settings.store is not None and self.prepare:
            raise InputError(
                f"{_flag(PrepareSettings, self.prepare)} goes with h5ad files: a store is prepared already"
            )
        if self.settings.no_network and self.train:
            raise InputError(f"{_flag(TrainSettings, self.train)} goes with a network, found --no-network")
        if not self.settings.no_network:
            self.training(Path(STORE), Path(RUN))

    @cached_property
    def out(self) -> Path:
        """Folder of the results."""
        return self.settings.out.resolve()

    @cached_property
    def store(self) -> Path:
        """The store that all folds share."""
        return self.out / STORE if self.settings.store is None else self.settings.store.resolve()

    @cached_property
    def manifest(self) -> Manifest:
        """Of the store, once it is made."""
        return read_manifest(self.store)

    @cached_property
    def folds(self) -> tuple[Fold, ...]:
        """What is left out, in order."""
        chosen, groups = self.settings, self.manifest.groups
        if chosen.fold_file is not None:
            return read_folds(chosen.fold_file, groups, chosen.leave_out)
        return make_folds(groups, chosen.leave_out, num_folds=chosen.folds, only=chosen.only, seed=chosen.fold_seed)

    @cached_property
    def folders(self) -> tuple[Path, ...]:
        """The folder of each fold."""
        names: list[str] = []
        for number, fold in enumerate(self.folds):
            names.append(file_name(f"{number + 1:02d} {fold.name}", names))
        return tuple(self.out / "folds" / name for name in names)

    def conversion(self) -> PrepareSettings:
        """Return what makes the store of h5ad files.

        Raises:
            InputError: A setting is not possible.
        """
        inputs = tuple(path.resolve() for path in self.settings.inputs)
        return PrepareSettings.make(inputs=inputs, out=self.store, **self.prepare)

    def training(self, store: Path, out: Path) -> TrainSettings:
        """Return the training of a fold.

        Raises:
            InputError: A setting is not possible.
        """
        features = self.settings.perturbation_features
        chosen = self._train if features is None else {**self._train, "perturbation_features": features.resolve()}
        return train_settings(self.settings.size, store=store, out=out, **chosen)

    @cached_property
    def _train(self) -> dict[str, Any]:
        """Fields of the training with absolute paths: jobs start elsewhere."""
        paths = {name: Path(self.train[name]).resolve() for name in path_options(TrainSettings) if name in self.train}
        return {**self.train, **paths}

    def description(self, fold: Fold) -> dict[str, Any]:
        """Return everything that decides about the results of a fold, for JSON."""
        chosen = self.settings
        with Store.open(self.store) as store:
            identity = store.identity
        training = None
        if not chosen.no_network:
            fields = self.training(Path(STORE), Path(RUN)).as_dict()
            training = {name: value for name, value in fields.items() if name not in (*_ELSEWHERE, *_HARDWARE)}
        features = chosen.perturbation_features
        return {
            "data": identity,
            "leave_out": chosen.leave_out,
            "left_out": [list(unit) for unit in fold.units],
            "training": training,
            "features": None if features is None else hash_file(features),
            "network_alone": chosen.network_alone,
            "baselines": None if chosen.baselines is None else list(chosen.baselines),
        }

    def open_fold(self, number: int) -> Path:
        """Return the folder of a fold with its store in it, and a note of what it is.

        Raises:
            InputError: The folder holds a fold of other settings.
        """
        folder, fold = self.folders[number], self.folds[number]
        description = self.description(fold)
        _keep(folder / NOTE, description, what="a fold")
        if not (folder / STORE).exists():
            split = fold_split(self.manifest.groups, self.settings.leave_out, fold)
            resplit(self.store, folder / STORE, split)
        return folder

    def is_finished(self, number: int) -> bool:
        """Whether a fold is scored, with these settings.

        Raises:
            InputError: The folder holds a fold of other settings.
        """
        folder = self.folders[number]
        if not (folder / NOTE).exists():
            return False
        _keep(folder / NOTE, self.description(self.folds[number]), what="a fold")
        return (folder / SCORES / "summary.json").is_file()

    def words(self, **changes: Any) -> list[str]:
        """Return the command line of the same cross-validation on the store that is prepared.

        Args:
            changes: Fields of the settings that are others.
        """
        here = {"inputs": (), "store": self.store, "out": self.out, "workers": 1, "on": "local", "site": None}
        for name in ("fold_file", "perturbation_features"):
            path = getattr(self.settings, name)
            here[name] = None if path is None else path.resolve()
        chosen = dataclasses.replace(self.settings, **{**here, "dryrun": False, **changes})
        # An option that both have is the training's under a longer name.
        own = {each.flag for each in options_of(CrossvalSettings)}
        training = arguments_of(TrainSettings, self._train)
        return [*arguments(chosen), *(f"--train.{word[2:]}" if word in own else word for word in training)]


@contextmanager
def noted_preparation(crossval: Crossval) -> Iterator[bool]:
    """Note what the store is made of, and give whether it is there; what is refused in the body leaves nothing.

    Raises:
        InputError: The folder holds the store of another preparation.
    """
    conversion = crossval.conversion()
    files = [(str(path), path.stat()) for path in conversion.inputs if path.exists()]
    described = {name: value for name, value in conversion.as_dict().items() if name not in ("workers", "overwrite")}
    described["inputs"] = [[path, status.st_size, status.st_mtime_ns] for path, status in files]
    note, is_there = crossval.out / PREPARED, crossval.store.exists()
    if is_there and not note.exists():
        raise InputError(
            f"{crossval.store}: expected a store of this cross-validation, found another; choose another --out"
        )
    with new_folder(crossval.out):
        if is_there:
            _keep(note, described, what="a store")
        else:
            write_text(note, json.dumps(described, indent=1) + "\n")
        try:
            yield is_there
        except InputError:
            if not is_there:
                note.unlink()
            raise


def _keep(path: Path, description: Mapping[str, Any], *, what: str) -> None:
    """Write a description, or compare it with the one that is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(description, indent=1) + "\n")
        return
    before, now = _flat(read_json(path)), _flat(json.loads(json.dumps(description)))
    for name in dict.fromkeys((*before, *now)):
        if before.get(name) != now.get(name):
            raise InputError(
                f"{path}: holds {what} of other settings: expected {name} {before.get(name)!r}, "
                f"found {now.get(name)!r}; choose another --out, or remove {path.parent}"
            )


def _flat(fields: Any) -> dict[str, Any]:
    """Return fields, and those of the training after them."""
    if not isinstance(fields, dict):
        return {}
    inner = fields.get("training")
    return {**fields, "training": inner is not None, **(inner if isinstance(inner, dict) else {})}


def _flag(settings_class: type, given: Mapping[str, Any]) -> str:
    return next(each.flag for each in options_of(settings_class) if each.name in given)
