# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import megatron.core
import pytest
import torch
import yaml
from megatron.core import dist_checkpointing

from bionemo.scale.model import checkpoint
from bionemo.scale.model.checkpoint import load_network, read_config
from bionemo.scale.model.scale_model import ScaleModel
from bionemo.scale.types import DataCard, ExpressionScale, InputError, ObsKeys


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_the_network_that_predicts_is_loaded_alone(ema_decay, make_model, tmp_path):
    """The running average where there is one, and nothing of the weights it follows."""
    model = make_model(ema_decay=ema_decay, pipeline_dtype=torch.float32)
    with torch.no_grad():
        for number, value in enumerate(model.predictor.state_dict().values()):
            if value is not None and value.is_floating_point():
                value.fill_(number)
    (tmp_path / "weights").mkdir()
    dist_checkpointing.save(model.sharded_state_dict("module."), str(tmp_path / "weights"))
    loaded = load_network(model.config, tmp_path)
    assert type(loaded) is ScaleModel
    expected = model.predictor.state_dict()
    assert set(loaded.state_dict()) == set(expected)
    for name, value in loaded.state_dict().items():
        assert value is None or torch.equal(value, expected[name]), name


@pytest.mark.parametrize(
    ("module", "of_another_release"),
    [("megatron.core.dist_checkpointing.strategies.torch", True), ("collections", False)],
)
def test_weights_of_another_megatron_are_refused_as_such(module, of_another_release, make_model, tmp_path):
    model = make_model(pipeline_dtype=torch.float32)
    (tmp_path / "weights").mkdir()
    dist_checkpointing.save(model.sharded_state_dict("module."), str(tmp_path / "weights"))
    # A pickle of a class that there is not; only one of Megatron's tells of a release.
    (tmp_path / "weights" / ".metadata").write_bytes(f"c{module}\nLater\n.".encode())
    with pytest.raises(InputError, match="the weights cannot be read: .*Later") as error:
        load_network(model.config, tmp_path)
    said = f"expected what megatron-core {megatron.core.__version__} can read, found a description by another release"
    assert (said in str(error.value)) is of_another_release


def saved(folder, **fields):
    """What NeMo writes of a configuration."""
    labels = dict(cell_types=("B",), perturbations=("A",), batches=("1",), control="none")
    card = DataCard(genes=("a",), **labels, scale=ExpressionScale(), keys=ObsKeys())
    (folder / "context").mkdir()
    config = {"_target_": "bionemo.scale.train.config.ScaleConfig", "data_card": card.to_json(), **fields}
    (folder / "context" / "model.yaml").write_text(yaml.safe_dump({"config": config}))
    return folder


def test_what_a_checkpoint_says_of_its_own_run_is_left_out(tmp_path, process_groups):
    layout = dict(tensor_model_parallel_size=2, bf16=True, fp8="hybrid", layer_spec="te", apply_rope_fusion=True)
    config, _ = read_config(saved(tmp_path, hidden_size=64, additive_share=0.2, tables_file="/gone", **layout))
    assert (config.hidden_size, config.additive_share) == (64, 0.2)
    assert (config.tensor_model_parallel_size, config.bf16, config.fp8, config.layer_spec) == (1, False, None, "local")
    assert (config.apply_rope_fusion, config.tables_file) == (False, "")
    assert (config.params_dtype, config.pipeline_dtype) == (torch.float32, torch.float32)


def test_fields_that_an_earlier_version_let_pass_and_ignored_are_left_out(tmp_path, process_groups):
    ignored = dict(context_parallel_size=2, num_moe_experts=4, qk_layernorm=True, masked_softmax_fusion=True)
    function = {"_call_": False, "_target_": "torch._C._nn.gelu"}
    config, _ = read_config(saved(tmp_path, hidden_size=64, activation_func=function, **ignored))
    assert (config.hidden_size, config.context_parallel_size, config.num_moe_experts) == (64, 1, None)


def test_a_pooling_of_an_extension_that_is_not_there_is_refused(tmp_path, process_groups):
    with pytest.raises(InputError, match="condition_pooling must be one of mean, .*, found 'max'"):
        read_config(saved(tmp_path, condition_pooling="max"))


def test_fields_that_make_no_network_are_refused(make_config, tmp_path, monkeypatch):
    """Each field alone may be possible, and the layers not."""

    def fail(*arguments, **options):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(checkpoint, "ScaleModel", fail)
    monkeypatch.setattr(checkpoint, "check_weights", lambda path: None)
    with pytest.raises(InputError, match=r"model.yaml: no network can be built of these fields: .*multiplied"):
        checkpoint.load_network(make_config(pipeline_dtype=torch.float32), tmp_path)
