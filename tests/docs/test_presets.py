# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The page's table of what the presets differ in is what they differ in."""

import dataclasses
import re
from pathlib import Path

from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.train.presets import PRESETS
from bionemo.scale.train.settings import TrainSettings


DOCS = Path(__file__).parents[2] / "docs"


def _rows() -> dict[str, list[str]]:
    """Return the cells of each row of the table, after the name of the field."""
    section = (DOCS / "model.md").read_text(encoding="utf-8").partition('\n## The preset "paper"\n')[2]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section.partition("\n## ")[0], flags=re.MULTILINE)
    return {name: cells.split(" | ") for name, cells in rows}


def _written(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def test_the_table_has_every_field_with_both_values():
    paper = {**PRESETS["paper"].settings, **PRESETS["paper"].fields}
    defaults = {field.name: field.default for source in (TrainSettings, ScaleModelConfig)
                for field in dataclasses.fields(source)}  # fmt: skip
    found = {name: cells[:2] for name, cells in _rows().items()}
    assert found == {name: [_written(value), _written(defaults[name])] for name, value in paper.items()}


def test_every_difference_has_a_reason_and_says_what_was_measured():
    log = (DOCS / "log.md").read_text(encoding="utf-8")
    titles = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.*)$", log, re.M)}
    for name, (_, _, reason, evidence) in _rows().items():
        assert len(reason) > 20, name
        assert evidence.startswith(("none", "[", "`benchmarks/")), name
        for anchor in re.findall(r"log\.md#([\w-]+)", evidence):
            assert anchor in titles, (name, anchor)
