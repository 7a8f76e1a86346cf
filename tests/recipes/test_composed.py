# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes made of NeMo's own objects: as text, as the options that they stand for, and trained beside the command."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import fiddle as fdl
import nemo_run as run
import pytest
import yaml

from bionemo.scale.data.store.blind import Fold
from bionemo.scale.model.size.sizes import SIZES
from bionemo.scale.options.fields import options_of
from bionemo.scale.recipes import tasks
from bionemo.scale.recipes.defaults import train_settings
from bionemo.scale.run.train import settings_from
from bionemo.scale.train.presets import PRESETS
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import InputError


REPOSITORY = Path(__file__).parents[2]
PLACES = {"store": Path("/store"), "out": Path("/run")}


def built(recipe: run.Partial) -> dict[str, Any]:
    return {name: fdl.build(part) for name, part in recipe.__arguments__.items()}


def settings_of(objects: run.Partial | dict[str, Any]) -> Any:
    from bionemo.scale.recipes.composed import settings_of

    return settings_of(**(objects if isinstance(objects, dict) else built(objects)))


@pytest.mark.parametrize("size", sorted(SIZES))
def test_golden(size: str, golden, render):
    text = render(tasks.train_recipe(size))
    assert text == golden(f"train_{size}.txt", text)


@pytest.mark.parametrize("size", sorted(SIZES))
@pytest.mark.parametrize("preset", PRESETS)
def test_the_objects_are_what_the_options_of_the_command_say(size: str, preset: str):
    recipe = tasks.train_recipe(size, **PLACES, preset=preset)
    expected = train_settings(size, **PLACES, preset=preset)
    assert settings_of(recipe) == expected
    assert settings_from(tasks.step_of(recipe).arguments) == expected


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp8", "fp8-current", "mxfp8"])
def test_a_precision_is_read_from_nemos_plugin(name: str):
    from bionemo.scale.train.components import precision_plugin

    recipe = tasks.train_recipe("tiny", **PLACES)
    recipe.trainer.plugins = precision_plugin(name, run.Config)
    assert settings_of(recipe).precision == name


def test_changes_by_attribute_are_settings():
    recipe = tasks.train_recipe("tiny", **PLACES, devices=2)
    recipe.trainer.max_steps = 10
    recipe.trainer.strategy.tensor_model_parallel_size = 2
    recipe.trainer.strategy.ckpt_async_save = True
    recipe.optim.config.lr = 0.5
    recipe.optim.lr_scheduler.warmup_steps = 3
    recipe.data.global_batch_size = 16
    recipe.data.sampling.control_share = 0.25
    recipe.model.num_layers = 5
    recipe.experiment.folds = 4
    found = settings_of(recipe)
    assert (found.max_steps, found.devices, found.tensor_parallel, found.data_parallel) == (10, 2, 2, 1)
    assert (found.lr, found.warmup_steps, found.accumulate, found.control_share) == (0.5, 3, 2, 0.25)
    assert (found.overrides, found.folds, found.async_checkpoints) == ({"num_layers": "5"}, 4, "on")


def test_objects_that_do_not_go_together_are_refused():
    recipe = tasks.train_recipe("tiny", **PLACES)
    recipe.data.micro_batch_size = 3
    with pytest.raises(InputError, match="data.global_batch_size: expected a multiple of .* = 3, found 8"):
        settings_of(recipe)
    with pytest.raises(InputError, match="data.store: expected a path, found none"):
        tasks.step_of(tasks.train_recipe("tiny", out=Path("run")))
    with pytest.raises(InputError, match="experiment.out: expected a path, found none"):
        tasks.step_of(tasks.train_recipe("tiny", Path("store")))
    recipe = tasks.train_recipe("tiny", **PLACES)
    recipe.model.preset = "paper"
    with pytest.raises(InputError, match="model.preset=paper: expected a recipe .* choose one that ends in _paper"):
        settings_of(recipe)
    recipe = tasks.train_recipe("tiny", **PLACES)
    recipe.data.sampling.blind = Fold(0, 3)
    with pytest.raises(InputError, match="data.sampling.blind: expected none"):
        settings_of(recipe)
    recipe = tasks.train_recipe("tiny", **PLACES)
    from nemo import lightning as nl

    recipe.trainer.plugins = run.Config(nl.MegatronMixedPrecision, precision="16-mixed")
    with pytest.raises(InputError, match="trainer.plugins: expected a precision of fp32, bf16"):
        settings_of(recipe)


def replaced(part: str, value: Any) -> run.Partial:
    """Return a recipe with another object at a dotted path."""
    recipe = tasks.train_recipe("tiny", **PLACES)
    *path, name = part.split(".")
    node: Any = recipe
    for each in path:
        node = getattr(node, each)
    setattr(node, name, value)
    return recipe


def test_objects_of_other_classes_are_refused_by_their_dotted_path():
    import lightning.pytorch as pl
    from nemo.lightning.pytorch.optim import PytorchOptimizerModule

    data = pl.LightningDataModule
    cases = {
        "data": (run.Config(data), r"data: expected .*\.ScaleDataModule or .*, found lightning.*LightningDataModule$"),
        "trainer": (
            run.Config(pl.Trainer, accelerator="cpu"),
            r"trainer: expected nemo.* found lightning.*\.Trainer$",
        ),
        "trainer.strategy": ("auto", r"trainer.strategy: expected .*\.MegatronStrategy or .*SingleDeviceStrategy$"),
        "optim": (run.Config(PytorchOptimizerModule, optimizer_fn=max), r"optim: .*\.MegatronOptimizerModule or .*"),
        "optim.config": (3, r"optim.config: expected .*\.OptimizerConfig or a class made of it, found builtins.int$"),
    }
    for part, (value, found) in cases.items():
        with pytest.raises(InputError, match=f"^{found}"):
            tasks.step_of(replaced(part, value))
    with pytest.raises(InputError, match="^data: expected .*ScaleDataModule"):
        tasks.step_of(replaced("data", data()))
    objects = built(tasks.train_recipe("tiny", **PLACES))
    objects["data"].sampling = None
    with pytest.raises(InputError, match=r"^data.sampling: expected .*\.Sampling or .*, found builtins.NoneType$"):
        settings_of(objects)


def test_refusals_name_dotted_paths_in_the_place_of_options():
    from bionemo.scale.recipes.composed import in_dotted_paths

    for part, value in {"optim.config.lr": -1.0, "data.set_size": 0, "trainer.log_every_n_steps": 0}.items():
        with pytest.raises(InputError, match=f"^{part} must be at least "):
            settings_of(replaced(part, value))
    with pytest.raises(InputError, match="^experiment.freeze keeps the weights of a checkpoint"):
        settings_of(replaced("experiment.freeze", ["encoder"]))
    assert (
        in_dotted_paths("--set prior: no; --out RUN, --other-thing")
        == "model.prior: no; experiment.out RUN, --other-thing"
    )


def test_every_option_of_a_training_has_a_dotted_path():
    from bionemo.scale.recipes.composed import in_dotted_paths

    flags = {option.name: option.flag for option in options_of(TrainSettings)}
    without = {name for name, flag in flags.items() if in_dotted_paths(flag) == flag}
    assert without == {"overrides", "blind", "fold"}
    tasks.check_names(tasks.train, [f"{in_dotted_paths(flags[name])}=1" for name in flags.keys() - without])


def test_any_name_is_taken_where_an_object_takes_any():
    """NeMo's strategy hands names on to Lightning's, and that one to torch."""
    names = ("gradient_as_bucket_view", "timeout", "static_graph")
    tasks.check_names(tasks.train, [f"trainer.strategy.{name}=1" for name in names])
    recipe = replaced("trainer.strategy.static_graph", True)
    assert settings_of(recipe).size == "tiny"


def test_what_follows_from_the_run_is_filled_in_where_nobody_chose_it():
    from bionemo.scale.train.components import Components, settled

    recipe = tasks.train_recipe("tiny", **PLACES)
    recipe.trainer.max_steps, recipe.optim.config.lr, recipe.data.set_size = 40, 0.5, 8
    objects = built(recipe)
    made = Components(data=objects["data"], optimizer=objects["optim"], trainer=objects["trainer"])
    settled(made, settings_of(recipe), is_sharded=False, has_validation=False)
    schedule = made.optimizer.lr_scheduler
    assert (schedule.max_steps, schedule.warmup_steps, schedule.min_lr) == (40, 4, 0.05)
    assert made.optimizer.config.use_distributed_optimizer is False
    assert (made.trainer.limit_val_batches, made.trainer.val_check_interval) == (0, 40)
    assert made.data.seq_length == made.data.data_sampler.seq_len == 3 * 8 + 1


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("trainer.max_step=3", "unknown field 'max_step' of Trainer; did you mean 'max_steps'"),
        ("trainer.strategy.tensor_parallel=2", "unknown field 'tensor_parallel' of MegatronStrategy; "),
        ("data.sampling.set=mixed", "unknown field 'set' of Sampling; did you mean 'sets'"),
        ("optim.config.rl=3", "unknown field 'rl' of OptimizerConfig; "),
        ("experiment.lorra=3", "unknown field 'lorra' of experiment; did you mean 'lora'"),
        ("dat.set_size=3", "unknown part 'dat' of the recipe; did you mean 'data'"),
    ],
)
def test_unknown_overrides_are_refused(override: str, found: str):
    with pytest.raises(InputError, match=found):
        tasks.check_names(tasks.train, [override])
    tasks.check_names(tasks.train, ["trainer.strategy.tensor_model_parallel_size=2", "trainer.max_steps=3"])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from bionemo.scale import api

    examples, folder = REPOSITORY / "examples", tmp_path_factory.mktemp("composed")
    options = {"datasets": ("kang",), "library_size_key": "n_counts_full", "num_hvg": 100}
    cells = examples / "data" / "kang2018_pbmc_ifnb.h5ad"
    api.prepare(cells, folder / "store", split=examples / "splits" / "kang.toml", **options)
    return folder / "store"


def losses(run_folder: Path) -> list[tuple[str, str, str]]:
    with (run_folder / "metrics.csv").open() as file:
        return [(row["step"], row["loss"], row["val_loss"]) for row in csv.DictReader(file)]


def ended(command: list[object], environment: dict[str, str], code: int = 0) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == code, done.stdout + done.stderr[-4000:]
    return done.stdout + done.stderr


def script_of_the_page() -> str:
    """Return the example of docs/recipes.md, with a small network, few steps, and places from the command line."""
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "recipes.md").read_text(), re.S)
    (text,) = [block for block in blocks if "train_recipe" in block]
    few = "recipe.trainer.max_steps = int(sys.argv[3])\n    recipe.trainer.log_every_n_steps = 1"
    for old, new in {
        "recipe.trainer.max_steps = 1000": few,
        '"small", Path("store"), Path("run")': '"tiny", Path(sys.argv[1]), Path(sys.argv[2])',
    }.items():
        assert old in text
        text = text.replace(old, new)
    return f"import sys\n{text}"


ON_TWO_RANKS = """
import sys
from pathlib import Path

import nemo_run as run

from bionemo.scale.recipes.tasks import train_recipe

if __name__ == "__main__":
    recipe = train_recipe("tiny", *map(Path, sys.argv[1:]), devices=2)
    recipe.trainer.max_steps, recipe.trainer.val_check_interval, recipe.trainer.log_every_n_steps = 4, 2, 1
    recipe.data.micro_batch_size, recipe.data.global_batch_size = 4, 8
    executor = run.LocalExecutor(ntasks_per_node=2, launcher="torchrun", env_vars={"OMP_NUM_THREADS": "1"})
    run.run(recipe, executor=executor, name="scale")
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestTraining:
    def test_a_composed_run_is_the_run_of_the_command(self, store: Path, entry_points, tmp_path: Path):
        """By dotted paths on NeMo-Run's command line: the same settings in the run folder, and the same losses."""
        environment = {**entry_points, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        places = (f"data.store={store}", f"experiment.out={tmp_path / 'composed'}")
        changes = ("trainer.max_steps=6", "trainer.log_every_n_steps=1", "optim.config.lr=3e-4", "data.set_size=8")
        words = ("scale", "train", "--factory", "scale_tiny", "-y", *places, *changes, "model.num_layers=1")
        screen = ended([Path(sys.executable).with_name("nemorun"), *words], environment)
        assert "next      bionemo-scale-infer" in screen, "it ends as the command does"
        assert screen.count("run folder ") == 1 and "steps already" not in screen, "and says nothing twice"
        options = ("--size", "tiny", "--max-steps", 6, "--log-interval", 1, "--lr", 3e-4, "--set-size", 8)
        places = ("--store", store, "--out", tmp_path / "command", "--set", "num_layers=1")
        ended([sys.executable, "-m", "bionemo.scale.run.train", *places, *options], environment)
        configs = [yaml.safe_load((tmp_path / name / "config.yaml").read_text()) for name in ("composed", "command")]
        for config in configs:
            config["run"].pop("out"), config["model"].pop("tables_file")
        assert configs[0] == configs[1]
        found = losses(tmp_path / "composed")
        assert found == losses(tmp_path / "command") and len(found) == 7

    def test_two_ranks_of_nemo_runs_torchrun_are_two_of_the_command(self, store: Path, entry_points, tmp_path: Path):
        """Two copies of the network, over gloo: the same losses, and each line on the screen once."""
        # gloo on the CPU, whatever the machine has.
        environment = {**entry_points, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "CUDA_VISIBLE_DEVICES": ""}
        environment["NEMORUN_HOME"] = str(tmp_path / "nemorun")
        # NeMo-Run looks for torchrun there; the environment of these tests need not be activated.
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
        (tmp_path / "compose.py").write_text(ON_TWO_RANKS)
        screen = ended([sys.executable, tmp_path / "compose.py", store, tmp_path / "composed"], environment)
        assert len(re.findall(r"step 4/4 ", screen)) == len(re.findall("next      bionemo-scale-infer", screen)) == 1
        options = ("--size", "tiny", "--max-steps", 4, "--log-interval", 1, "--val-interval", 2)
        layout = ("--devices", 2, "--micro-batch-size", 4, "--store", store, "--out", tmp_path / "command")
        ended([sys.executable, "-m", "bionemo.scale.run.train", *layout, *options], environment)
        found = losses(tmp_path / "composed")
        assert found == losses(tmp_path / "command") and len(found) == 6
        assert {path.name for path in (tmp_path / "composed" / "logs").glob("output-*")} == {
            "output-rank0.log",
            "output-rank1.log",
        }

    def test_callbacks_and_schedules_of_a_users_own_are_run_and_a_run_goes_on(self, store: Path, tmp_path: Path):
        (tmp_path / "compose.py").write_text(script_of_the_page())
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        for steps in (3, 5):
            ended([sys.executable, tmp_path / "compose.py", store, tmp_path / "run", steps], environment)
        assert [row[0] for row in losses(tmp_path / "run") if row[1]] == ["1", "2", "3", "4", "5"]
        events = (tmp_path / "run" / "tensorboard").glob("events*")
        assert any(b"lr-McoreOpt" in file.read_bytes() for file in events), "the callback's own name"
        with (tmp_path / "run" / "metrics.csv").open() as file:
            rates = [float(row["learning_rate"]) for row in csv.DictReader(file) if row["loss"]]
        # A warm-up of 50 steps, which the run's own schedule would end at a tenth of the run.
        assert len(rates) == 5 and rates == sorted(rates) and 0 < rates[-1] < 2e-4

    def test_what_cannot_be_trained_is_refused_and_leaves_nothing(self, entry_points, tmp_path: Path):
        places = (f"data.store={tmp_path}", f"experiment.out={tmp_path / 'run'}")
        words = ("scale", "train", "--factory", "scale_tiny", "-y", *places)
        screen = ended([Path(sys.executable).with_name("nemorun"), *words], entry_points, code=2)
        assert screen.splitlines()[-1].startswith(f"error: {tmp_path}: not a store")
        assert not (tmp_path / "run").exists()
