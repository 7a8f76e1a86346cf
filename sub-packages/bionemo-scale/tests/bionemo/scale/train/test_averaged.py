# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import torch

from bionemo.scale.train.finetune.lora import add_adapters
from bionemo.scale.train.objective import objective, path_placement


MEMBERS = "condition_encoder.perturbation.members"


def test_without_decay_the_network_predicts_itself(make_model):
    model = make_model(ema_decay=0.0)
    assert model.average is None and model.predictor is model


def test_it_follows_weights_and_buffers(make_model):
    model = make_model(ema_decay=0.75, anchor="additive")
    before = {name: value.clone() for name, value in model.average.state_dict().items() if value is not None}
    with torch.no_grad():
        for parameter in filter(lambda parameter: parameter.requires_grad, model.parameters()):
            parameter.add_(1.0)
    model.effects.fill_(2.0)
    model.update_average(step=1000)
    now = dict(model.named_parameters())
    for name, value in model.average.named_parameters():
        torch.testing.assert_close(value, 0.75 * before[name] + 0.25 * now[name])
    torch.testing.assert_close(model.average.effects, 0.75 * before["effects"] + 0.5)
    assert torch.equal(model.average.condition_encoder.perturbation.members, before[MEMBERS])


def test_it_starts_as_a_copy_and_forgets_the_first_weights_early(make_model):
    model = make_model(ema_decay=0.999)
    weight = model.head.linear.weight
    assert torch.equal(model.average.head.linear.weight, weight)
    with torch.no_grad():
        # What uninitialised memory may hold.
        model.average.head.linear.weight.fill_(torch.nan)
    model.update_average(step=0)
    assert torch.equal(model.average.head.linear.weight, weight)
    with torch.no_grad():
        model.average.head.linear.weight.zero_()
    model.update_average(step=1)
    torch.testing.assert_close(model.average.head.linear.weight, 0.9 * weight)


def test_no_gradient_reaches_it_and_it_predicts(make_model, batch):
    model = make_model(ema_decay=0.9)
    objective(
        model(batch, path_placement(model.config, batch)),
        batch,
        model.config,
        decode=model.decode,
        decode_mean=model.decode_mean,
    )["loss"].backward()
    assert all(p.grad is None and not p.requires_grad for p in model.average.parameters())
    assert model.predictor is model.average


def saved(model) -> list[str]:
    """Names and whole shapes of what a checkpoint holds; an object of another kind has no shape."""
    lines = {
        " ".join([described.key, *(map(str, getattr(described, "global_shape", ())))])
        for described in model.sharded_state_dict("module.").values()
    }
    return sorted(lines)


def test_tensors_are_saved_under_the_names_that_they_always_had(make_model):
    """Of the network, its average and its adapters: checkpoints of every version are read by these names."""
    model = make_model(ema_decay=0.9, perturbation_source="both", feature_size=5, dose_separator="@")
    add_adapters(model, rank=4, seed=0)
    assert saved(model) == Path(__file__).with_name("saved_tensors.txt").read_text().splitlines()
