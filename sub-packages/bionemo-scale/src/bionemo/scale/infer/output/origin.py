# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What an AnnData file of predictions says of where its cells come from, and what its numbers depend on."""

import hashlib
import json
from typing import Any

import pandas as pd

from bionemo.scale.files.provenance import hash_file, versions_of
from bionemo.scale.infer.output.request import Request
from bionemo.scale.infer.plans.plan import Plan
from bionemo.scale.infer.trained_model import LoadedModel
from bionemo.scale.model.checkpoint import files_of_weights
from bionemo.scale.types import DataCard


def describe(card: DataCard, provenance: dict[str, Any]) -> dict[str, Any]:
    """Return what uns["bionemo_scale"] says: data card, scale, versions and where the cells come from."""
    packages = ("bionemo-scale", "megatron-core", "nemo-toolkit", "torch", "anndata")
    return {
        "card": card.to_json(),
        "versions": json.dumps(versions_of(packages)),
        "split_sha256": card.split_sha256 or "",
        **{name: str(value) for name, value in provenance.items()},
    }


def fingerprint(loaded: LoadedModel, plan: Plan, request: Request) -> str:
    """Return a hash of everything the numbers of a prediction depend on."""
    weights = files_of_weights(loaded.path)
    config = loaded.model.config
    facts = {
        "checkpoint": [
            str(loaded.path.resolve()),
            [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in weights],
        ],
        "card": loaded.card.to_json(),
        "generation": [
            config.generation,
            config.additive_share,
            None if loaded.estimate is None else loaded.estimate.network_weight,
            config.counted_zeros,
            config.num_generation_steps,
            config.num_generation_samples,
            config.solver,
        ],
        "output": [request.output, request.library_size, loaded.precision, config.layer_spec, loaded.device.type],
        "provenance": {name: str(value) for name, value in request.provenance.items()},
        "sizes": plan.sizes.tolist(),
        "obs": int(pd.util.hash_pandas_object(plan.obs).sum()),
        "cells": plan.identity,
        "vectors": None if request.features is None else hash_file(request.features),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
