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
from bionemo.scale.train.presets import WRITTEN_PRESET
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


@pytest.mark.parametrize(("name", "held", "chosen"), [("preset", "default", "paper"), ("size", "tiny", "base")])
def test_another_size_or_preset_than_the_sections_is_refused(name: str, held: str, chosen: str):
    """What follows from the sections' own is written out in them, and would stay."""
    config = MainConfig.from_settings(train_settings("tiny", **PLACES))
    with pytest.raises(InputError, match=f"^{name}: expected {held} as bionemo_model_config has it, found {chosen}; "):
        config.to_settings(**{name: chosen})
    assert config.to_settings(**{name: held}) == train_settings("tiny", **PLACES)
    assert MainConfig().to_settings(**PLACES, **{name: chosen}) == train_settings(
        chosen if name == "size" else None, **PLACES, **({"preset": chosen} if name == "preset" else {})
    )


def test_no_size_is_that_of_the_sections():
    assert MainConfig(bionemo_model_config={"size": "base"}).to_settings(**PLACES, size=None).size == "base"


def test_overrides_change_the_fields_that_they_name():
    config = MainConfig(bionemo_model_config={"size": "tiny", "num_layers": 3, "ffn_hidden_size": 96})
    found = config.to_settings(**PLACES, overrides={"num_layers": "4"})
    assert found.overrides == {"num_layers": "4", "ffn_hidden_size": "96"}


def test_an_assigned_section_is_checked():
    config = MainConfig(bionemo_model_config={"size": "tiny"})
    config.training_config = {"max_steps": 3}
    assert config.to_settings(**PLACES).max_steps == 3
    config.training_config = None
    assert config.training_config.given() == {}
    config.data_config = api.DataConfig(set_size=8)
    assert config.to_settings(**PLACES).set_size == 8
    with pytest.raises(InputError, match="^training_config: expected keys and values, found 3$"):
        config.training_config = 3
    with pytest.raises(InputError, match="^training_config: unknown key 'max_stepz'; did you mean 'max_steps'"):
        config.training_config = {"max_stepz": 3}
    with pytest.raises(InputError, match="^training_config: expected keys and values, found DataConfig"):
        config.training_config = api.DataConfig()
    with pytest.raises(InputError, match="^expected sections data_config, .*, found 3$"):
        MainConfig.model_validate(3)


def test_an_unknown_attribute_is_refused_as_an_unknown_key_is():
    config = MainConfig()
    with pytest.raises(InputError, match="^unknown section 'trainin_config'; did you mean 'training_config'"):
        config.trainin_config = {}
    with pytest.raises(InputError, match="^training_config: unknown key 'max_stepz'; did you mean 'max_steps'"):
        config.training_config.max_stepz = 3
    config.bionemo_model_config.kv_channels = 16
    assert config.to_settings(**PLACES).overrides == {"kv_channels": "16"}
    with pytest.raises(InputError, match="^bionemo_model_config: unknown key 'hidden_siz'"):
        config.bionemo_model_config.hidden_siz = 16


def test_a_data_module_needs_a_store_before_anything_is_imported():
    with pytest.raises(InputError, match="^data_config.store: expected a path, found none$"):
        api.DataConfig().construct_data_module(8)
    for batch in (6, 0, -8):
        with pytest.raises(InputError, match=f"multiple of micro_batch_size times accumulate = 4, found {batch}"):
            api.DataConfig(store="store", micro_batch_size=4).construct_data_module(batch)


def test_the_classes_are_in_the_api():
    assert api.MainConfig is MainConfig
    for name in ("DataConfig", "ExposedScaleConfig", "TrainingConfig", "ParallelConfig", "ExperimentConfig"):
        section = getattr(api, name)
        assert issubclass(section, BaseModel) and section.__name__ == name and section.__doc__
    assert set(api.MainConfig.model_json_schema()["properties"]) == {WRITTEN_PRESET, *SECTIONS.values()}
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
    assert api.ExposedScaleConfig.model_class() is api.ScaleConfig
