# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bionemo.scale.infer.labels import asked_perturbations, model_rows, with_new_perturbations, with_unknown_contexts
from bionemo.scale.infer.trained_model import LoadedModel
from bionemo.scale.types import DataCard, ExpressionScale, InputError, ObsKeys


@pytest.fixture
def load(make_model, tmp_path: Path):
    """A network of the agents A, B, C and D, one a label, with or without features of width 2."""

    def make(**fields) -> LoadedModel:
        source = fields.pop("perturbation_source", "learned")
        size = 0 if source == "learned" else 2
        model = make_model(
            combination_separator="+",
            perturbation_source=source,
            feature_size=size,
            **{"dose_separator": "@", **fields},
        )
        card = DataCard(
            genes=tuple(f"g{i}" for i in range(24)),
            cell_types=("T", "B", "NK"),
            perturbations=("A", "B", "C", "D"),
            batches=("1", "2"),
            control="control",
            scale=ExpressionScale(),
            keys=ObsKeys(),
            untrained_cell_types=("B",),
        )
        return LoadedModel(model=model, card=card, path=tmp_path)

    return make


@pytest.fixture
def features(tmp_path: Path) -> Path:
    path = tmp_path / "features.csv"
    path.write_text("name,x,y\nE,1,2\nF,3,4\n")
    return path


def embed(loaded: LoadedModel, *names: str) -> torch.Tensor:
    rows = model_rows(loaded.card, loaded.model.config).perturbation
    ids = torch.tensor([int(rows[loaded.card.perturbations.index(name)]) for name in names])
    return loaded.model.condition_encoder.perturbation(ids)


def test_labels_with_commas_are_asked_for_in_options(load, tmp_path: Path):
    loaded, path = load(), tmp_path / "features.csv"
    path.write_text('name,x\n"beta, gamma",1\n')
    assert asked_perturbations(loaded, ["A,B", "[('D', 0.05, 'uM')],C"], None) == (
        *("A", "B", "[('D', 0.05, 'uM')]", "C"),
    )
    assert asked_perturbations(loaded, ["A,beta, gamma"], path) == ("A", "beta, gamma")
    assert asked_perturbations(loaded, ["A,beta, gamma"], None) == ("A", "beta", "gamma")


def test_a_model_does_not_learn_what_another_of_its_weights_was_taught(load):
    """Two models of one network, each with a label of its own in the same row."""
    first = load()
    one, other = (with_new_perturbations(first, [name], None) for name in ("B+D", "A+C"))
    single = embed(first, "A", "B", "C", "D")
    torch.testing.assert_close(embed(one, "B+D")[0], single[1] + single[3])
    torch.testing.assert_close(embed(other, "A+C")[0], single[0] + single[2])
    assert first.model.effects.shape[0] == 4 + 2 and one.model.effects.shape[0] == 4 + 2 + 1
    shared = dict(first.model.named_parameters())
    assert all(value is shared[name] for name, value in other.model.named_parameters())


def test_trained_labels_keep_their_rows(load):
    rows = model_rows(load().card, load().model.config)
    assert rows.perturbation.tolist() == [0, 1, 2, 3]
    assert rows.batch.tolist() == [0, 1]
    # B has no perturbed training cells: the unknown row, but only where training showed it.
    assert rows.cell_type.tolist() == [0, 3, 2]
    assert model_rows(load().card, load(cell_type_dropout=0.0).model.config).cell_type.tolist() == [0, 1, 2]


def test_new_combinations_are_sums_of_what_is_known(load):
    loaded = with_new_perturbations(load(), ["A", "B+D", "A+B+C"], None)
    assert loaded.card.perturbations == ("A", "B", "C", "D", "B+D", "A+B+C")
    single = embed(loaded, "A", "B", "C", "D")
    torch.testing.assert_close(embed(loaded, "B+D", "A+B+C"), torch.stack([single[1] + single[3], single[:3].sum(0)]))
    assert loaded.model.effects.shape[0] == 4 + 2 + 2


def test_new_doses_lie_beside_the_trained_ones(load):
    loaded = with_new_perturbations(load(), ["A@3"], None)
    weight = loaded.model.condition_encoder.perturbation.dose_linear.weight
    expected = embed(loaded, "A")[0] + weight[:, 0] * torch.tensor(3.0).log1p() + weight[:, 1]
    torch.testing.assert_close(embed(loaded, "A@3")[0], expected)


def test_features_describe_new_agents_one_call_after_another(load, features):
    loaded = load(perturbation_source="features")
    loaded = with_new_perturbations(loaded, ["E"], features)
    loaded = with_new_perturbations(loaded, ["F", "E"], features)
    weight = loaded.model.condition_encoder.perturbation.feature_linear.weight
    torch.testing.assert_close(embed(loaded, "E", "F"), torch.tensor([[1.0, 2], [3, 4]]) @ weight.T)


def test_nothing_new_changes_nothing(load):
    loaded = load()
    assert with_new_perturbations(loaded, ["A", "D"], None) is loaded


@pytest.mark.parametrize(
    ("source", "name", "with_features", "found"),
    [
        ("learned", "E", False, "unknown perturbation 'E'"),
        ("learned", "A+E", False, "unknown perturbation 'E'"),
        ("learned", "A_B", False, "A and B are known alone; --combination-separator"),
        ("features", "E", False, "--perturbation-features can describe it"),
        ("learned", "E", True, "trained without perturbation features"),
        ("both", "G", True, "found none for 1, the first is 'G'"),
        ("learned", "A@lots", False, "dose of at least 0"),
    ],
)
def test_what_cannot_be_told_to_the_model_is_refused(source, name, with_features, found, load, features):
    with pytest.raises(InputError, match=found):
        with_new_perturbations(load(perturbation_source=source), [name], features if with_features else None)


def test_unknown_contexts_have_the_unknown_row(load):
    loaded = with_unknown_contexts(load(), cell_types=["T", "pDC", "pDC"], batches=["9", "1"])
    assert loaded.card.cell_types == ("T", "B", "NK", "pDC") and loaded.card.batches == ("1", "2", "9")
    rows = model_rows(loaded.card, loaded.model.config)
    assert rows.cell_type.tolist() == [0, 3, 2, 3] and rows.batch.tolist() == [0, 1, 2]


def test_unknown_contexts_need_a_trained_unknown_label(load):
    loaded = load(batch_dropout=0.0)
    with_unknown_contexts(loaded, cell_types=["pDC"], batches=["1"])
    with pytest.raises(InputError, match="without an unknown label for batches, cannot predict '9'"):
        with_unknown_contexts(loaded, cell_types=["T"], batches=["9"])


def test_known_combinations_are_asked_for_in_any_order(load):
    loaded = load()
    loaded = replace(loaded, card=replace(loaded.card, perturbations=("A", "B", "C+B", "A@0.5+D")))
    asked = asked_perturbations(loaded, ["B+C", "C+B", "D+A@0.50", "A+control", "C+D", "D+C"], None)
    assert asked == ("C+B", "A@0.5+D", "A", "C+D")


@pytest.mark.parametrize("name", ["control", "DMSO", "control+DMSO"])
def test_the_control_is_no_perturbation_to_predict(load, name):
    loaded = load()
    loaded = replace(loaded, card=replace(loaded.card, control_labels=("control", "DMSO")))
    with pytest.raises(InputError, match=r"--perturbations: '.*' is the control, from whose cells predictions start"):
        asked_perturbations(loaded, ["A", name], None)
    assert asked_perturbations(loaded, ["A", "B+DMSO"], None) == ("A", "B")


def with_times(loaded: LoadedModel) -> LoadedModel:
    keys, values = ObsKeys(covariate="time"), (("24h", "48h", "6h"),)
    return replace(loaded, card=replace(loaded.card, keys=keys, covariates=values, untrained_covariates=(("48h",),)))


def test_values_of_covariates_that_were_not_trained_have_the_unknown_row(load):
    loaded = with_times(load(covariate_sizes=[3]))
    more = with_unknown_contexts(loaded, cell_types=(), batches=(), covariates=[["6h", "72h"]])
    assert more.card.covariates == (("24h", "48h", "6h", "72h"),)
    rows = model_rows(more.card, more.model.config)
    assert rows.of_covariates([(0,), (1,), (2,), (3,)]).tolist() == [[0], [3], [2], [3]]
    never = with_times(load(covariate_sizes=[3], covariate_dropout=0.0))
    assert model_rows(never.card, never.model.config).of_covariates([(1,)]).tolist() == [[1]]
    with pytest.raises(InputError, match="trained without an unknown label for time, cannot predict '72h'"):
        with_unknown_contexts(never, cell_types=(), batches=(), covariates=[["72h"]])


def test_without_covariates_sets_have_rows_of_no_width(load):
    loaded = load()
    assert model_rows(loaded.card, loaded.model.config).of_covariates([(), ()]).shape == (2, 0)
