# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
import torch

from bionemo.scale.train.finetune.transfer import Match, Matches, copy_weights, count_weights, freeze


GENES = tuple(f"g{i}" for i in range(24))
CELL_TYPES, PERTURBATIONS, BATCHES = ("T", "B", "NK"), ("A", "C", "D", "E"), ("1", "2")


def matches(**new: tuple[str, ...]) -> Matches:
    """Names of the tiny network beside other ones."""
    old = dict(genes=GENES, cell_types=CELL_TYPES, agents=PERTURBATIONS, batches=BATCHES)
    return Matches(**{name: Match(old=names, new=new.get(name, names)) for name, names in old.items()})


def test_a_match_tells_known_from_new_and_left_out_names():
    match = Match(old=("a", "b", "c"), new=("d", "c", "a"))
    assert (match.known, match.added, match.left_out) == (("c", "a"), ("d",), ("b",))
    old, new = match.rows(special=2)
    assert old.tolist() == [2, 0, 3, 4] and new.tolist() == [1, 2, 3, 4]
    assert [rows.tolist() for rows in Match(old=(), new=("a",)).rows()] == [[], []]


def test_genes_in_another_order_with_new_ones_are_encoded_and_decoded_as_before(make_model, batch):
    names = ("new1", *GENES[::-1], "new2")
    source, target = make_model(), make_model(num_genes=26, seed=7)
    bias = torch.linspace(0, 1, 26)
    with torch.no_grad():
        target.expression_decoder.mlp.linear_fc2.bias.copy_(bias)
    copy_weights(source, target, matches(genes=names))
    cells = torch.full((3, 6, 26), 5.0)
    cells[..., 1:-1] = batch["control"].flip(-1)
    with torch.no_grad():
        expected, found = source.encode(batch["control"]), target.encode(cells)
        torch.testing.assert_close(found, expected)
        decoded = target.decode(expected)
        torch.testing.assert_close(decoded[..., 1:-1].flip(-1), source.decode(expected))
    assert torch.equal(decoded[..., [0, -1]], (10 * bias[[0, -1]]).expand(3, 6, 2)), "new genes are their mean"


def test_labels_are_found_by_name_and_new_ones_stay_as_they_were(make_model):
    source, target = make_model(), make_model(num_cell_types=2, num_perturbations=2, num_batches=3, seed=7)
    fresh = make_model(num_cell_types=2, num_perturbations=2, num_batches=3, seed=7)
    copy_weights(source, target, matches(cell_types=("NK", "Mono"), agents=("Z", "D"), batches=("2", "3", "1")))
    old, new, first = (model.condition_encoder for model in (source, target, fresh))
    assert torch.equal(new.cell_type.weight[[0, 2]], old.cell_type.weight[[2, 3]])
    assert torch.equal(new.cell_type.weight[1], first.cell_type.weight[1])
    embeddings = [encoder.perturbation.embedding.weight for encoder in (old, new, first)]
    assert torch.equal(embeddings[1][1:], embeddings[0][[2, 4, 5]]), "D, control, unknown"
    assert torch.equal(embeddings[1][0], embeddings[2][0])
    assert torch.equal(new.batch.weight[[0, 2, 3]], old.batch.weight[[1, 0, 2]])


def test_predictions_of_known_labels_keep_their_bits(make_model, batch):
    source = make_model()
    target = make_model(num_cell_types=4, num_perturbations=6, seed=7)
    copy_weights(source, target, matches(cell_types=("X", *CELL_TYPES), agents=("P", *PERTURBATIONS, "Q")))
    known = [model.condition(batch["cell_type"] + shift, batch["perturbation"] + shift, batch["batch"])
             for model, shift in ((source, 0), (target, 1))]  # fmt: skip
    assert torch.equal(*known)
    z, t = source.encode(batch["control"]), torch.zeros(3)
    assert torch.equal(source.transport(z, t, known[0]), target.transport(z, t, known[0]))


def test_features_are_brought_to_the_scale_of_the_source(make_model):
    source, target = (make_model(perturbation_source="both", feature_size=2, seed=seed) for seed in (0, 7))
    raw = torch.tensor([[1.0, 4.0], [3.0, 8.0], [5.0, 0.0], [7.0, 2.0]])
    for model, mean, scale in ((source, 2.0, 4.0), (target, 4.0, 2.0)):
        encoder = model.condition_encoder.perturbation
        encoder.feature_mean.fill_(mean)
        encoder.feature_scale.fill_(scale)
        encoder.feature_table[:4] = (raw - mean) / scale
    copy_weights(source, target, matches())
    encoder = target.condition_encoder.perturbation
    torch.testing.assert_close(encoder.feature_table[:4], (raw - 2) / 4)
    assert encoder.feature_mean.tolist() == [2, 2] and not encoder.feature_table[4:].any()


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_frozen_parts_are_not_counted_and_the_average_never_is(ema_decay, make_model):
    model = make_model(ema_decay=ema_decay)
    trained = {name: parameter for name, parameter in model.named_parameters() if not name.startswith("average.")}
    assert count_weights(model) == sum(parameter.numel() for parameter in trained.values())
    freeze(model, ["encoder", "decoder"])
    left = count_weights(model, lambda parameter: parameter.requires_grad)
    frozen = ("gene_encoder.", "set_fusion.", "expression_decoder.")
    assert left == sum(value.numel() for name, value in trained.items() if not name.startswith(frozen))
    assert 0 < left < count_weights(model)


def test_rows_of_other_networks_are_not_touched(make_model):
    """Nothing of the new network but what is copied: a copy onto itself changes no bit."""
    model = make_model()
    before = {name: value.detach().clone() for name, value in model.state_dict().items() if torch.is_tensor(value)}
    copy_weights(make_model(), model, matches())
    after = model.state_dict()
    assert all(np.array_equal(value, after[name]) for name, value in before.items())


def test_covariates_are_found_by_the_name_of_their_column(make_model):
    source, target = make_model(covariate_sizes=[2, 3]), make_model(covariate_sizes=[1, 2], seed=7)
    fresh = make_model(covariate_sizes=[1, 2], seed=7)
    known = Match(old=("24h", "6h"), new=("48h", "6h"))
    copy_weights(
        source, target, dataclasses.replace(matches(), covariates=((-1, Match(old=(), new=("a",))), (0, known)))
    )
    old, new, first = (model.condition_encoder.covariates for model in (source, target, fresh))
    assert torch.equal(new[0].weight, first[0].weight), "the checkpoint does not have it"
    assert torch.equal(new[1].weight[[1, 2]], old[0].weight[[1, 2]]), "6h and the unknown value"
    assert torch.equal(new[1].weight[0], first[1].weight[0])
