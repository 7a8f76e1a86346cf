# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A fitted mixed model as one .npz file, without pickle."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from bionemo.scale.estimate.covariance import COMPONENTS
from bionemo.scale.estimate.features import AgentFeatures
from bionemo.scale.estimate.labels import ParseAgents
from bionemo.scale.estimate.mixed_model import STRENGTHS, MixedModel
from bionemo.scale.types import Group, GroupMeans, InputError


ESTIMATE_NAME = "estimate.npz"
"""In a run folder: the mixed model of its training data."""
_DAMAGE = (OSError, EOFError, ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile)


def save(model: MixedModel, path: Path) -> None:
    """Write a model; pseudobulks in single precision."""
    features = model.features
    facts = {
        "control": model.control,
        # Without covariates as before there were any.
        "groups": [list(group if group.covariates else group[:4]) for group in model.observed.groups],
        "components": [list(name) for name in model.names],
        "similarity_scale": model.similarity_scale,
    }
    vectors = {}
    if features is not None:
        facts |= {"agents": list(features.names), "feature_width": features.width}
        vectors = {"features": features.vectors, "feature_centre": features.centre}
    assert model.observed.cell_sd is not None, "a model is fitted to groups whose spread is known"
    # In memory first: on a full disk numpy would leave an open archive behind, which complains later.
    archive = io.BytesIO()
    np.savez(
        archive,
        facts=np.array(json.dumps(facts)),
        means=model.observed.means.astype(np.float32),
        counts=model.observed.counts,
        cell_sd=model.observed.cell_sd,
        theta=model.theta,
        strength_of_gene=model.strength_of_gene.astype(np.float32),
        **vectors,
    )
    path.write_bytes(archive.getbuffer())


def load(path: Path, *, parse: ParseAgents) -> MixedModel:
    """Read a model.

    Args:
        path: Written by :func:`save`.
        parse: Reads the agents of a label, as when the model was fitted.

    Raises:
        InputError: If the file is damaged or from another release.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        facts = json.loads(str(arrays["facts"]))
        model = MixedModel(
            observed=GroupMeans(
                groups=tuple(map(_group, facts["groups"])),
                means=arrays["means"].astype(np.float64),
                counts=arrays["counts"],
                cell_sd=arrays["cell_sd"],
            ),
            control=facts["control"],
            parse=parse,
            names=tuple((place, effect) for place, effect in facts["components"]),
            theta=arrays["theta"],
            strength_of_gene=arrays["strength_of_gene"].astype(np.float64),
            similarity_scale=float(facts["similarity_scale"]),
            features=_features(facts, arrays),
        )
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    _check(model, path)
    return model


def read_groups(path: Path) -> tuple[Group, ...]:
    """Return the groups that a model was fitted to, without reading the model.

    Raises:
        InputError: If the file is damaged or from another release.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return tuple(map(_group, json.loads(str(file["facts"]))["groups"]))
    except _DAMAGE as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> InputError:
    return InputError(f"{path}: cannot be read as the estimate of a run: {error}")


def _group(labels: list[Any]) -> Group:
    dataset, cell_type, perturbation, batch, *covariates = labels
    return Group(dataset, cell_type, perturbation, batch, tuple(*covariates))


def _features(facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> AgentFeatures | None:
    """Return the vectors of agents; ``None`` where the model was fitted without, or by an earlier release."""
    if "agents" not in facts:
        return None
    return AgentFeatures(
        names=tuple(facts["agents"]),
        vectors=arrays["features"],
        centre=arrays["feature_centre"],
        width=float(facts["feature_width"]),
    )


def _check(model: MixedModel, path: Path) -> None:
    observed, genes = model.observed, model.observed.means.shape[-1]
    shapes = {
        "means": (observed.means.shape, (len(observed.groups), genes)),
        "counts": (observed.counts.shape, (len(observed.groups),)),
        "cell_sd": (() if observed.cell_sd is None else observed.cell_sd.shape, (genes,)),
        "theta": (model.theta.shape, (len(model.names),)),
        "strength_of_gene": (model.strength_of_gene.shape, (len(STRENGTHS), genes)),
    }
    if model.features is not None:
        told = model.features
        shapes["features"] = (told.vectors.shape, (len(told.names), *told.centre.shape))
    for name, (found, expected) in shapes.items():
        if found != expected:
            raise InputError(f"{path}: expected {name} of shape {expected}, found {found}")
    _check_numbers(model, path)
    unknown = set(model.names) - set(COMPONENTS)
    if unknown:
        raise InputError(f"{path}: expected components of this release, found {' x '.join(sorted(unknown)[0])}")


def _check_numbers(model: MixedModel, path: Path) -> None:
    observed, features = model.observed, model.features
    numbers: dict[str, Any] = {
        "means": observed.means,
        "counts": observed.counts,
        "cell_sd": observed.cell_sd,
        "theta": model.theta,
        "strength_of_gene": model.strength_of_gene,
        "similarity_scale": model.similarity_scale,
    }
    if features is not None:
        numbers |= {"features": features.vectors, "feature_centre": features.centre, "feature_width": features.width}
    above = {"counts": "above 0", "similarity_scale": "above 0", "feature_width": "above 0"}
    at_least = {"cell_sd": "of at least 0", "theta": "of at least 0", "strength_of_gene": "of at least 0"}
    for name, values in numbers.items():
        array = np.asarray(values, dtype=np.float64)
        is_in_range = (array > 0) if name in above else (array >= 0) if name in at_least else np.isfinite(array)
        if not (np.isfinite(array) & is_in_range).all():
            expected = (above | at_least).get(name, "that are finite")
            raise InputError(f"{path}: expected numbers {expected} in {name}, found others")
