# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Each function of the Python API has an example in its docstring, and the examples run one after another."""

import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pytest

from bionemo.scale import api


REPOSITORY = Path(__file__).parents[2]
FEW_STEPS = {'size="small", max_steps=400': 'size="tiny", max_steps=100'}
"""Fewer would measure no weight of the network, and predictions would have no intervals."""


def functions() -> dict[str, Callable]:
    """What the page on Python lists, in an order in which each finds what those before it made."""
    order = "prepare features train Run infer Predictor evaluate report export rank crossval submit".split()
    found = {name: getattr(api, name) for name in order}
    return found | {f"plot.{name}": getattr(api.plot, name) for name in api.plot.__all__}


def example_of(function: Callable) -> str:
    """Return the code under "Example:" in a docstring."""
    text = inspect.getdoc(function) or ""
    found = re.findall(r"^Example:\n    ```python\n(.*?)    ```", text, flags=re.DOTALL | re.MULTILINE)
    assert len(found) == 1, f"{function.__name__} has {len(found)} examples"
    return textwrap.dedent(found[0])


def test_every_function_has_an_example():
    named = {name for name in api.__all__ if inspect.isfunction(vars(api).get(name))}
    assert len(named) > 8 and named <= set(functions())
    for name, function in functions().items():
        assert f"api.{name}(" in example_of(function) or f"api.{name}." in example_of(function), name


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr", open(tmp_path / "progress.txt", "w"))
    matplotlib.use("Agg")
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    monkeypatch.chdir(tmp_path)
    for name, function in functions().items():
        code = example_of(function)
        for full, short in FEW_STEPS.items():
            code = code.replace(full, short)
        if name == "submit":
            _write_panel(tmp_path)
        exec(compile(code, f"example of {name}", "exec"), {"api": api})
        matplotlib.pyplot.close("all")
    for made in ("store", "vectors.parquet", "run/metrics.csv", "run/report.html", "scores", "model", "ranks.csv"):
        assert (tmp_path / made).exists(), made
    assert (tmp_path / "submission.h5ad").is_file() and (tmp_path / "folds").is_dir()


def _write_panel(folder: Path) -> None:
    """Write what a challenge asks for: the genes of the store, and its perturbation in one cell type."""
    card = api.Predictor.from_pretrained("run").card
    (folder / "gene_names.csv").write_text("".join(f"{name}\n" for name in card.genes))
    rows = "".join(f"{context},IFN-beta,5\n" for context in card.cell_types)
    (folder / "pert_counts.csv").write_text("context,target_gene,n_cells\n" + rows)
