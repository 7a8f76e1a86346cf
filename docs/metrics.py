# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of metrics in docs/evaluation.md, as the catalogue has them."""

from pathlib import Path

from bionemo.scale.eval.metrics.document import with_metric_tables


if __name__ == "__main__":
    page = Path(__file__).with_name("evaluation.md")
    page.write_text(with_metric_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
