# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
import torch
from torch import Tensor

from bionemo.scale.model.scale_model import ScaleOutput, _pack, _unpack, join_batches, packed_length, split_batches
from bionemo.scale.train.objective import objective, path_placement


ORDER = torch.tensor([3, 0, 5, 1, 4, 2])


def run(model, batch) -> dict[str, Tensor]:
    return by_set(step(model, batch), model.config)


def step(model, batch) -> ScaleOutput:
    return model(batch, path_placement(model.config, batch))


def by_set(output: ScaleOutput, config) -> dict[str, Tensor]:
    """What is said of each set; decoded cells as log1p."""
    x_0, x_1 = (output.decoded * config.expression_divisor).chunk(2)
    return {"z_0": output.z_0, "z_1": output.z_1, "head": output.head, "x_0": x_0, "x_1": x_1}


def permuted(batch, order: Tensor) -> dict[str, Tensor]:
    return {**batch, "control": batch["control"][:, order], "perturbed": batch["perturbed"][:, order]}


@pytest.mark.parametrize("gene_encoder", ["llama", "attention"])
def test_permuting_cells_permutes_everything(gene_encoder, make_model, batch):
    model = make_model(gene_encoder=gene_encoder)
    output, moved = run(model, batch), run(model, permuted(batch, ORDER))
    for name, value in output.items():
        torch.testing.assert_close(moved[name], value[:, ORDER], rtol=1e-4, atol=1e-4, msg=name)


def test_sets_never_mix(model, batch):
    """Another set beside it leaves every bit of a set's output as it was."""
    output = run(model, batch)
    other = {name: value.clone() for name, value in batch.items()}
    other["control"][1] += 1
    other["perturbed"][1] *= 0.5
    for name in ("cell_type", "perturbation", "batch"):
        other[name][1] = 0 if batch[name][1] else 1
    other["seed"][1] += 1
    after = run(model, other)
    for name, value in output.items():
        assert torch.equal(after[name][[0, 2]], value[[0, 2]]), name
        assert not torch.allclose(after[name][1], value[1]), name


def test_forward_is_encode_place_transport_and_decode(model, batch):
    """Nothing but Z_t, t and the labels reaches the head: what training sees is what generation runs."""
    seen = {}

    def place(z_0: Tensor, z_1: Tensor):
        seen.update(z_0=z_0, z_1=z_1)
        return 0.75 * z_0 + 0.25 * z_1, torch.full((3,), 0.25)

    output = model(batch, place)
    torch.testing.assert_close(output.observed, torch.cat([batch["control"], batch["perturbed"]]) / 10)
    z_0, z_1 = model.encode(batch["control"]), model.encode(batch["perturbed"])
    condition = model.condition(batch["cell_type"], batch["perturbation"], batch["batch"])
    head = model.transport(0.75 * z_0 + 0.25 * z_1, torch.full((3,), 0.25), condition)
    assert torch.equal(seen["z_0"], output.z_0) and torch.equal(seen["z_1"], output.z_1)
    expected = dict(z_0=z_0, z_1=z_1, head=head, x_0=model.decode(z_0), x_1=model.decode(z_1))
    for name, value in expected.items():
        torch.testing.assert_close(by_set(output, model.config)[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("pooling", "gene_encoder", "parameterization"),
    list(itertools.product(["mean", "token", "attention", "seed"], ["llama", "attention"], ["x", "v"])),
)
def test_every_parameter_learns(pooling, gene_encoder, parameterization, make_model, batch):
    model = make_model(condition_pooling=pooling, gene_encoder=gene_encoder, parameterization=parameterization)
    objective(step(model, batch), batch, model.config, decode=model.decode, decode_mean=model.decode_mean)[
        "loss"
    ].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        # A bias of all keys alike moves no softmax.
        if not name.endswith("pool.key.linear.bias"):
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("gene_pooling", ["concat", "mean"])
@pytest.mark.parametrize("prior", ["gaussian_mix", "control_masked", "gaussian_mix_masked"])
def test_every_parameter_learns_with_every_prior(prior, gene_pooling, make_model, batch):
    model = make_model(prior=prior, gene_pooling=gene_pooling, loss_space="v", stop_gradient_target=True)
    objective(step(model, batch), batch, model.config, decode=model.decode, decode_mean=model.decode_mean)[
        "loss"
    ].backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert [name for name in silent if not name.endswith("pool.key.linear.bias")] == []


def test_expression_is_divided_inside_the_model_only(make_model, batch):
    """A cell ten times as large under a divisor ten times as large is the same cell, decoded ten times as large."""
    small, large = make_model(expression_divisor=1.0), make_model(expression_divisor=10.0)
    x = batch["control"]
    torch.testing.assert_close(large.encode(10 * x), small.encode(x), rtol=1e-4, atol=1e-5)
    z = small.encode(x)
    torch.testing.assert_close(large.decode(z), 10 * small.decode(z))


def test_autoencoder_can_return_log1p_values(make_model, batch):
    """A decoder that is told the divided cell gives back log1p space."""
    model = make_model()
    bias = model.expression_decoder.mlp.linear_fc2.bias
    with torch.no_grad():
        model.expression_decoder.mlp.linear_fc2.weight.zero_()
        bias.copy_(batch["control"][0, 0] / model.config.expression_divisor)
    decoded = model.decode(model.encode(batch["control"]))
    torch.testing.assert_close(decoded, batch["control"][0, 0].expand(3, 6, -1))


def test_decoded_expression_is_single_precision(make_model, batch):
    model = make_model().bfloat16()
    decoded = model.decode(model.encode(batch["control"].bfloat16()))
    assert decoded.dtype == torch.float32


def test_a_set_of_one_cell_and_a_batch_of_one_set(model, make_batch):
    batch = make_batch(1, 1)
    output = run(model, batch)
    assert output["x_1"].shape == (1, 1, 24) and torch.isfinite(output["x_1"]).all()


def test_what_travels_between_stages_comes_back(model):
    generator = torch.Generator().manual_seed(0)
    z_0, z_1 = (torch.randn(3, 6, 32, generator=generator) for _ in range(2))
    joint = torch.randn(7, 3, 32, generator=generator)
    packed = _pack(z_0, z_1, joint)
    assert packed.shape == (packed_length(6), 3, 32) and packed.is_contiguous()
    # Megatron frees the memory of what it has sent, which must be nobody else's.
    assert packed._base is None
    for found, sent in zip(_unpack(packed, 6), (z_0, z_1, joint), strict=True):
        assert torch.equal(found, sent)


def test_a_stage_takes_its_input_alone_or_in_a_list(model):
    tensor = torch.zeros(1)
    for given in (tensor, [tensor]):
        model.set_input_tensor(given)
        assert model._input is tensor
    model.set_input_tensor(None)
    assert model._input is None


def test_what_megatron_and_nemo_read(model):
    assert model.share_embeddings_and_output_weights is False
    assert model.pre_process and model.post_process


@pytest.fixture
def anchored(make_model):
    """A network with effects of both signs for its perturbations; control and unknown keep none."""
    model = make_model(anchor="additive")
    generator = torch.Generator().manual_seed(0)
    model.effects[: model.config.num_perturbations] = torch.randn(4, 24, generator=generator)
    return model


def test_anchor_moves_controls_by_the_effect_of_their_perturbation(anchored, batch):
    perturbation = torch.tensor([2, 0, 2])
    moved = anchored.anchor(batch["control"], perturbation)
    expected = (batch["control"] + anchored.effects[perturbation][:, None]).clamp_min(0)
    torch.testing.assert_close(moved, expected)
    assert moved.min() == 0 and not torch.equal(moved, batch["control"])


@pytest.mark.parametrize("row", [0, 1], ids=["control", "unknown"])
def test_anchor_knows_no_effect_of_control_and_of_the_unknown_label(row, anchored, batch):
    label = torch.full((3,), anchored.config.num_perturbations + row)
    assert torch.equal(anchored.anchor(batch["control"], label), batch["control"])


def test_without_an_anchor_controls_are_themselves(make_model, batch):
    model = make_model(anchor="none")
    model.effects.fill_(1)
    assert model.anchor(batch["control"], batch["perturbation"]) is batch["control"]


def test_effects_travel_with_the_weights_and_are_not_trained(anchored, make_model):
    other = make_model(anchor="additive")
    other.load_state_dict(anchored.state_dict())
    assert torch.equal(other.effects, anchored.effects)
    assert "effects" not in dict(anchored.named_parameters())


def test_batches_of_several_sizes_travel_in_one_tensor():
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 16), (3, 8)]
    parts = [torch.randn(packed_length(cells), sets, 5, generator=generator) for sets, cells in shapes]
    parts[0].requires_grad_()
    joined = join_batches(parts, length=packed_length(16, 2), places=4)
    assert joined.shape == (packed_length(16, 2), 4, 5) and joined._base is None
    for found, sent in zip(split_batches(joined, shapes), parts, strict=True):
        assert torch.equal(found, sent)
    split_batches(joined, shapes)[0].sum().backward()
    assert torch.equal(parts[0].grad, torch.ones_like(parts[0]))


def test_a_place_has_room_for_any_sets():
    """As many cells as N, and a condition token for each of the smallest sets."""
    for size in (16, 8, 4):
        assert packed_length(size) * (16 // size) <= packed_length(16, 4)
    assert packed_length(4) * 4 == packed_length(16, 4)
