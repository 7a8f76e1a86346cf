# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Kinds of damaged input: what is damaged, how, and which commands read it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import commands as the
from commands import Command
from damage_anndata import (
    damage_h5ad,
    damage_prediction,
    damage_zarr,
    damage_zarr_files,
    damage_zipped,
    zero_heap,
)
from damage_bytes import damage_below, damage_bytes
from damage_options import hostile_words
from damage_text import damage_json, damage_npz, damage_text, damage_yaml
from forked import CPU_SECONDS


Damage = Callable[[Path, random.Random], str]


@dataclass(frozen=True, kw_only=True)
class Input:
    """A file or folder, how it is damaged, and the commands that read it."""

    target: str
    damage: Damage
    commands: tuple[Command, ...]
    besides: tuple[str, ...] = ()
    """Files that the commands need besides."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One damaged input and the command that gets it."""

    command: Command
    files: tuple[str, ...]
    """Names to copy into the folder of the case."""
    damage: Callable[[Path], str]
    """Damages the input in that folder, and says how."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """Inputs of one kind."""

    name: str
    share: int
    """How many of a thousand."""
    inputs: tuple[Input, ...] = ()
    besides: tuple[str, ...] = ()
    """Files that the commands need besides."""
    commands: tuple[Command, ...] = field(default=(), kw_only=True)
    """Of the family of options: commands that get another option."""
    cpu_seconds: int = CPU_SECONDS
    """After which a command is taken for endless."""
    may_differ: bool = False
    """Whether another value may be as good as the one before: the result need not be the same then."""

    @property
    def all_commands(self) -> tuple[Command, ...]:
        """Every command that is run."""
        return (*self.commands, *(command for each in self.inputs for command in each.commands))

    def draw(self, rng: random.Random) -> Case:
        """Return a case of this family."""
        if self.commands:
            command = rng.choice(self.commands)
            words = hostile_words(command, rng)
            changed = replace(command, words=(*command.words, *words), look=the.nothing, out="*")
            return Case(command=changed, files=self.besides, damage=lambda folder: " ".join(words)[:200])
        chosen = rng.choice(self.inputs)
        files = tuple(dict.fromkeys((Path(chosen.target).parts[0], *chosen.besides, *self.besides)))
        return Case(
            command=rng.choice(chosen.commands),
            files=files,
            damage=lambda folder: f"{chosen.target}: {chosen.damage(folder / chosen.target, rng)}",
        )


def _below(pattern: str, damage: Damage) -> Damage:
    """Damage of one of the files of a folder that match a pattern."""

    def apply(folder: Path, rng: random.Random) -> str:
        path = rng.choice(sorted(path for path in folder.glob(pattern) if path.is_file()))
        return f"{path.relative_to(folder)}: {damage(path, rng)}"

    return apply


_REAL, _PRED = "predicted/adata_real.h5ad", "predicted/adata_pred.h5ad"
_SPLIT = ("split.toml",)
_PREPARES = tuple(the.converts(name) for name in ("screen.h5ad", "dense.h5ad", "csc.h5ad"))
_READ_STORE = (
    the.inspects("--verify", "store"),
    the.inspects("--info", "store"),
    the.trains("--store", "store", *the.SMALL),
    the.SPLIT_OF_STORE,
    the.MERGE,
)
_READ_TIMED = (
    the.inspects("--verify", "timed"),
    the.inspects("--info", "timed"),
    the.trains("--store", "timed", *the.SMALL),
)
_READ_RUN = (
    the.SPLIT_OF_STORE,
    the.CONTROLS,
    the.FROM_CHECKPOINT,
    the.RESUMES,
    the.OF_RUN,
    the.EXPORTS,
)
_RUN = ("run", "store", "controls.h5ad", "features.csv", "scores", "predicted")
_WEIGHTS = "checkpoints/*/weights/*"

FAMILIES: tuple[Family, ...] = (
    Family(
        name="h5ad, one thing of the format",
        share=260,
        inputs=(
            Input(target="screen.h5ad", damage=damage_h5ad, commands=_PREPARES[:1], besides=_SPLIT),
            Input(target="screen.h5ad", damage=damage_h5ad, commands=(the.AT_RANDOM,)),
            Input(target="dense.h5ad", damage=damage_h5ad, commands=_PREPARES[1:2], besides=_SPLIT),
            Input(target="csc.h5ad", damage=damage_h5ad, commands=_PREPARES[2:], besides=_SPLIT),
            Input(target="controls.h5ad", damage=damage_h5ad, commands=(the.CONTROLS,), besides=("run",)),
            Input(target=_REAL, damage=damage_h5ad, commands=(the.scores(), the.shows()), besides=("scores",)),
            Input(target=_PRED, damage=damage_h5ad, commands=(the.scores(), the.shows()), besides=("scores",)),
        ),
    ),
    Family(
        name="h5ad, bytes",
        share=120,
        inputs=(
            Input(target="screen.h5ad", damage=damage_bytes, commands=_PREPARES[:1], besides=_SPLIT),
            Input(target="controls.h5ad", damage=damage_bytes, commands=(the.CONTROLS,), besides=("run",)),
            Input(target=_PRED, damage=damage_bytes, commands=(the.scores(),)),
        ),
    ),
    Family(
        name="h5ad, a heap without an end",
        share=1,
        inputs=(Input(target="screen.h5ad", damage=zero_heap, commands=_PREPARES[:1], besides=_SPLIT),),
        cpu_seconds=5,
    ),
    Family(
        name="zarr",
        share=130,
        inputs=(
            Input(target="screen.zarr", damage=damage_zarr, commands=(the.converts("screen.zarr"),)),
            Input(target="screen.zarr", damage=damage_zarr_files, commands=(the.converts("screen.zarr"),)),
            Input(target="zipped.zip", damage=damage_zipped, commands=(the.converts("zipped.zip"),)),
            Input(target="zipped.zip", damage=damage_bytes, commands=(the.converts("zipped.zip"),)),
        ),
        besides=("split.toml",),
    ),
    Family(
        name="splits, experiments, lists (text)",
        share=110,
        inputs=(
            Input(target="split.toml", damage=damage_text, commands=_PREPARES[:1]),
            Input(target="split.toml", damage=damage_bytes, commands=_PREPARES[:1]),
            Input(target="state.toml", damage=damage_text, commands=(the.FROM_STATE,)),
            Input(
                target="labels.txt", damage=damage_text, commands=(the.FROM_LIST,), besides=("run", "controls.h5ad")
            ),
        ),
        besides=("screen.h5ad",),
        may_differ=True,
    ),
    Family(
        name="options",
        share=160,
        commands=(
            _PREPARES[0],
            the.trains("--store", "store", *the.SMALL),
            the.CONTROLS,
            the.SPLIT_OF_STORE,
            the.scores(),
            the.shows(),
            the.BY_SIGNATURE,
            the.SUBMITS,
            the.OF_GENES,
            the.SIMILAR,
            the.SHOWS_FOLDS,
            the.EXPORTS,
            the.OF_SIZE,
            the.launches("slurm"),
        ),
        besides=(
            *("screen.h5ad", "split.toml", "store", "run", "controls.h5ad", "predicted", "scores", "site.yaml"),
            *("ranked.h5ad", "signature.csv", "sets.gmt", "edges.tsv", "features.csv", "folds.toml"),
            *("counts.h5ad", "panel"),
        ),
        may_differ=True,
    ),
    Family(
        name="stores",
        share=90,
        inputs=(
            Input(target="store", damage=damage_below, commands=_READ_STORE),
            Input(target="store", damage=_below("*.json", damage_json), commands=_READ_STORE),
        ),
        besides=("other", "run", "split.toml"),
        may_differ=True,
    ),
    Family(
        name="covariates",
        share=40,
        inputs=(
            Input(target="screen.h5ad", damage=damage_h5ad, commands=(the.BY_TIME,)),
            Input(target="timed", damage=_below("*.json", damage_json), commands=_READ_TIMED),
        ),
        besides=("split.toml",),
        may_differ=True,
    ),
    Family(
        name="run folders and checkpoints",
        share=70,
        inputs=(
            Input(target="run", damage=_below(_WEIGHTS, damage_bytes), commands=_READ_RUN[:2]),
            Input(target="run", damage=_below(_WEIGHTS, damage_bytes), commands=_READ_RUN),
            Input(target="run/checkpoints", damage=damage_below, commands=_READ_RUN),
            Input(target="run", damage=_below("checkpoints/*/context/model.yaml", damage_text), commands=_READ_RUN),
            Input(target="run", damage=_below("*.npz", damage_npz), commands=_READ_RUN),
            Input(target="run", damage=_below("*.[jy]*", damage_text), commands=_READ_RUN),
        ),
        besides=_RUN,
        may_differ=True,
    ),
    Family(
        name="exported models",
        share=40,
        inputs=(
            Input(target="export", damage=damage_below, commands=(the.FROM_EXPORT, the.ON_EXPORT)),
            Input(target="export", damage=_below("*.json", damage_json), commands=(the.FROM_EXPORT, the.ON_EXPORT)),
            Input(target="megatron", damage=damage_below, commands=(the.FROM_MEGATRON,)),
        ),
        besides=("store", "controls.h5ad", "features.csv"),
        may_differ=True,
    ),
    Family(
        name="scores",
        share=40,
        inputs=(
            Input(target="scores", damage=damage_below, commands=(the.shows(),)),
            Input(target="scores", damage=_below("summary.json", damage_json), commands=(the.shows(),)),
        ),
        besides=("predicted",),
        may_differ=True,
    ),
    Family(
        name="perturbation features",
        share=40,
        inputs=(
            Input(target="features.csv", damage=damage_text, commands=(the.WITH_FEATURES, the.ON_FEATURES)),
            Input(target="features.parquet", damage=damage_bytes, commands=(the.ON_PARQUET,)),
        ),
        besides=_RUN,
        may_differ=True,
    ),
    Family(
        name="predictions",
        share=60,
        inputs=(
            Input(target="ranked.h5ad", damage=damage_prediction, commands=(the.BY_SIGNATURE, the.BY_EFFECT)),
            Input(target="ranked.h5ad", damage=damage_bytes, commands=(the.ranks(),)),
            Input(target=_PRED, damage=damage_prediction, commands=(the.scores(), the.RANK_CELLS)),
            Input(target="counts.h5ad", damage=damage_prediction, commands=(the.SUBMITS,), besides=("panel",)),
            Input(target="counts.h5ad", damage=damage_h5ad, commands=(the.SUBMITS,), besides=("panel",)),
            Input(target="panel", damage=_below("*.csv", damage_text), commands=(the.SUBMITS,)),
            Input(target="panel", damage=_below("*.json", damage_json), commands=(the.SUBMITS,)),
        ),
        besides=("signature.csv", "counts.h5ad"),
        may_differ=True,
    ),
    Family(
        name="sources of vectors, signatures",
        share=90,
        inputs=(
            Input(target="sets.gmt", damage=damage_text, commands=(the.OF_GENES,), besides=("edges.tsv",)),
            Input(target="members.gmt", damage=damage_text, commands=(the.WITH_SETS,), besides=("predicted",)),
            Input(target="edges.tsv", damage=damage_text, commands=(the.OF_GENES,), besides=("sets.gmt",)),
            Input(target="drugs.csv", damage=damage_text, commands=(the.OF_DRUGS,)),
            Input(target="targets.csv", damage=damage_text, commands=(the.OF_TARGETS,), besides=("sets.gmt",)),
            Input(target="features.csv", damage=damage_text, commands=(the.OF_EMBEDDING["features.csv"], the.SIMILAR)),
            *(
                Input(target=name, damage=damage, commands=(the.OF_EMBEDDING[name],))
                for name, damage in (
                    ("features.parquet", damage_bytes),
                    ("vectors.h5", damage_bytes),
                    ("vectors.npz", damage_npz),
                )
            ),
            Input(target="signature.csv", damage=damage_text, commands=(the.BY_SIGNATURE,), besides=("ranked.h5ad",)),
            Input(target="store", damage=damage_below, commands=(the.OF_STORE, the.CELL_TYPES)),
        ),
        besides=("screen.h5ad",),
        may_differ=True,
    ),
    Family(
        name="cross-validations",
        share=40,
        inputs=(
            Input(target="folds.toml", damage=damage_text, commands=(the.SHOWS_FOLDS,)),
            Input(target="cv", damage=damage_below, commands=(the.GOES_ON,), besides=("folds.toml",)),
        ),
        besides=("screen.h5ad",),
        may_differ=True,
    ),
    Family(
        name="settings of a training",
        share=30,
        inputs=(
            Input(target="settings.yaml", damage=damage_text, commands=(the.FROM_CONFIG, the.OF_CONFIG)),
            Input(target="settings.yaml", damage=damage_yaml, commands=(the.FROM_CONFIG, the.OF_CONFIG)),
            Input(target="recipe.yaml", damage=damage_text, commands=(the.FROM_RECIPE, the.OF_RECIPE)),
            Input(target="recipe.yaml", damage=damage_yaml, commands=(the.FROM_RECIPE, the.OF_RECIPE)),
        ),
        besides=("store",),
        may_differ=True,
    ),
    Family(
        name="sites",
        share=40,
        inputs=(
            Input(target="site.yaml", damage=damage_text, commands=(the.launches("slurm"),)),
            Input(target="site.yaml", damage=damage_yaml, commands=(the.launches("slurm"),)),
        ),
        besides=("screen.h5ad", "split.toml"),
        may_differ=True,
    ),
)


def covered() -> dict[str, list[str]]:
    """Return the names of the commands whose inputs are damaged, and of those whose options are."""
    groups = {"options": [family for family in FAMILIES if family.commands]}
    groups["inputs"] = [family for family in FAMILIES if not family.commands]
    return {
        name: sorted({each.name for family in families for each in family.all_commands})
        for name, families in groups.items()
    }


def cases(number: int) -> list[tuple[Family, int]]:
    """Return families with the number of each case in its family, in the shares of the families."""
    total = sum(family.share for family in FAMILIES)
    return [(family, place) for family in FAMILIES for place in range(max(1, round(number * family.share / total)))]
