# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Every key of a site's file with values that nobody should write: refused in one line, or text and no more."""

import dataclasses
import itertools
import re
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from bionemo.scale.recipes.site import PER_STEP, Site, read_site
from bionemo.scale.types import InputError


WHOLE = {
    "account": "lab",
    "partition": "gpu",
    "qos": "normal",
    "constraint": "h100",
    "job_dir": "/jobs",
    "gpus_per_node": 8,
    "memory": "64G",
    "cpus_per_task": 8,
    "time": "04:00:00",
    "signal_seconds": 300,
    "requeues": 20,
    "image": None,
    "mounts": [],
    "srun_args": ["--exclusive"],
    "setup": ["true"],
    "env": {"NAME": "value"},
    "shm_size": "16g",
    "steps": {},
}
TEXTS = (
    *(
        "`touch HERE`",
        "$(touch HERE)",
        "a;touch HERE",
        "a\ntouch HERE",
        "a\n#SBATCH --exclusive",
        "a b",
        "'",
        '"',
        "\\",
    ),
    *("", " ", "\t", "\x00", "\x1b[31m", "\u202e", "\u2028", "&& touch HERE", "| touch HERE", "> HERE", "a" * 300),
)
OTHERS = (True, -1, 0, 1, 2**70, 0.5, float("nan"), [], {}, [None], [[1]], [{"a": 1}], {"a": None}, {"a": [1]}, {1: 2})


def sites(key: str):
    """Yield sites in which one key, or that key of a step, has a hostile value, alone and in a list or a mapping."""
    for text in TEXTS:
        yield from ({key: text}, {key: [text]}, {key: {"NAME": text}}, {key: {text: "value"}})
    yield from ({key: other} for other in OTHERS)
    if key in PER_STEP:
        for step, value in itertools.product(("cpu", "train"), (*TEXTS, *OTHERS)):
            yield {"steps": {step: {key: value}}}
            yield {"steps": {step: {key: [value]}}}


def script_of(site: Site) -> str:
    from bionemo.scale.recipes.executors import ScheduledStep, sbatch_text
    from bionemo.scale.recipes.steps import Step

    return sbatch_text(ScheduledStep(step=Step(name="train", arguments=("--seed", "1"))), site)


@pytest.mark.parametrize("key", [each.name for each in dataclasses.fields(Site) if each.name != "path"])
def test_a_hostile_value_is_refused_or_text(key: str, tmp_path: Path):
    path = tmp_path / "site.yaml"
    assert set(WHOLE) == {each.name for each in dataclasses.fields(Site)} - {"path"}
    options = lambda text: sorted(re.findall(r"^#SBATCH (--[\w-]+)", text, flags=re.MULTILINE))  # noqa: E731
    path.write_text(yaml.safe_dump(WHOLE))
    expected, scripts = options(script_of(read_site(path))), set()
    for changes in sites(key):
        path.write_text(yaml.safe_dump({**WHOLE, **changes}))
        try:
            text = script_of(read_site(path))
        except InputError as refusal:
            assert str(refusal).startswith(f"{path}: "), refusal
            continue
        if key == "setup":
            # Its lines are there to be run.
            continue
        assert set(options(text)) <= {*expected, "--array"} and len(options(text)) == len(set(options(text))), changes
        scripts.add(text)
    # What is left is text to a shell.
    for text in sorted(scripts):
        _run(text, tmp_path)
    assert not (tmp_path / "HERE").exists()


def _run(text: str, folder: Path) -> None:
    lines = f"PATH={folder}/nothing\n{text}"
    subprocess.run(["/bin/bash", "-c", lines], cwd=folder, env={}, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("setup:\n- echo: x\n", "setup: expected text in each entry, found {'echo': 'x'}; quote it"),
        ("env: {A: null}", "env: expected text in each entry, found None; quote it"),
        ("env: {A: yes}", "env: expected text in each entry, found True; quote it"),
        ("steps: {train: {setup: [[a]]}}", "setup: expected text in each entry, found \\['a'\\]; quote it"),
        ("cpus_per_task: 0", "cpus_per_task: expected 1 to 1,000,000, found 0"),
        ("gpus_per_node: 99999999999", "gpus_per_node: expected 0 to 1,000,000, found 99999999999"),
        ('setup: ["a\\0b"]', "setup: expected lines without control characters, found 'a.x00b'"),
    ],
)
def test_what_is_no_text_or_no_number_of_use(text, message, tmp_path: Path):
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_site(path)


def test_lines_of_a_block_stay_as_they_are(tmp_path: Path):
    path = tmp_path / "site.yaml"
    path.write_text("setup:\n- |\n  if true; then\n  \tmodule load cuda\n  fi\nenv: {A: 1, B: 0.5}\n")
    site = read_site(path)
    assert site.setup == ("if true; then\n\tmodule load cuda\nfi\n",) and site.env == {"A": "1", "B": "0.5"}


@pytest.mark.parametrize("key", ["account", "setup", "env", "steps", "unknown"])
def test_a_few_lines_that_stand_for_gigabytes_are_refused_at_once(key: str, tmp_path: Path):
    path = tmp_path / "site.yaml"
    lines = ["  A0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"  A{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    path.write_text("\n".join([f"{key}:", *lines]))
    begin = time.process_time()
    with pytest.raises(InputError, match="expected YAML, found more than 1,000,000 values where references") as error:
        read_site(path)
    assert time.process_time() - begin < 10 and len(str(error.value)) < 500
