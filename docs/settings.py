# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/settings.md: what the functions of the Python API take, from the fields of the settings classes."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from bionemo.scale.options.fields import Option, options_of
from bionemo.scale.options.parser import other_defaults
from bionemo.scale.recipes.defaults import OTHERS


CLASSES = {
    "data.prepare.settings.PrepareSettings": "`api.prepare`",
    "data.features.settings.FeaturesSettings": "`api.features`",
    "train.settings.TrainSettings": "`api.train`",
    "infer.settings.InferSettings": "`api.infer`",
    "infer.settings.GivenScale": "`api.Predictor.predict`, for values whose scale is not recognised",
    "eval.settings.ScoringSettings": "`api.evaluate`",
    "eval.settings.ReportSettings": "`api.report`",
    "crossval.settings.CrossvalSettings": "`api.crossval`",
    "rank.settings.RankSettings": "`api.rank`",
    "export.settings.ExportSettings": "`api.export`",
    "submit.settings.SubmitSettings": "`api.submit`",
}
"""Settings class to the function that takes its fields."""
HEADS = "| argument | values | meaning |\n| --- | --- | --- |"
OPENING = """# Settings in Python

The functions of [`bionemo.scale.api`](api.md) take the fields of these classes as arguments. The commands have the
same settings as options; where an option has another name, it stands below the argument. Descriptions name options
as the commands do, so `--max-steps` is `max_steps` here. `api.train` takes the fields of the network in `model`
([fields](model.md#fields)).
"""


def main() -> None:
    """Write the page beside this file, or where the first argument says."""
    parts = [OPENING]
    for path, function in CLASSES.items():
        module, _, name = f"bionemo.scale.{path}".rpartition(".")
        rows = "\n".join(_rows(options_of(getattr(import_module(module), name))))
        heading = f"## {name} {{ #{module}.{name} }}\n\nArguments of {function}.\n"
        parts.append(f"{heading}\n{HEADS}\n{rows}\n")
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".md")
    out.write_text("\n".join(parts))


def _rows(options: tuple[Option, ...]) -> Iterator[str]:
    for option in options:
        values = "<br>".join([_values(option), _default(option), *other_defaults(option, OTHERS)])
        meaning = option.help.replace("|", "\\|").replace("<", "&lt;")
        yield f"| {_names(option)} | {values} | {meaning} |"


def _names(option: Option) -> str:
    """Return the argument, and the option where that has another name."""
    like = f"--{option.name.replace('_', '-')}"
    is_other = option.form not in ("hidden", "columns", "positional") and option.flag != like
    return f"`{option.name}`" + (f"<br>`{option.flag}`" if is_other else "")


def _values(option: Option) -> str:
    if option.choices:
        return ", ".join(f"`{choice}`" for choice in option.choices)
    kind = {dict: "mapping", Path: "path"}.get(option.kind, option.kind.__name__)
    return f"several {kind}" if option.is_many else kind


def _default(option: Option) -> str:
    if option.is_required:
        return "required"
    if option.default is None or option.default in ((), "", {}):
        return "not required"
    if isinstance(option.default, str | int | float):
        return f"default `{option.default!r}`"
    shown = f"{list(option.default)!r}" if isinstance(option.default, tuple) else f"{type(option.default).__name__}()"
    return f"default `{shown}`"


if __name__ == "__main__":
    main()
