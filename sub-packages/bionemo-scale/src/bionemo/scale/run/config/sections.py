# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Names of the sections of a file of settings, those of BioNeMo's own models, by part of a run."""

SECTIONS = {
    "data": "data_config",
    "model": "bionemo_model_config",
    "optim": "optim_config",
    "parallel": "parallel_config",
    "training": "training_config",
    "experiment": "experiment_config",
}
