# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The sections of a training run in Python: every option in one of them, checked as the options are."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from bionemo.scale import api
from bionemo.scale.options.fields import options_of
from bionemo.scale.recipes.defaults import train_settings
from bionemo.scale.run.config.config_models import MainConfig
from bionemo.scale.run.config.sections import SECTIONS
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import InputError


PLACES = {"store": Path("store"), "out": Path("run")}


def test_every_option_of_training_is_a_key_of_one_section_with_its_default_and_help():
    sections = [MainConfig.model_fields[name].annotation for name in SECTIONS.values()]
    for option in options_of(TrainSettings):
        found = [section.model_fields[option.name] for section in sections if option.name in section.model_fields]
        if option.name == "overrides":
            assert found == [], "its values are keys of the network"
            continue
        (field,) = found
        assert field.description == option.help
        assert field.default == (None if option.is_required else option.default), option.name


def test_settings_and_sections_are_the_same_run():
    settings = train_settings(
        "base", **PLACES, preset="paper", overrides={"num_layers": "3", "latent_norm": "True"}, seed=7, folds=3
    )
    config = MainConfig.from_settings(settings)
    assert config.to_settings() == settings
    assert (config.bionemo_model_config.num_layers, config.bionemo_model_config.hidden_size) == (3, 512)


def test_sections_that_say_little_take_the_defaults_of_the_size():
    config = MainConfig(bionemo_model_config={"size": "184m", "num_layers": 3}, training_config={"seed": 1})
    expected = train_settings("184m", **PLACES, overrides={"num_layers": "3"}, seed=1)
    assert config.to_settings(**PLACES) == expected
    assert expected.devices == 8


def test_a_network_of_a_checkpoint_is_changed_by_what_is_given_alone():
    settings = train_settings(None, **PLACES, from_checkpoint=Path("before"), overrides={"endpoint_weight": "100.0"})
    found = MainConfig.from_settings(settings)
    assert found.as_dict()["bionemo_model_config"] == {"size": None, "preset": "default", "endpoint_weight": 100.0}
    assert found.to_settings() == settings


def test_a_key_can_be_changed_in_python_and_is_checked():
    config = MainConfig.from_settings(train_settings("tiny", **PLACES))
    config.training_config.max_steps = 7
    assert config.to_settings().max_steps == 7
    with pytest.raises(InputError, match="^training_config.max_steps must be at least 1, found 0$"):
        config.training_config.max_steps = 0
    with pytest.raises(InputError, match="^data_config: unknown key 'set_siz'; did you mean 'set_size'"):
        api.DataConfig(set_siz=3)
    with pytest.raises(InputError, match="^experiment_config.out: expected a path, found none$"):
        MainConfig(data_config={"store": "store"}).to_settings()


def test_the_classes_are_in_the_api():
    assert api.MainConfig is MainConfig
    for name in ("DataConfig", "ExposedScaleConfig", "TrainingConfig", "ParallelConfig", "ExperimentConfig"):
        section = getattr(api, name)
        assert issubclass(section, BaseModel) and section.__name__ == name and section.__doc__
    assert set(api.MainConfig.model_json_schema()["properties"]) == set(SECTIONS.values())
    assert api.ScaleModelConfig().hidden_size == 128 and api.ScaleModel.__doc__
    assert api.TrainSettings is TrainSettings


@pytest.mark.slow
def test_bionemos_ways_to_the_classes_of_training(screen, tmp_path: Path):
    """As bionemo-llm's own configurations have them: a data module, and the class of the model's configuration."""
    screen.write_h5ad(tmp_path / "screen.h5ad")
    store = api.prepare(tmp_path / "screen.h5ad", tmp_path / "store").out
    data = api.DataConfig(store=store, micro_batch_size=4, set_size=8)
    module = data.construct_data_module(8, seed=3)
    assert (module.global_batch_size, module.micro_batch_size, module.set_size, module.seed) == (8, 4, 8, 3)
    assert module.store.path == store
    with pytest.raises(InputError, match="multiple of micro_batch_size times accumulate = 4, found 6"):
        data.construct_data_module(6)
    assert api.ExposedScaleConfig.model_class() is api.ScaleConfig
