# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A cross-validation: its store, its folds, and the command line of each."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bionemo.scale.crossval.notes import check_note, read_note, stamped, stamps_of_same, write_note
from bionemo.scale.crossval.settings import CrossvalSettings
from bionemo.scale.data.folds.folds import Fold, fold_split, make_folds, read_folds
from bionemo.scale.data.folds.resplit import resplit
from bionemo.scale.data.prepare.conversion.workspace import tidy_store
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.data.store.manifest import Manifest, read_manifest
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.names import file_name
from bionemo.scale.files.provenance import hash_file
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


_NOT_NOTED = ("inputs", "out", "workers", "overwrite")
"""Settings of a preparation that do not change the store, and its files, which are noted by their content."""


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
            self._training_of_any()

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
            fields = self._training_of_any().as_dict()
            training = {name: value for name, value in fields.items() if name not in (*_ELSEWHERE, *_HARDWARE)}
            training["from_checkpoint"] = self._start
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

    def _training_of_any(self) -> TrainSettings:
        """Return the training of no fold in particular; its folder is not there, so that no run is read."""
        folder = self.out / "folds" / "any"
        return self.training(folder / STORE, folder / RUN)

    def open_fold(self, number: int) -> Path:
        """Return the folder of a fold with its store in it, and a note of what it is.

        Raises:
            InputError: The folder holds a fold of other settings.
        """
        folder, fold = self.folders[number], self.folds[number]
        if (folder / NOTE).exists():
            self._check_fold(number)
        else:
            write_note(folder / NOTE, self.description(fold))
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
        self._check_fold(number)
        return (folder / SCORES / "summary.json").is_file()

    def _check_fold(self, number: int) -> None:
        """Refuse a folder that holds a fold of other settings."""
        path, now = self.folders[number] / NOTE, self.description(self.folds[number])
        before = read_note(path)
        trained, start = before.get("training"), self._train.get("from_checkpoint")
        if isinstance(trained, dict) and start is not None and trained.get("from_checkpoint") == str(start):
            # Earlier versions noted the path.
            trained["from_checkpoint"] = self._start
        check_note(path, before, now, what="a fold", defaults=TrainSettings.defaults())

    @cached_property
    def _start(self) -> str | None:
        """The content of the weights that every fold starts from."""
        start = self._train.get("from_checkpoint")
        if start is None:
            return None
        # It brings Megatron along, which takes seconds.
        from bionemo.scale.megatron import cpu

        cpu.install()
        from bionemo.scale.model.checkpoint import find_checkpoint
        from bionemo.scale.model.export.folder import MEGATRON_NAME, TENSORS_NAME

        checkpoint = find_checkpoint(start)
        weights = checkpoint / MEGATRON_NAME
        return hash_file(weights if weights.is_dir() else checkpoint / TENSORS_NAME)

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
    conversion, note = crossval.conversion(), crossval.out / PREPARED
    described = {name: value for name, value in conversion.as_dict().items() if name not in _NOT_NOTED}
    is_there = crossval.store.exists()
    if is_there:
        _check_preparation(crossval, note, described)
        tidy_store(crossval.store)
    with new_folder(crossval.out):
        if not is_there:
            inputs = [stamped(path) for path in conversion.inputs if path.exists()]
            write_note(note, {**described, "inputs": inputs})
        try:
            yield is_there
        except InputError:
            # A store that was just finished, by whomever, is this cross-validation's by its note alone.
            if not crossval.store.exists():
                note.unlink(missing_ok=True)
            raise


def _check_preparation(crossval: Crossval, note: Path, described: Mapping[str, Any]) -> None:
    """Refuse a store of another preparation, and files that are not there."""
    if not note.exists():
        raise InputError(
            f"{crossval.store}: expected a store of this cross-validation, found another; choose another --out"
        )
    inputs = crossval.conversion().inputs
    missing = [path for path in inputs if not path.exists()]
    if missing:
        raise InputError(
            f"{missing[0]}: no such file; the store is there: give --store {crossval.store} in place of the files"
        )
    noted = read_note(note)
    before = {name: value for name, value in noted.items() if name not in _NOT_NOTED}
    same = stamps_of_same(inputs, noted.get("inputs"), {entry.sha256 for entry in crossval.manifest.inputs})
    before["inputs"], now = noted.get("inputs"), {**described, "inputs": same}
    check_note(note, before, now, what="a store", defaults=PrepareSettings.defaults())


def _flag(settings_class: type, given: Mapping[str, Any]) -> str:
    return next(each.flag for each in options_of(settings_class) if each.name in given)
