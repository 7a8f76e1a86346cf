# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A file of settings in sections: written for every size and preset, read again, changed by options, refused."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from bionemo.scale.model.size.sizes import SIZES
from bionemo.scale.run.config.recipe import main
from bionemo.scale.run.config.sections import SECTIONS
from bionemo.scale.run.train import main as train
from bionemo.scale.run.train import settings_from
from bionemo.scale.train.presets import PRESETS
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import InputError


PLACES = ("--store", "store", "--out", "run")
PAGE = Path(__file__).parents[7] / "docs" / "recipes.md"


def written(path: Path, *words: str) -> str:
    assert main(["--dest", str(path), *words]) == 0
    return str(path)


@pytest.mark.parametrize("size", sorted(SIZES))
@pytest.mark.parametrize("preset", PRESETS)
def test_the_file_of_a_size_and_a_preset_trains_what_the_options_train(size: str, preset: str, tmp_path: Path):
    words = ("--size", size, "--preset", preset)
    file = written(tmp_path / "recipe.yaml", *words)
    assert settings_from(["--config", file, *PLACES]) == settings_from([*words, *PLACES])
    values = yaml.safe_load(Path(file).read_text())
    assert values.pop("values_of_preset") == preset
    assert list(values) == list(SECTIONS.values())
    assert values["bionemo_model_config"].keys() >= SIZES[size].keys()
    assert not {"store", "out"} & {key for section in values.values() for key in section}


def test_every_option_goes_through_a_file(tmp_path: Path):
    """Also fields of Megatron's that the file does not show by itself, and paths."""
    words = (
        *(*PLACES, "--size", "tiny", "--set", "num_layers=3", "--set", "kv_channels=16", "--set", "mmd_weight=1e-5"),
        *("--from-checkpoint", "before", "--freeze", "encoder,decoder", "--lora", "2", "--folds", "3", "--wandb", ""),
        *("--perturbation-features", "genes.csv", "--precision", "bf16", "--devices", "2", "--tensor-parallel", "2"),
    )
    file = written(tmp_path / "recipe.yaml", *words)
    found, expected = settings_from(["--config", file]), settings_from(words)
    assert found.overrides == {"num_layers": "3", "kv_channels": "16", "mmd_weight": "1e-05"}
    assert {**found.as_dict(), "overrides": {}} == {**expected.as_dict(), "overrides": {}}


def test_a_file_of_one_key_an_option_becomes_one_of_sections(tmp_path: Path):
    assert train(["--write-config", str(tmp_path / "flat.yaml"), "--size", "tiny", "--lr", "0.5"]) == 0
    file = written(tmp_path / "recipe.yaml", "--config", str(tmp_path / "flat.yaml"))
    expected = settings_from(["--size", "tiny", "--lr", "0.5", *PLACES])
    assert settings_from(["--config", file, *PLACES]) == expected


def test_options_go_before_a_file(tmp_path: Path):
    file = written(tmp_path / "recipe.yaml", "--size", "tiny", "--set", "num_layers=3", *PLACES)
    found = settings_from(["--config", file, "--lr", "0.25", "--set", "num_layers=4", "--out", "other"])
    assert (found.lr, found.overrides, found.out.name) == (0.25, {"num_layers": "4"}, "other")
    with pytest.raises(InputError, match="--size: expected tiny as .*recipe.yaml has it, found base"):
        settings_from(["--config", file, "--size", "base"])


def test_the_command_says_what_to_run_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = written(tmp_path / "recipe.yaml", "--size", "tiny", "--store", "store")
    assert capsys.readouterr().out.splitlines() == [
        f"settings in {file}",
        f"next      bionemo-scale-train --config {file} --out RUN",
    ]
    assert main(["--dest", file]) == 2
    assert capsys.readouterr().err == f"error: {file}: exists already; choose another file, or remove it\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("data_confi: {set_size: 3}", "unknown section 'data_confi'; did you mean 'data_config'"),
        ("data_config: {set_size: 3}\nmax_steps: 3", "unknown section 'max_steps'; it is a key of training_config"),
        ("data_config: 3", "data_config: expected keys and values, found 3"),
        ("data_config: [3]", r"data_config: expected keys and values, found \[3\]"),
        ("optim_config: {lrr: 3}", "optim_config: unknown key 'lrr'; did you mean 'lr'"),
        ("data_config: {max_steps: 3}", "data_config: unknown key 'max_steps'; it is a key of training_config"),
        ("data_config: {set_size: 0}", "data_config.set_size must be at least 1, found 0"),
        ("data_config: {set_size: many}", "data_config.set_size must be a whole number, found 'many'"),
        ("training_config: {precision: fp4}", "training_config.precision must be one of fp32, .*, found 'fp4'"),
        ("training_config: {freeze: [head]}", "training_config.freeze must be one of encoder, .*, found 'head'"),
        ("experiment_config: {wandb: 3}", "experiment_config.wandb must be text that is not empty, found 3"),
        ("bionemo_model_config: {size: huge}", "bionemo_model_config.size must be one of .*, found 'huge'"),
        ("bionemo_model_config: {hidden_siz: 3}", "unknown key 'hidden_siz'; did you mean 'hidden_size'"),
        ("bionemo_model_config: {hidden_size: 3.5}", "bionemo_model_config.hidden_size: expected int, found '3.5'"),
        ("bionemo_model_config: {kv_channels: [3]}", r"bionemo_model_config.kv_channels: expected int, found '\[3\]'"),
        ("bionemo_model_config: {prior: gauss}", "bionemo_model_config.prior: expected one of .*, found 'gauss'"),
        ("bionemo_model_config: {num_genes: 3}", "bionemo_model_config.num_genes: the store decides it"),
        ("bionemo_model_config: {overrides: {a: 3}}", "unknown key 'overrides'; its values are keys of this section"),
        ("optim_config: !!python/name:os.system ''", "expected YAML, found could not determine a constructor"),
    ],
)
def test_what_cannot_be_used_is_refused(text: str, found: str, tmp_path: Path):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=f"recipe.yaml: (bionemo_model_config: )?{found}") as refusal:
        settings_from(["--config", str(file), *PLACES])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "text", ["lr: 2e-4\nmax_steps: 30", "optim_config: {lr: 2e-4}\ntraining_config: {max_steps: 30}"]
)
def test_a_number_without_a_decimal_point_is_one(text: str, tmp_path: Path):
    """YAML 1.1 reads it as text."""
    assert yaml.safe_load("2e-4") == "2e-4"
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    found = settings_from(["--config", str(file), *PLACES])
    assert (found.lr, found.max_steps) == (2e-4, 30)
    file.write_text(text.replace("30", "3e1"))
    with pytest.raises(InputError, match="max[_-]steps must be a whole number, found '3e1'"):
        settings_from(["--config", str(file), *PLACES])
    file.write_text(text.replace("2e-4", "-2e-4"))
    with pytest.raises(InputError, match="lr must be at least 0, found -0.0002"):
        settings_from(["--config", str(file), *PLACES])


def test_a_section_whose_keys_are_comments_says_nothing(tmp_path: Path):
    file = tmp_path / "recipe.yaml"
    file.write_text("bionemo_model_config:\n  # size: base\ntraining_config: {max_steps: 30}")
    assert settings_from(["--config", str(file), *PLACES]) == settings_from(["--max-steps", "30", *PLACES])


def test_settings_that_do_not_go_together_are_refused(tmp_path: Path):
    file = tmp_path / "recipe.yaml"
    file.write_text("training_config: {freeze: [encoder]}")
    with pytest.raises(InputError, match="--freeze keeps the weights of a checkpoint"):
        settings_from(["--config", str(file), *PLACES])


@pytest.mark.parametrize(("preset", "changed"), [("default", "paper"), ("paper", "default")])
def test_a_preset_that_was_changed_by_hand_is_refused(preset: str, changed: str, tmp_path: Path):
    """Everything else that the preset decides is in the file, and would stay; a file of few keys may choose some."""
    line = f"\\bpreset: {preset}"
    found = f"preset: expected {preset}, whose values the other keys have, found {changed}"
    sections = Path(written(tmp_path / "recipe.yaml", "--size", "tiny", "--preset", preset))
    flat = tmp_path / "flat.yaml"
    assert train(["--write-config", str(flat), "--size", "tiny", "--preset", preset]) == 0
    for file, key in ((sections, "bionemo_model_config."), (flat, "")):
        text = file.read_text()
        assert len(re.findall(line, text)) == 1
        file.write_text(re.sub(f" *{line}\n", "", text))
        assert settings_from(["--config", str(file), *PLACES]).preset == preset, "it is known without the line"
        file.write_text(re.sub(line, f"preset: {changed}", text))
        with pytest.raises(InputError, match=f"{file.name}: {key}{found}; .*bionemo-scale-recipe --preset {changed}$"):
            settings_from(["--config", str(file), *PLACES])
    sections.write_text(f"bionemo_model_config: {{preset: {changed}}}\ndata_config: {{sets: batch}}")
    assert settings_from(["--config", str(sections), *PLACES]).preset == changed


@pytest.mark.parametrize("write", [("recipe", "--dest"), ("train", "--write-config")])
@pytest.mark.parametrize(("preset", "other"), [("default", "paper"), ("paper", "default")])
def test_a_preset_may_have_the_values_of_another(write: tuple[str, str], preset: str, other: str, tmp_path: Path):
    """Options go before the preset, on the command line, in a file that was written of it, and in one by hand."""
    command, dest = write
    decided = {name: getattr(TrainSettings, name) for name in PRESETS["paper"].settings}
    decided.update(PRESETS[other].settings)
    chosen = [word for name, value in decided.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words = ("--size", "tiny", "--preset", preset, *chosen)
    file = tmp_path / "written.yaml"
    assert {"recipe": main, "train": train}[command]([dest, str(file), *words]) == 0
    expected = settings_from([*words, *PLACES])
    assert settings_from(["--config", str(file), *PLACES]) == expected
    model = {"size": "tiny", "preset": preset}
    sections = {"training_config": {"blind_share": decided["blind_share"]}, "bionemo_model_config": model}
    sections["data_config"] = {name: value for name, value in decided.items() if name != "blind_share"}
    by_hand = sections if command == "recipe" else {**model, **decided}
    (tmp_path / "by_hand.yaml").write_text(yaml.safe_dump(by_hand))
    assert settings_from(["--config", str(tmp_path / "by_hand.yaml"), *PLACES]) == expected


def test_the_page_of_recipes_shows_what_works(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]):
    """Its first commands, its short file and its Python."""
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text()
    commands, short, code = (re.findall(rf"```{kind}\n(.*?)```", text, re.S)[0] for kind in ("bash", "yaml", "python"))
    writes, trains = (shlex.split(line, comments=True)[1:] for line in commands.splitlines())
    assert main(writes) == 0
    found = settings_from(trains)
    assert (found.size, found.lr, found.set_size, found.out.name) == ("base", 1e-4, 64, "RUN")
    (tmp_path / "short.yaml").write_text(short)
    found = settings_from(["--config", "short.yaml", *PLACES])
    assert (found.size, found.overrides, found.max_steps, found.lr) == ("base", {"num_layers": "8"}, 5000, 3e-4)
    capsys.readouterr()
    exec(code, {})
    assert capsys.readouterr().out == "200 16\n"
