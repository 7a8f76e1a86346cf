# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from bionemo.scale.train.objective import TERMS, hide_labels, objective, path_placement
from bionemo.scale.train.step import data_step, forward_step, hide_covariates


def reference(model, batch) -> dict[str, Tensor]:
    return objective(
        model(batch, path_placement(model.config, batch)),
        batch,
        model.config,
        decode=model.decode,
        decode_mean=model.decode_mean,
    )


def test_a_step_is_the_objective_of_the_models_output(make_model, batch):
    model = make_model(prior="gaussian_mix").eval()
    terms, expected = forward_step(model, [batch]), reference(model, batch)
    assert tuple(terms) == TERMS
    for name in TERMS:
        assert torch.equal(terms[name], expected[name]), name


@pytest.mark.parametrize(
    "fields", [{}, {"prior": "gaussian_mix", "parameterization": "v"}, {"coupling": "ot"}, {"anchor": "additive"}]
)
def test_shared_controls_are_what_copies_of_them_are(fields, make_model, make_batch):
    """In losses and gradients; each is encoded and decoded once, and counts as often as it is started from."""
    model, batch, which = make_model(**fields), make_batch(4, 6), torch.tensor([0, 1, 0, 0])
    model.effects[:4] = torch.randn(4, 24, generator=torch.Generator().manual_seed(0))
    shared = {**batch, "control": batch["control"][:2], "controls_of": which}
    copied = {**batch, "control": batch["control"][which]}
    found, expected = [], []
    for results, sets in ((found, shared), (expected, copied)):
        model.zero_grad()
        terms = forward_step(model, [sets])
        terms["loss"].backward()
        results += [terms[name].detach() for name in TERMS]
        results += [each.grad for each in model.parameters() if each.grad is not None]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "unknown"), [("cell_type", 3), ("batch", 2)])
def test_training_hides_labels_and_evaluation_does_not(kind, unknown, make_model, make_batch):
    batch = make_batch(16, 4)
    model = make_model(**{"cell_type_dropout": 0.0, "batch_dropout": 0.0, f"{kind}_dropout": 0.5})
    labels = hide_labels(batch[kind], batch["seed"], kind=kind, prob=0.5, unknown=unknown)
    assert 0 < (labels == unknown).sum() < 16
    hidden, shown = reference(model, {**batch, kind: labels}), reference(model, batch)
    assert hidden["flow"] != shown["flow"]
    assert forward_step(model.train(), [batch])["flow"] == hidden["flow"]
    assert forward_step(model.eval(), [batch])["flow"] == shown["flow"]


def test_anchored_controls_are_encoded_and_are_the_decoders_target(make_model, batch):
    model = make_model(anchor="additive").eval()
    model.effects[:4] = torch.randn(4, 24, generator=torch.Generator().manual_seed(0))
    before = batch["control"].clone()
    terms = forward_step(model, [batch])
    expected = reference(model, {**batch, "control": model.anchor(batch["control"], batch["perturbation"])})
    assert terms["loss"] == expected["loss"] != reference(model, batch)["loss"]
    # The loader's batch stays as it was: another step may read it.
    assert torch.equal(batch["control"], before)


def test_the_network_is_found_inside_its_wrappers(make_model, batch):
    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module):
            super().__init__()
            self.module = module

        def forward(self, *args):
            return self.module(*args)

    model = make_model().eval()
    assert forward_step(Wrapper(Wrapper(model)), [batch])["loss"] == forward_step(model, [batch])["loss"]


@pytest.mark.parametrize("wrap", [lambda batch: batch, lambda batch: (batch, 0, 0)], ids=["plain", "as NeMo hands it"])
def test_a_batch_is_taken_from_either_loader(wrap, batch):
    (taken,) = data_step(iter([wrap(batch)]))
    assert set(taken) == set(batch)
    assert all(torch.equal(taken[name].cpu(), batch[name]) for name in batch)
    assert taken["seed"].device.type == "cpu"


def test_packed_sets_become_dense(batch):
    cells = torch.stack([batch["control"], batch["perturbed"]])
    csr = csr_matrix(cells.flatten(0, 2).numpy())
    labels = {name: batch[name] for name in batch if name not in ("control", "perturbed")}
    arrays = {"values": csr.data, "indices": csr.indices, "pointers": csr.indptr}
    packed = {name: torch.from_numpy(array) for name, array in arrays.items()}
    (taken,) = data_step(iter([{**packed, "num_genes": cells.shape[-1], **labels}]))
    assert set(taken) == set(batch)
    assert all(torch.equal(taken[name].cpu(), batch[name]) for name in batch)


def test_an_exhausted_loader_says_so():
    with pytest.raises(StopIteration):
        data_step(iter([]))


def several_sizes(make_batch):
    """A micro-batch of two places: one set of 8 cells, and two of 4 from several batches, with a filler."""
    generator = torch.Generator().manual_seed(3)

    def of(num_sets, num_cells, weight, **more):
        labels = torch.randint(2, (num_sets, num_cells), generator=generator)
        weights = torch.full((num_sets,), weight)
        return {**make_batch(num_sets, num_cells), "batch": labels, "weight": weights, "num_places": 2, **more}

    share = torch.tensor([[1 / 4] * 4, [1 / 3] * 3 + [0.0]])
    return [of(1, 8, 0.5), of(2, 4, 0.25, share=share)]


def test_sets_of_several_sizes_count_by_their_weights(make_model, make_batch):
    model = make_model(sets="mixed", set_size=16).eval()
    batches = several_sizes(make_batch)
    terms, parts = forward_step(model, batches), [reference(model, batch) for batch in batches]
    for name in TERMS:
        torch.testing.assert_close(terms[name], parts[0][name] + parts[1][name])


def test_a_batch_label_of_every_cell_is_hidden_with_its_set():
    labels, seeds = torch.arange(600).view(200, 3) % 5, torch.arange(200)
    hidden = hide_labels(labels, seeds, kind="batch", prob=0.5, unknown=9)
    assert torch.equal((hidden == 9).all(dim=1), (hidden == 9).any(dim=1))
    assert 0.3 < (hidden == 9).float().mean() < 0.7
    of_sets = hide_labels(labels[:, 0], seeds, kind="batch", prob=0.5, unknown=9)
    assert torch.equal(of_sets, hidden[:, 0])


def test_each_covariate_is_hidden_by_itself(make_model, make_batch):
    batch = make_batch(32, 4)
    batch["covariates"] = torch.zeros((32, 2), dtype=torch.int64)
    model = make_model(covariate_sizes=[2, 3], covariate_dropout=0.5, cell_type_dropout=0.0, batch_dropout=0.0)
    hidden = hide_covariates(batch["covariates"], batch["seed"], model.config)
    assert set(hidden[:, 0].tolist()) == {0, 2} and set(hidden[:, 1].tolist()) == {0, 3}
    assert (hidden[:, 0] == 2).tolist() != (hidden[:, 1] == 3).tolist()
    shown, told = reference(model, batch), reference(model, {**batch, "covariates": hidden})
    assert shown["flow"] != told["flow"]
    assert forward_step(model.train(), [batch])["flow"] == told["flow"]
    assert forward_step(model.eval(), [batch])["flow"] == shown["flow"]
