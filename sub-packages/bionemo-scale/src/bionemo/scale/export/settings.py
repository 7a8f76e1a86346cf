# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a user decides about an exported model."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bionemo.scale.options.fields import option
from bionemo.scale.options.settings import Settings
from bionemo.scale.types import InputError


WeightFormat = Literal["safetensors", "megatron"]
_CARD = "the model card"
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True, kw_only=True)
class ExportSettings(Settings):
    """One export: of which run, where to, and what its model card says beyond what the run knows."""

    run: Path = option(form="positional", metavar="RUN")
    """Run folder, one of its checkpoints, or an export to write in the other format."""
    out: Path = option(metavar="FOLDER")
    """Folder to write."""
    format: WeightFormat = "safetensors"
    """Weights as one safetensors file, or as Megatron's distributed checkpoint."""
    overwrite: bool = False
    """Replace the export at --out; any other folder is never replaced."""
    scores: Path | None = option(None, metavar="FOLDER", group=_CARD)
    """Result folder of bionemo-scale-evaluate (default: scores in or beside the run folder, if there are any)."""
    name: str | None = option(None, metavar="TEXT", group=_CARD)
    """Name of the model (default: the name of the folder)."""
    license: str | None = option(None, metavar="ID", group=_CARD)
    """Licence of the weights, by its identifier on the Hugging Face hub, such as apache-2.0 or cc-by-nc-4.0."""
    data_license: str | None = option(None, metavar="TEXT", group=_CARD)
    """Licence or terms of the training data."""

    def check(self) -> None:
        """Refuse a licence that the hub would not read.

        Raises:
            InputError: Naming the option.
        """
        if self.license is not None and not _LICENSE.fullmatch(self.license):
            raise InputError(
                f"--license: expected an identifier of the Hugging Face hub such as apache-2.0, found {self.license!r}"
            )

    @property
    def title(self) -> str:
        """Name of the model."""
        return self.name or self.out.resolve().name
