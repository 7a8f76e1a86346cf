# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from bionemo.scale.train.settings import FREEZABLE


RECOMPUTED = {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}


def measured(model, batch, *, precision: str) -> int:
    """Bytes of what a real forward pass on the CPU saves for the backward pass, and of the cells."""
    from megatron.core.transformer.module import Float16Module

    from bionemo.scale.train.step import forward_step

    network = Float16Module(model.config, model) if precision == "bf16" else model
    own = {x.untyped_storage().data_ptr() for x in (*network.parameters(), *network.buffers())}
    storages = {}
    for name in ("control", "perturbed", "cell_type", "perturbation", "batch", "covariates"):
        if name in batch:
            storage = batch[name].untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        terms = forward_step(network, [batch])
    del terms
    return sum(storages.values())


@pytest.mark.parametrize(
    "precision, frozen, fields",
    [
        ("fp32", (), {}),
        ("bf16", (), {}),
        ("fp32", ("encoder", "decoder"), {}),
        ("fp32", (), RECOMPUTED),
        ("fp32", (), {"num_query_groups": 1}),
        ("fp32", (), {"coupling": "ot", "endpoint_mmd_weight": 1.0, "covariate_sizes": [3]}),
        ("fp32", (), {"parameterization": "v", "loss_space": "jit-v", "prior": "gaussian_mix", "anchor": "additive"}),
    ],
    ids=["default", "bf16", "frozen", "recomputed", "query_groups", "coupled", "other_losses"],
)
def test_as_many_bytes_as_a_real_forward_pass_keeps(
    precision, frozen, fields, make_model, make_config, make_batch, monkeypatch
):
    from bionemo.scale.megatron.kernels import PRECISIONS
    from bionemo.scale.model import layer_specs
    from bionemo.scale.train.setup.activations import activation_bytes

    # Counted is what a device keeps.
    monkeypatch.setattr(layer_specs, "attends_in_float32", lambda device: False)
    of_precision = PRECISIONS[precision].config_fields()
    model = make_model(**of_precision, **fields).train()
    for part in frozen:
        for module in FREEZABLE[part]:
            getattr(model, module).requires_grad_(False)
    batch = make_batch()
    if "covariate_sizes" in fields:
        batch["covariates"] = torch.zeros(3, 1, dtype=torch.int64)
    counted = activation_bytes(
        make_config(**of_precision, **fields), num_sets=3, dtype=PRECISIONS[precision].dtype, frozen=frozen
    )
    assert counted == pytest.approx(measured(model, batch, precision=precision), rel=0.01)


def test_they_grow_with_the_sets(make_config):
    from bionemo.scale.train.setup.activations import activation_bytes

    few, many = (activation_bytes(make_config(), num_sets=sets, dtype=torch.float32) for sets in (8, 16))
    assert many == pytest.approx(2 * few, rel=0.05)
