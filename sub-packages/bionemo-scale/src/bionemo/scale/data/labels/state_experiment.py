# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""STATE's experiment files: the data sets, files and split that cell-load makes of them.

Beside the sections of a split file, ``[datasets]`` says where the files are: a file, a folder of ``*.h5`` and
``*.h5ad``, or a pattern, in which ``{a,b}`` stands for either. What cell-load does in silence is done here too, and
reported: names that the data does not have are passed over, and data sets that no section names are not read.
"""

import glob
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bionemo.scale.data.labels.split import SplitSpec, split_from_fields
from bionemo.scale.files.text import read_toml
from bionemo.scale.types import InputError


_ENDINGS = (".h5", ".h5ad")


@dataclass(frozen=True, kw_only=True)
class StateExperiment:
    """What an experiment file asks for."""

    inputs: tuple[Path, ...]
    datasets: tuple[str, ...]
    """Data set of each input."""
    spec: SplitSpec
    warnings: tuple[str, ...]


def read_state(path: Path) -> StateExperiment:
    """Read an experiment file; paths in it are relative to the working folder, or else to the file.

    Raises:
        InputError: It is no experiment file, or a data set has no files.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such experiment file")
    fields = read_toml(path)
    warnings: list[str] = []
    fields = _tidy(fields, warnings)
    spec = split_from_fields(fields, source=str(path)).with_names_of(tuple(fields.get("datasets", {})))
    named = (*spec.training, *(context.dataset for context in (*spec.zeroshot, *spec.fewshot)))
    inputs: list[tuple[Path, str]] = []
    places = fields.get("datasets", {})
    for dataset in dict.fromkeys(named):
        if not isinstance(places.get(dataset), str):
            raise InputError(f"{path}: [datasets] expected a path for {dataset!r}, found {places.get(dataset)!r}")
        files = _files(places[dataset], path.parent)
        if not files:
            raise InputError(
                f"{path}: [datasets] {dataset} = {places[dataset]!r}: expected h5 or h5ad files, found none"
            )
        inputs += [(file, dataset) for file in files]
    return StateExperiment(
        inputs=tuple(file for file, _ in inputs),
        datasets=tuple(dataset for _, dataset in inputs),
        spec=spec,
        warnings=tuple(warnings),
    )


def _tidy(fields: Mapping[str, Any], warnings: list[str]) -> dict[str, Any]:
    """Leave out what has no meaning for cell-load, and give a perturbation that is in two splits to the test."""
    training = {name: value for name, value in fields.get("training", {}).items() if value == "train"}
    for name in fields.get("training", {}).keys() - training.keys():
        warnings.append(f'[training] {name} is not "train" and means nothing')
    fewshot = {}
    for name, section in fields.get("fewshot", {}).items():
        parts = {split: section[split] for split in ("val", "test") if split in section}
        both = [label for label in parts.get("val", ()) if label in set(parts.get("test", ()))]
        if both:
            warnings.append(
                f"[fewshot.{name!r}] {len(both)} perturbations are in val and test, {both[0]!r} first: test"
            )
            parts["val"] = [label for label in parts["val"] if label not in both]
        fewshot[name] = parts
    return {**fields, "training": training, "fewshot": fewshot}


def _files(place: str, folder: Path) -> list[Path]:
    """Files of a data set; of two with one stem, the later."""
    found: dict[str, Path] = {}
    for pattern in _expand_braces(place):
        for base in (Path(), folder):
            paths = _matches(str(base / pattern))
            found.update({path.stem: path for path in paths})
            if paths:
                break
    return list(found.values())


def _matches(pattern: str) -> list[Path]:
    if pattern.endswith(_ENDINGS):
        return [Path(name) for name in sorted(glob.glob(pattern)) if Path(name).is_file()]
    return [Path(name) for ending in _ENDINGS for name in sorted(glob.glob(f"{pattern.rstrip('/')}/*{ending}"))]


def _expand_braces(pattern: str) -> Iterator[str]:
    match = re.search(r"\{([^}]+)\}", pattern)
    if match is None:
        yield pattern
        return
    for option in match.group(1).split(","):
        yield from _expand_braces(pattern[: match.start()] + option.strip() + pattern[match.end() :])
