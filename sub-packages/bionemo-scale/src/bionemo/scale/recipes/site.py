# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a launch must know of the place it runs at: one YAML file, checked before anything is submitted."""

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bionemo.scale.files.suggest import suggest
from bionemo.scale.files.text import read_yaml
from bionemo.scale.types import InputError


@dataclass(frozen=True, kw_only=True)
class Site:
    """A cluster or a workstation."""

    path: Path
    """The file that said so."""
    job_dir: Path | None = None
    """Folder for scripts and logs of jobs, seen by every node; NeMo-Run's own where it is not named."""
    account: str | None = None
    """Slurm account; needed for Slurm."""
    partition: str | None = None
    """Slurm partition; needed for Slurm."""
    qos: str | None = None
    """Quality of service of Slurm."""
    constraint: str | None = None
    """Features that a node must have, such as h100."""
    gpus_per_node: int = 0
    """GPUs of a node; 0 trains on CPUs."""
    time: str = "04:00:00"
    """Longest a job may run before it is saved, requeued and continued: [days-]hours:minutes:seconds."""
    signal_seconds: int = 300
    """How long before that limit training is told to save."""
    requeues: int = 20
    """How often a job that was stopped or failed is queued again."""
    memory: str = "0"
    """Memory of a job; 0 is all of the node."""
    cpus_per_task: int | None = None
    """CPU cores of a task."""
    image: str | None = None
    """Container: a squashfs file, or the name of a registry's image; ``None`` runs on the node itself."""
    mounts: tuple[str, ...] = ()
    """HOST:CONTAINER folders; data, runs and the job folder must be under one of them."""
    srun_args: tuple[str, ...] = ()
    """More options of srun; quotes in an entry keep blanks together."""
    setup: tuple[str, ...] = ()
    """Shell lines before the command, on the first node of a job."""
    env: dict[str, str] = field(default_factory=dict)
    """Environment of the command."""
    shm_size: str = "16g"
    """Shared memory of a Docker container."""
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What differs for one step, by its name, and under ``cpu`` for all without GPUs: keys of ``PER_STEP``."""

    def of_step(self, name: str, *, on_gpus: bool) -> "Site":
        """Return the site as one step meets it.

        Args:
            name: Of the step.
            on_gpus: Whether it takes GPUs.
        """
        own = {**({} if on_gpus else self.steps.get(CPU, {})), **self.steps.get(name, {})}
        return dataclasses.replace(self, **own)


CPU = "cpu"
"""In ``steps``: all that take no GPU."""
STEPS = ("split", "prepare", "scan", "convert", "merge", "train", "infer", "evaluate", "report", "folds", "pool")
"""Names of the steps; the last two are those of a cross-validation, split and report those of a protocol."""
PER_STEP = ("partition", "qos", "constraint", "time", "memory", "cpus_per_task", "setup")
"""Keys that a step may have of its own."""
_NEEDED = ("account", "partition", "job_dir")


# What reaches a line of a batch script outside of quotes: an "#SBATCH" option, or a list that commas join.
_PLAIN = ("job_dir", "account", "partition", "qos", "memory", "image", "shm_size", "mounts")
_PLAIN_TEXT = re.compile(r"[\w./:@%+=~-]+")
_CONSTRAINT = re.compile(r"[\w./:@%+=~&|*()\[\],-]+")
_LISTS = ("mounts", "srun_args", "setup")
_NUMBERS = {"gpus_per_node": 0, "signal_seconds": 0, "requeues": 0, "cpus_per_task": 1}
"""Keys of whole numbers, and the least of each."""
_LARGEST = 1_000_000


def read_site(path: Path) -> Site:
    """Read a site's file.

    Raises:
        InputError: The file is missing, no YAML, or holds a key or a value that cannot be.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected the site's settings, found no such file")
    values = read_yaml(path)
    known = [each.name for each in dataclasses.fields(Site) if each.name != "path"]
    given: dict[str, Any] = _read_keys(path, values, known)
    if "job_dir" in given:
        given["job_dir"] = Path(given["job_dir"])
    if "env" in given:
        given["env"] = {name: str(value) for name, value in given["env"].items()}
    if "steps" in given:
        given["steps"] = _read_steps(path, given["steps"])
    site = Site(path=path, **given)
    _check_mounts(site)
    return site


def _read_keys(path: Path, values: Mapping[Any, Any], known: Sequence[str], *, where: str = "") -> dict[str, Any]:
    """Return the keys that have a value, lists as tuples of text."""
    for name, value in values.items():
        if name not in known:
            raise InputError(f"{path}: {where}unknown key {name!r}; {suggest(str(name), known)}")
        _check_type(path, name, value)
    _check_text(path, values)
    given = {name: value for name, value in values.items() if value is not None}
    return {name: tuple(map(str, value)) if name in _LISTS else value for name, value in given.items()}


def _read_steps(path: Path, steps: Mapping[Any, Any]) -> dict[str, dict[str, Any]]:
    found = {}
    for name, values in steps.items():
        if name not in (CPU, *STEPS):
            raise InputError(f"{path}: steps: unknown step {name!r}; {suggest(str(name), (CPU, *STEPS))}")
        if values is not None and not isinstance(values, dict):
            raise InputError(f"{path}: steps: {name}: expected keys and values, found {values!r}")
        found[str(name)] = _read_keys(path, values or {}, PER_STEP, where=f"steps: {name}: ")
    return found


def _check_type(path: Path, name: str, value: Any) -> None:
    kinds = dict.fromkeys(_LISTS, list) | dict.fromkeys(_NUMBERS, int) | {"env": dict, "steps": dict}
    kind = kinds.get(name, str)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        hint = "; quote it" if kind is str else ""
        raise InputError(f"{path}: {name}: expected {kind.__name__}, found {value!r}{hint}")
    if kind is int and isinstance(value, int) and not _NUMBERS[name] <= value <= _LARGEST:
        raise InputError(f"{path}: {name}: expected {_NUMBERS[name]} to {_LARGEST:,}, found {value}")
    parts = value.values() if isinstance(value, dict) and name == "env" else value if isinstance(value, list) else ()
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, str | int | float):
            raise InputError(f"{path}: {name}: expected text in each entry, found {part!r}; quote it")
    if name == "time" and isinstance(value, str) and not re.fullmatch(r"(\d+-)?\d{1,2}:\d{2}:\d{2}", value):
        raise InputError(f"{path}: time: expected [days-]hours:minutes:seconds, found {value!r}")


def _check_text(path: Path, values: Mapping[Any, Any]) -> None:
    """Refuse text that a batch script would read as more than text."""
    features = values.get("constraint")
    if features is not None and not _CONSTRAINT.fullmatch(features):
        raise InputError(f"{path}: constraint: expected features joined by &, | or commas, found {features!r}")
    for name in _PLAIN:
        value = values.get(name)
        for text in value if isinstance(value, list) else [] if value is None else [value]:
            if not _PLAIN_TEXT.fullmatch(str(text)):
                raise InputError(f"{path}: {name}: expected letters, digits and ./:@%+=~-_ alone, found {str(text)!r}")
    _check_lines(path, values)


def _check_lines(path: Path, values: Mapping[Any, Any]) -> None:
    """Refuse lines that a shell would read as more lines, or as none."""
    for text in values.get("srun_args") or []:
        if not _is_words(str(text)):
            raise InputError(f"{path}: srun_args: expected words with closed quotes, in one line, found {str(text)!r}")
    for text in values.get("setup") or []:
        if not str(text).replace("\n", "").replace("\t", "").isprintable():
            raise InputError(f"{path}: setup: expected lines without control characters, found {str(text)!r}")
    for name, value in (values.get("env") or {}).items():
        if not re.fullmatch(r"[A-Za-z_]\w*", str(name)) or not str(value).isprintable():
            raise InputError(f"{path}: env: expected a name and one line of text, found {name!r}: {str(value)!r}")


def _is_words(text: str) -> bool:
    try:
        shlex.split(text)
    except ValueError:
        return False
    return text.isprintable()


def _check_mounts(site: Site) -> None:
    for mount in site.mounts:
        host, separator, inside = mount.partition(":")
        if not separator or not inside.startswith("/"):
            raise InputError(f"{site.path}: mounts: expected HOST:CONTAINER with absolute paths, found {mount!r}")
        if not Path(host).exists():
            raise InputError(f"{site.path}: mounts: {host}: expected a folder to mount, found nothing")


def check_slurm(site: Site) -> None:
    """Refuse a site that a Slurm job cannot be submitted at.

    Raises:
        InputError: Naming the missing account, partition, job folder or image.
    """
    for name in _NEEDED:
        if not getattr(site, name):
            raise InputError(f"{site.path}: {name}: needed for Slurm, found none")
    if site.image and site.image.startswith(("/", ".")) and not Path(site.image).is_file():
        raise InputError(
            f"{site.path}: image: {site.image}: expected a squashfs file, found none; see docs/container.md"
        )


def with_placeholders(site: Site, where: str) -> tuple[Site, tuple[str, ...]]:
    """Return a site for a dry run, with a word in capitals for each key that the file leaves open.

    Args:
        site: As the file has it.
        where: "slurm" or "docker".

    Returns:
        The site, and the keys that a real launch needs.
    """
    missing = tuple(name for name in (_NEEDED if where == "slurm" else ("image",)) if not getattr(site, name))
    words: dict[str, Any] = {name: name.upper() for name in missing}
    if "job_dir" in words:
        words["job_dir"] = Path("/JOB_DIR")
    return dataclasses.replace(site, **words), missing


def check_docker(site: Site) -> None:
    """Refuse a site without an image.

    Raises:
        InputError: The site has no image.
    """
    if not site.image:
        raise InputError(f"{site.path}: image: needed for Docker, found none; see docs/container.md")


def check_visible(site: Site, path: Path) -> None:
    """Refuse a path that a container would not see.

    Raises:
        InputError: Naming the path and the mounts.
    """
    inside = [mount.partition(":")[2].partition(":")[0] for mount in site.mounts]
    if site.image and not any(path.is_relative_to(folder) for folder in inside):
        found = ", ".join(inside) or "none"
        raise InputError(f"{site.path}: mounts: {path} is under no folder of the container, found {found}")


def check_gpus(site: Site, devices: int) -> None:
    """Refuse more processes on a node than it has GPUs.

    Raises:
        InputError: Naming both numbers.
    """
    if site.gpus_per_node and devices > site.gpus_per_node:
        raise InputError(
            f"{site.path}: gpus_per_node: the layout needs {devices} GPUs of a node, found {site.gpus_per_node}"
        )
