# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Options that say how files without a data card label their cells, apart for predictions where they differ."""

import argparse
from typing import Any

from bionemo.scale.types import FileLabels, InputError, ObsKeys


_DEFAULT = FileLabels()
_HELP = {
    "perturbation_key": f"obs column (default: {_DEFAULT.keys.perturbation})",
    "cell_type_key": f"obs column (default: {_DEFAULT.keys.cell_type}; one cell type where there is none)",
    "batch_key": f"obs column (default: {_DEFAULT.keys.batch}; one batch where there is none)",
    "control": f"perturbation label of control cells (default: {_DEFAULT.control})",
    "target_sum": "library size that counts were scaled to before log1p, such as 10000",
}


def add_label_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--perturbation-key`` and so on, for all files, and ``--pred-perturbation-key`` and so on."""
    labels = parser.add_argument_group("labels of files that do not name their own")
    others = parser.add_argument_group(
        "the same of --pred files, where they differ from --real: once for all of them, or once for each in their order"
    )
    for name, text in _HELP.items():
        kind = float if name == "target_sum" else str
        flag = name.replace("_", "-")
        labels.add_argument(f"--{flag}", type=kind, help=text)
        others.add_argument(f"--pred-{flag}", type=kind, action="append", default=[])


def labels_of_real(args: argparse.Namespace) -> FileLabels | None:
    """Return the labels of the real file; ``None`` where no option was given.

    Raises:
        InputError: The target sum is no library size.
    """
    return _labels({name: getattr(args, name) for name in _HELP})


def labels_of_predictions(args: argparse.Namespace) -> list[FileLabels | None]:
    """Return the labels of each ``--pred``, in order.

    Raises:
        InputError: An option was given neither once nor once a file, or a target sum is no library size.
    """
    for name in _HELP:
        given = len(getattr(args, f"pred_{name}"))
        if given not in (0, 1, len(args.pred)):
            raise InputError(
                f"--pred-{name.replace('_', '-')}: expected one for all --pred or one for each ({len(args.pred)}), "
                f"found {given}"
            )
    return [_labels({name: _of_prediction(args, name, index) for name in _HELP}) for index in range(len(args.pred))]


def _of_prediction(args: argparse.Namespace, name: str, index: int) -> Any:
    given = getattr(args, f"pred_{name}")
    if not given:
        return getattr(args, name)
    return given[0 if len(given) == 1 else index]


def _labels(given: dict[str, Any]) -> FileLabels | None:
    target_sum = given["target_sum"]
    if target_sum is not None and not 0 < target_sum < float("inf"):
        raise InputError(f"--target-sum: expected a library size above 0, found {target_sum:g}")
    if all(value is None for value in given.values()):
        return None
    keys = ObsKeys(
        perturbation=given["perturbation_key"] or _DEFAULT.keys.perturbation,
        cell_type=given["cell_type_key"] or _DEFAULT.keys.cell_type,
        batch=given["batch_key"] or _DEFAULT.keys.batch,
    )
    control = _DEFAULT.control if given["control"] is None else given["control"]
    return FileLabels(keys=keys, control=control, target_sum=target_sum)
