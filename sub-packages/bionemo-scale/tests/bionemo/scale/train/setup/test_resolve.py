# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bionemo.scale import api
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.train.tables import read_perturbations
from bionemo.scale.types import DataCard, ExpressionScale, InputError, ObsKeys


@pytest.fixture
def config_of(process_groups):
    from bionemo.scale.train.setup.resolve import checked_config, network_fields

    labels = dict(cell_types=("B", "T"), perturbations=("A",), batches=("1",), control="none")
    card = DataCard(genes=tuple("abcd"), **labels, scale=ExpressionScale(), keys=ObsKeys())

    def make(overrides: dict[str, str] | None = None, **settings):
        run = TrainSettings(store=Path("store"), out=Path("out"), size="tiny", overrides=overrides or {}, **settings)
        fields = network_fields(run, card, read_perturbations(card.perturbations, Grammar(), None))
        return checked_config(fields)

    return make


def refusal(config_of, *arguments, **settings) -> str:
    with pytest.raises(InputError) as error:
        config_of(*arguments, **settings)
    return str(error.value)


def test_precision_reaches_the_network(config_of):
    single, half = config_of(), config_of(precision="bf16")
    assert (single.bf16, single.params_dtype, single.pipeline_dtype) == (False, torch.float32, torch.float32)
    assert (half.bf16, half.params_dtype, half.pipeline_dtype) == (True, torch.bfloat16, torch.bfloat16)


def test_a_preset_goes_before_the_defaults_and_after_the_user(config_of):
    paper = config_of({"label_scale": "3"}, preset="paper")
    assert (paper.label_scale, paper.latent_norm, paper.generation, paper.hidden_size) == (3.0, False, "decode", 32)
    assert config_of(preset="default") == config_of()


@pytest.mark.skipif(torch.cuda.is_available(), reason="refused for want of a CUDA device, and there is one")
@pytest.mark.parametrize("settings", [{"precision": "fp8"}, {"spec": "te"}])
def test_what_this_machine_cannot_run_is_refused(settings, config_of):
    assert "found no CUDA device" in refusal(config_of, **settings)


@pytest.mark.parametrize(
    "name, value, option",
    [
        ("layer_spec", "te", "--spec"),
        ("fp8", "hybrid", "--precision"),
        ("bf16", "true", "--precision"),
        ("tensor_model_parallel_size", "2", "--tensor-parallel"),
        ("pipeline_model_parallel_size", "2", "--pipeline-parallel"),
        ("seed", "3", "--seed"),
        ("set_size", "3", "--set-size"),
    ],
)
def test_fields_with_an_option_are_set_by_it(name, value, option, config_of):
    assert refusal(config_of, {name: value}) == f"--set {name}: use {option}"


@pytest.mark.parametrize(
    "name, value, owner",
    [("num_genes", "3", "the store"), ("max_agents", "3", "the store"), ("tables_file", "x", "the run folder")],
)
def test_fields_that_the_data_decide_are_not_set(name, value, owner, config_of):
    assert refusal(config_of, {name: value}) == f"--set {name}: {owner} decides it; leave it out"


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("context_parallel_size", "2", "expected 1, found 2"),
        ("num_moe_experts", "4", "expected None, found 4"),
        ("qk_layernorm", "true", "expected False, found True"),
        ("cpu_offloading", "true", "expected False, found True"),
    ],
)
def test_fields_that_the_network_ignores_are_refused(name, value, expected, config_of):
    found = refusal(config_of, {name: value})
    assert found == (
        f"model configuration: {name} is a field of Megatron's that SCALE does not use: {expected}; leave it out"
    )


def test_sizes_that_megatron_derives_are_not_set(config_of):
    found = refusal(config_of, {"expert_tensor_parallel_size": "2"})
    assert found == ("--set expert_tensor_parallel_size: a field of Megatron's that SCALE does not use; leave it out")


def test_a_layout_that_does_not_fit_names_the_field(config_of):
    found = refusal(config_of, {"num_layers": "1"}, devices=2, pipeline_parallel=2)
    assert found.startswith("model configuration: the pipeline parallel size must be at most num_layers=1")
    found = refusal(config_of, {"num_layers_in_first_pipeline_stage": "3"}, devices=2, pipeline_parallel=2)
    assert found.startswith("model configuration: num_layers=2 must spread evenly over 2 pipeline stages")


def test_blocks_are_spread_by_the_work_of_the_stages(config_of):
    from bionemo.scale.model.size.arithmetic import step_arithmetic

    alone = config_of({"num_layers": "30"})
    config = config_of({"num_layers": "30"}, devices=2, pipeline_parallel=2)
    assert alone.num_layers_in_first_pipeline_stage is None and config.num_layers_in_last_pipeline_stage is None
    assert config.num_layers_in_first_pipeline_stage == step_arithmetic(alone).best_blocks(2)[0]
    assert 1 < config.num_layers_in_first_pipeline_stage < 15
    chosen = {"num_layers": "30", "num_layers_in_first_pipeline_stage": "17"}
    assert config_of(chosen, devices=2, pipeline_parallel=2).num_layers_in_first_pipeline_stage == 17


def test_what_can_be_refused_is_refused_before_nemo_is_imported(tmp_path):
    code = (
        "import sys; from bionemo.scale.run.train import main; code = main(sys.argv[1:]); "
        "print(code, sorted({'nemo', 'lightning', 'transformers', 'bionemo.llm'} & set(sys.modules)), "
        "'bionemo.scale.train.setup.resolve' in sys.modules)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, "--store", tmp_path / "none", "--out", tmp_path / "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "2 [] True", done.stderr


def test_a_model_knows_the_genes_that_library_sizes_were_summed_over(write_pairs, tmp_path, process_groups):
    from bionemo.scale.train.setup.resolve import resolve

    write_pairs(tmp_path)
    store = api.prepare(tmp_path / "screen.h5ad", tmp_path / "store", num_hvg=20).out
    card = resolve(TrainSettings(store=store, out=tmp_path / "run", size="tiny")).card
    assert (len(card.genes), card.counted_genes) == (20, 60)
    assert DataCard.from_json(card.to_json()) == card
