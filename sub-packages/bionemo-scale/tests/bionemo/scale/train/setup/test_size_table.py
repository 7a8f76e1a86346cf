# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch

from bionemo.scale.train.settings import FREEZABLE, TrainSettings
from bionemo.scale.types import InputError


FIELDS = dict(ema_decay=0.9, perturbation_source="both", feature_size=5, dose_separator="@")


def bytes_of(tensors) -> int:
    """Of the storages, each once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def trained(model, batch, *, precision: str) -> dict[str, int]:
    """Bytes that Megatron and this package hold after one step of a real optimizer."""
    from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
    from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
    from megatron.core.transformer.module import Float16Module

    wrapped = Float16Module(model.config, model) if precision == "bf16" else model
    ddp = DistributedDataParallel(
        model.config, DistributedDataParallelConfig(grad_reduce_in_fp32=True, use_distributed_optimizer=False), wrapped
    )
    optimizer = get_megatron_optimizer(OptimizerConfig(lr=1e-3, bf16=precision == "bf16"), [ddp])
    output = ddp(batch, lambda z_0, z_1: (z_0, torch.zeros(len(z_0))))
    (output.head.square().mean() + output.decoded.square().mean()).backward()
    optimizer.step()
    average = {name for name, _ in model.named_parameters() if name.startswith("average.")}
    average |= {name for name, _ in model.named_buffers() if name.startswith("average.")}
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    adam = optimizer.chained_optimizers[0].optimizer
    state = [value for entry in adam.state.values() for value in entry.values() if value.ndim]
    masters = (
        [parameter for group in adam.param_groups for parameter in group["params"]] if precision == "bf16" else []
    )
    return {
        "weights": bytes_of(tensor for name, tensor in tensors.items() if name not in average),
        "running average": bytes_of(tensor for name, tensor in tensors.items() if name in average),
        "gradients": bytes_of(buffer.grad_data for buffer in ddp.buffers),
        "optimizer state": bytes_of([*state, *masters]),
    }


@pytest.mark.parametrize("frozen", [(), ("encoder", "decoder")])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_memory_is_that_of_the_tensors_of_a_step(precision, frozen, make_model, make_config, make_batch):
    from bionemo.scale.megatron.kernels import PRECISIONS
    from bionemo.scale.model.size.count import count_tensors
    from bionemo.scale.train.setup.size_table import training_memory

    fields = {**FIELDS, **PRECISIONS[precision].config_fields()}
    model = make_model(**fields)
    for part in frozen:
        for module in FREEZABLE[part]:
            getattr(model, module).requires_grad_(False)
    expected = trained(model, make_batch(), precision=precision)
    counted = training_memory(count_tensors(make_config(**fields)), precision=precision, frozen=frozen)
    assert counted == expected


def settings(overrides: dict[str, str], **more) -> TrainSettings:
    return TrainSettings(store=Path("store"), out=Path("out"), size="tiny", overrides=overrides, **more)


def table(overrides: dict[str, str], **more) -> str:
    from bionemo.scale.train.setup.size_table import size_table

    return size_table(settings(overrides, **more), with_store=False)


def test_the_table_counts_everything_that_training_keeps(process_groups):
    lines = table({"num_genes": "100"}).splitlines()
    assert lines[0].startswith("size tiny: 100 genes, 50 cell types")
    names = [line.split("  ")[0] for line in lines]
    memory, arithmetic = slice(-11, -5), slice(-4, None)
    kept = ["weights", "running average", "gradients", "optimizer state", "activations", "total"]
    assert names[memory] == kept
    assert names[arithmetic] == ["encoder", "transport", "decoder", "total"]
    for rows in (memory, arithmetic):
        numbers = [float(line.split()[-1]) for line in lines[rows]]
        assert sum(numbers[:-1]) == pytest.approx(numbers[-1], abs=0.3) and numbers[0] > 0


def test_the_table_says_what_pipeline_stages_gain(process_groups):
    line = table({}, devices=2, pipeline_parallel=2).splitlines()[-1]
    assert line.startswith("2 pipeline stages of 1, 1 transport blocks: at most 1.") and line.endswith("one process")


def test_without_an_average_none_is_counted(process_groups):
    line = next(line for line in table({"ema_decay": "0"}).splitlines() if line.startswith("running average"))
    assert line.split()[-1] == "0.0"


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("layer_spec", "te", "--set layer_spec: use --spec"),
        ("fp8", "hybrid", "--set fp8: use --precision"),
        ("cpu_offloading", "true", "model configuration: cpu_offloading is a field of Megatron's"),
    ],
)
def test_what_training_refuses_is_refused_here(name, value, message, process_groups):
    with pytest.raises(InputError, match=message):
        table({name: value})
