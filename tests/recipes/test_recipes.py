# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What each recipe is, how NeMo-Run's command line finds and changes it, and what is refused."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from nemo_run.core.serialization.zlib_json import ZlibJSONSerializer

from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.model.size.sizes import SIZES
from bionemo.scale.options.arguments import arguments
from bionemo.scale.options.parser import make_settings
from bionemo.scale.recipes import groups, tasks
from bionemo.scale.recipes.defaults import train_settings
from bionemo.scale.run.train import settings_from
from bionemo.scale.train.presets import PRESETS
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import InputError


@pytest.mark.parametrize("size", sorted(SIZES))
def test_golden_training(size: str, golden, render):
    text = render(tasks.pretrain_recipe(size))
    assert text == golden(f"pretrain_{size}.txt", text)


@pytest.mark.parametrize("name", ["prepare", "finetune", "infer", "evaluate"])
def test_golden_step(name: str, golden, render):
    text = render(getattr(tasks, f"{name}_recipe")())
    assert text == golden(f"{name}.txt", text)


@pytest.mark.parametrize("size", sorted(SIZES))
def test_a_recipe_trains_what_the_command_trains(size: str, tmp_path: Path):
    step = tasks.step_of(tasks.pretrain_recipe(size, tmp_path / "store", tmp_path / "run"))
    expected = train_settings(size, store=tmp_path / "store", out=tmp_path / "run")
    assert list(step.arguments) == arguments(expected)
    assert settings_from(step.arguments) == expected


def test_a_recipe_of_a_preset_trains_what_the_command_trains(tmp_path: Path):
    step = tasks.step_of(tasks.pretrain_recipe("tiny", tmp_path / "store", tmp_path / "run", preset="paper"))
    expected = train_settings("tiny", store=tmp_path / "store", out=tmp_path / "run", preset="paper")
    assert (expected.weighting, expected.blind_share, expected.overrides) == ("proportional", 0, {})
    assert settings_from(step.arguments) == expected


def test_the_large_sizes_train_in_bfloat16_and_have_a_recipe_in_fp8(tmp_path: Path):
    for size in SIZES:
        settings = train_settings(size, store=tmp_path / "store", out=tmp_path / "run")
        assert settings.precision == ("fp32" if size in ("tiny", "small") else "bf16")
    recipe = tasks.fp8_recipe("184m")
    recipe.data.store, recipe.trainer.out = tmp_path / "store", tmp_path / "run"
    assert settings_from(tasks.step_of(recipe).arguments).precision == "fp8"


def test_a_run_that_is_there_keeps_its_own_way_of_forming_sets(tmp_path: Path):
    """Also a run of a version that had one way, whatever a preset or a newer default says."""
    place = {"store": tmp_path / "store", "out": tmp_path / "run"}
    place["out"].mkdir()
    kept = {None: "batch", "batch": "batch", "mixed": "mixed"}
    for written, expected in kept.items():
        run = {"size": "tiny", "set_size": 16, **({} if written is None else {"sets": written})}
        (place["out"] / "config.yaml").write_text(yaml.safe_dump({"run": run}))
        assert train_settings("tiny", **place, preset="paper").sets == expected
        # What is asked for goes first, and is refused later where the run is another.
        assert train_settings("tiny", **place, sets="mixed").sets == "mixed"
        tuned = train_settings(None, store=tmp_path, out=tmp_path / "new", from_checkpoint=place["out"])
        assert (tuned.sets, tuned.set_size) == (expected, 16)
        # Of a version that shared no controls; a new run does, whatever it starts from.
        assert train_settings("tiny", **place).share_controls == 1
        assert tuned.share_controls == TrainSettings.share_controls
    (place["out"] / "config.yaml").write_text(yaml.safe_dump({"run": {"size": "tiny", "share_controls": 2}}))
    assert train_settings("tiny", **place).share_controls == 2


def test_a_field_of_a_preset_can_be_changed(tmp_path: Path):
    recipe = tasks.pretrain_recipe("tiny", tmp_path, tmp_path / "run", preset="paper")
    recipe.model.latent_norm, recipe.data.weighting = True, "tempered"
    settings = settings_from(tasks.step_of(recipe).arguments)
    assert (settings.overrides, settings.weighting, settings.control_share) == ({"latent_norm": "True"}, "tempered", 0)


def test_all_settings_of_a_preset_can_be_changed(tmp_path: Path):
    """To values that are those of another preset; which recipe was chosen is written in it."""
    recipe = tasks.pretrain_recipe("tiny", tmp_path, tmp_path / "run", preset="paper")
    own = {name: getattr(TrainSettings, name) for name in PRESETS["paper"].settings}
    for name, value in own.items():
        setattr(recipe.trainer if hasattr(recipe.trainer, name) else recipe.data, name, value)
    settings = settings_from(tasks.step_of(recipe).arguments)
    assert settings.preset == "paper" and {name: getattr(settings, name) for name in own} == own
    # The paper's network in the recipe of the default is a mistake.
    recipe = tasks.pretrain_recipe("tiny", tmp_path, tmp_path / "run")
    recipe.model = groups.model("tiny", preset="paper")
    with pytest.raises(InputError, match="model.preset=paper: expected a recipe .* choose one that ends in _paper"):
        tasks.step_of(recipe)


def test_a_preset_is_not_half_of_a_recipe(tmp_path: Path):
    recipe = tasks.pretrain_recipe("tiny", tmp_path, tmp_path / "run")
    recipe.model.preset = "paper"
    with pytest.raises(InputError, match="model.preset=paper: expected a recipe .* choose one that ends in _paper"):
        tasks.step_of(recipe)
    recipe = tasks.pretrain_recipe("tiny", tmp_path, tmp_path / "run", preset="paper")
    recipe.model.preset = "default"
    with pytest.raises(InputError, match="model.preset=default: .* those of paper; choose one without _paper at its"):
        tasks.step_of(recipe)
    recipe.model.latent_norm = True
    assert tasks.step_of(recipe).arguments, "the paper's data for a network of our own"


def test_changed_fields_reach_the_command(tmp_path: Path):
    recipe = tasks.pretrain_recipe("tiny", tmp_path, tmp_path / "run", devices=2)
    recipe.model.prior = "gaussian_mix"
    recipe.optim.lr = 1e-4
    settings = settings_from(tasks.step_of(recipe).arguments)
    assert (settings.overrides, settings.lr, settings.devices) == ({"prior": "gaussian_mix"}, 1e-4, 2)


@pytest.mark.parametrize("task", ["prepare", "pretrain", "finetune", "infer", "evaluate"])
def test_a_recipe_can_be_sent_to_another_process(task: str, tmp_path: Path):
    """As executors send it, with its places."""
    place = tmp_path / "place"
    recipe = {
        "prepare": lambda: tasks.prepare_recipe((place,), place, place),
        "pretrain": lambda: tasks.pretrain_recipe("tiny", place, place),
        "finetune": lambda: tasks.finetune_recipe("tiny", place, place, out=place),
        "infer": lambda: tasks.infer_recipe(place, place, place),
        "evaluate": lambda: tasks.evaluate_recipe((place,), place, place, store=place),
    }[task]()
    serializer = ZlibJSONSerializer()
    sent = serializer.deserialize(serializer.serialize(recipe))
    assert tasks.step_of(sent) == tasks.step_of(recipe)
    assert str(place) in tasks.step_of(sent).arguments


def test_a_part_of_a_recipe_can_be_of_another_size(tmp_path: Path):
    recipe = tasks.pretrain_recipe("tiny", tmp_path, tmp_path / "run")
    recipe.model = groups.model("small")
    settings = settings_from(tasks.step_of(recipe).arguments)
    assert (settings.size, settings.overrides, settings.max_steps) == ("small", {}, 100)


def test_fine_tuning_keeps_the_network_of_the_checkpoint(tmp_path: Path):
    recipe = tasks.finetune_recipe("184m", tmp_path / "before", tmp_path / "store", out=tmp_path / "run", devices=2)
    recipe.trainer.freeze = ["encoder", "decoder"]
    recipe.model.endpoint_weight = 100.0
    settings = settings_from(tasks.step_of(recipe).arguments)
    assert (settings.size, settings.from_checkpoint) == (None, tmp_path / "before")
    assert (settings.freeze, settings.overrides) == (("encoder", "decoder"), {"endpoint_weight": "100.0"})
    assert (settings.devices, settings.set_size, settings.lr) == (2, 128, 2e-4)


def test_the_other_steps_are_their_commands(tmp_path: Path):
    from bionemo.scale.run.infer import parser

    step = tasks.step_of(tasks.infer_recipe(tmp_path / "run", tmp_path / "store", tmp_path / "out"))
    expected = InferSettings(
        checkpoint=tmp_path / "run", store=tmp_path / "store", out=tmp_path / "out", with_controls=True
    )
    assert make_settings(InferSettings, parser().parse_args(step.arguments)) == expected
    step = tasks.step_of(tasks.prepare_recipe((tmp_path / "a.h5ad",), tmp_path / "store"))
    assert step.module == "bionemo.scale.run.prepare" and step.arguments[0] == str(tmp_path / "a.h5ad")
    assert step.arguments[step.arguments.index("--hvg") + 1] == str(PrepareSettings.num_hvg)


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("trainer.max_step=3", "unknown field 'max_step' of trainer; did you mean 'max_steps'"),
        ("modell.size=tiny", "unknown part 'modell' of the recipe; did you mean 'model'"),
        ("model.hidden_siz=3", "did you mean 'hidden_size'"),
        ("data.num_worker+=1", "did you mean 'num_workers'"),
    ],
)
def test_unknown_overrides_are_refused(override: str, found: str):
    with pytest.raises(InputError, match=found):
        tasks.check_names(tasks.pretrain, [override])


@pytest.mark.parametrize("override", ["trainer.max_steps=3", "executor=local", "executor.nodes=2", "model=scale_tiny"])
def test_known_overrides_are_not(override: str):
    tasks.check_names(tasks.pretrain, [override])


def test_a_recipe_without_a_store_is_refused():
    with pytest.raises(InputError, match="data.store: expected a path"):
        tasks.step_of(tasks.pretrain_recipe("tiny"))
    with pytest.raises(InputError, match="trainer.from_checkpoint: expected a path"):
        tasks.step_of(tasks.finetune_recipe("tiny", store=Path("store"), out=Path("run")))
    with pytest.raises(InputError, match="settings.checkpoint: expected a value"):
        tasks.step_of(tasks.infer_recipe())


@pytest.mark.parametrize(
    ("make", "path", "value", "found"),
    [
        (tasks.pretrain_recipe, "data.set_size", 0, "data.set_size must be at least 1, found 0"),
        (tasks.pretrain_recipe, "optim.lr", -1.0, "optim.lr must be at least 0, found -1.0"),
        (tasks.pretrain_recipe, "trainer.freeze", ["encoder"], "trainer.freeze keeps the weights of a checkpoint"),
        (tasks.finetune_recipe, "trainer.max_steps", 0, "trainer.max_steps must be at least 1, found 0"),
        (tasks.prepare_recipe, "settings.num_hvg", -1, "settings.num_hvg must be at least 0, found -1"),
        (tasks.prepare_recipe, "settings.keys.covariate", "none", "settings.keys.covariate must be names of columns"),
        (tasks.infer_recipe, "settings.samples", 0, "settings.samples must be at least 1, found 0"),
        (tasks.evaluate_recipe, "settings.de", "pydeseq2", "settings.de pydeseq2 and settings.replicate_key go toget"),
    ],
)
def test_refusals_name_dotted_paths_in_the_place_of_options(make: Callable, path: str, value: object, found: str):
    places = {
        tasks.pretrain_recipe: dict(store=Path("store"), out=Path("run")),
        tasks.finetune_recipe: dict(checkpoint=Path("before"), store=Path("store"), out=Path("run")),
        tasks.prepare_recipe: dict(inputs=(Path("in.h5ad"),), out=Path("store")),
        tasks.infer_recipe: dict(checkpoint=Path("run"), store=Path("store"), out=Path("out")),
        tasks.evaluate_recipe: dict(pred=(Path("a.h5ad"),), real=Path("b.h5ad"), out=Path("out")),
    }
    recipe = make(**places[make])
    *parts, name = path.split(".")
    node = recipe
    for part in parts:
        node = getattr(node, part)
    setattr(node, name, value)
    with pytest.raises(InputError, match=f"^{found}"):
        tasks.step_of(recipe)


def nemorun(environment: dict[str, str], *words: object) -> subprocess.CompletedProcess:
    command = [Path(sys.executable).with_name("nemorun"), "scale", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.slow
def test_nemo_run_lists_the_recipes(entry_points):
    done = nemorun({**entry_points, "COLUMNS": "200"}, "pretrain", "--help")
    assert done.returncode == 0, done.stderr
    assert all(f"scale_{size}" in done.stdout for size in SIZES)


@pytest.mark.slow
def test_nemo_run_becomes_the_command(entry_points, tmp_path: Path):
    """The refusal of a missing store is the command's own line and exit code."""
    words = ("pretrain", "--factory", "scale_tiny", "-y", f"data.store={tmp_path}", f"trainer.out={tmp_path / 'run'}")
    done = nemorun(entry_points, *words, "trainer.max_steps=3", "model.num_layers=3")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path}"), done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_nemo_run_refuses_in_one_line(entry_points):
    done = nemorun(entry_points, "pretrain", "--factory", "scale_tiny", "-y", "trainer.max_step=3")
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert done.returncode == 1
    assert errors == ["Error: trainer.max_step=3: unknown field 'max_step' of trainer; did you mean 'max_steps'?"]
