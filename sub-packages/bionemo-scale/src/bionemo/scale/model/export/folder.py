# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of an exported model: which files it has, and that they are as they were written.

================== ==============================================================================
file               what it holds
================== ==============================================================================
config.json        the network's fields, what is known of its training, and the sha256 of other files
data_card.json     genes, labels and scale of the training data
model.safetensors  the weights that predict, by their names in the network; or
weights/           the same in Megatron's distributed format
estimate.npz       the classical estimate, where the run has one
network_weight.json  the network's weight against it, where it was measured
earlier_groups.json  of a fine-tuned network, the groups that its first weights were trained on
README.md          for people
================== ==============================================================================
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from bionemo.scale.files.earlier_groups import EARLIER_NAME
from bionemo.scale.files.provenance import hash_file, versions_of
from bionemo.scale.files.text import read_json, read_text
from bionemo.scale.types import InputError, from_plain


CONFIG_NAME = "config.json"
CARD_NAME = "data_card.json"
TENSORS_NAME = "model.safetensors"
MEGATRON_NAME = "weights"
README_NAME = "README.md"
FORMAT = 1
"""Of config.json; a release that changes the meaning of a file counts on."""
MODEL_TYPE = "bionemo-scale"
_PACKAGES = ("bionemo-scale", "megatron-core", "torch")


def is_export(path: Path) -> bool:
    """Return whether a folder is an exported model, whole or damaged; a run and a checkpoint have no such files."""
    return any((path / name).is_file() for name in (CONFIG_NAME, TENSORS_NAME, CARD_NAME))


def weight_files(export: Path) -> list[Path]:
    """Return the files that hold the weights."""
    folder = export / MEGATRON_NAME
    return sorted(folder.iterdir()) if folder.is_dir() else [export / TENSORS_NAME]


def write_config(folder: Path, network: Mapping[str, Any], training: Mapping[str, Any]) -> None:
    """Write config.json beside the files that are in a folder.

    Args:
        folder: The export; all files that predict are in it.
        network: Fields of the network's configuration, plain values.
        training: What is known of its training; ``size`` and ``set_size`` are what fine-tuning takes over.
    """
    fields = {
        "model_type": MODEL_TYPE,
        "format": FORMAT,
        "versions": versions_of(_PACKAGES),
        "network": dict(sorted(network.items())),
        "network_sha256": _hash(network),
        "training": dict(training),
        "files": {path.relative_to(folder).as_posix(): hash_file(path) for path in _files(folder)},
    }
    (folder / CONFIG_NAME).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def check_export(path: Path) -> Path:
    """Return an exported model whose files are those that were written.

    Raises:
        InputError: A file is missing or not the one that was written, or a newer release wrote the folder.
    """
    config = _read(path)
    for name, expected in config["files"].items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"{path / CONFIG_NAME}: expected files of this folder, found {name!r}")
        file = path / name
        if not file.is_file():
            raise InputError(f"{path}: not a whole export: expected the file {name}, found none")
        found = hash_file(file)
        if found != expected:
            raise InputError(
                f"{file}: damaged or changed: expected the sha256 {expected[:12]}... of {CONFIG_NAME}, found "
                f"{found[:12]}...; export the run again, or copy the folder again"
            )
    unlisted = [name for name in _names(path) if name not in config["files"]]
    if unlisted:
        raise InputError(f"{path}: expected the files that {CONFIG_NAME} lists, found {unlisted[0]} beside them")
    return path


def read_network(path: Path) -> dict[str, Any]:
    """Return the fields of the network.

    Raises:
        InputError: They cannot be read, or are not those that were written.
    """
    return dict(_read(path)["network"])


def read_training(path: Path) -> dict[str, Any]:
    """Return what is known of the training of the network, such as its ``size`` and ``set_size``.

    Raises:
        InputError: It cannot be read.
    """
    training = dict(_read(path)["training"])
    if not isinstance(training.get("set_size", 1), int) or not isinstance(training.get("size", ""), str):
        raise InputError(f"{path / CONFIG_NAME}: expected a text as size and a number as set_size, found {training}")
    return training


def read_card(path: Path) -> str:
    """Return the data card as JSON.

    Raises:
        InputError: It cannot be read.
    """
    return read_text(path / CARD_NAME)


def _read(path: Path) -> dict[str, Any]:
    file = path / CONFIG_NAME
    if not file.is_file():
        raise InputError(f"{path}: not a whole export: expected the file {CONFIG_NAME}, found none")
    config = read_json(file)
    try:
        config = from_plain(dict[str, Any], config, CONFIG_NAME)
        if config.get("model_type") != MODEL_TYPE or config.get("format") != FORMAT:
            raise ValueError(
                f"expected model_type {MODEL_TYPE!r} in format {FORMAT}, found {config.get('model_type')!r} in format "
                f"{config.get('format')!r}"
            )
        for part in ("network", "training"):
            from_plain(dict[str, Any], config[part], part)
        from_plain(dict[str, str], config["files"], "files")
        found = _hash(config["network"])
        if found != config["network_sha256"]:
            raise ValueError("the network's fields are not those that were written")
        for needed in (CARD_NAME, TENSORS_NAME):
            _check_listed(config["files"], needed)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: cannot be read as the configuration of an export: {error}") from error
    return config


def _check_listed(files: Mapping[str, str], needed: str) -> None:
    is_distributed = any(name.startswith(f"{MEGATRON_NAME}/") for name in files)
    if needed not in files and not (needed == TENSORS_NAME and is_distributed):
        raise ValueError(f"expected {needed} among the files, found {', '.join(files) or 'none'}")


def _hash(network: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(network, sort_keys=True).encode()).hexdigest()


def _files(folder: Path) -> list[Path]:
    """Return the files that predict; what is hidden, or for people, is not among them."""
    shown = (path for path in sorted(folder.iterdir()) if path.name not in (CONFIG_NAME, README_NAME))
    return [
        file
        for path in shown
        for file in (sorted(path.iterdir()) if path.name == MEGATRON_NAME and path.is_dir() else [path])
        if file.is_file()
    ]


def _names(folder: Path) -> list[str]:
    """Return the files of an export that something reads by its name, so that none is slipped in."""
    read = ("estimate.npz", "network_weight.json", EARLIER_NAME, TENSORS_NAME)
    weights = folder / MEGATRON_NAME
    inside = [f"{MEGATRON_NAME}/{file.name}" for file in sorted(weights.iterdir())] if weights.is_dir() else []
    return [*(name for name in read if (folder / name).is_file()), *inside]
