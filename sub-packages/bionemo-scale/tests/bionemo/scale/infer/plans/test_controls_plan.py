# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from bionemo.scale.files.expression_scale import LOG1P_LIMIT
from bionemo.scale.infer import predict
from bionemo.scale.infer.controls.control_cells import ControlCells
from bionemo.scale.infer.plans import controls_plan
from bionemo.scale.infer.plans.controls_plan import ControlsPlan
from bionemo.scale.infer.predict import predict_all
from bionemo.scale.infer.trained_model import LoadedModel
from bionemo.scale.types import DataCard, ExpressionScale, InputError, ObsKeys


PERTURBATIONS = ("A", "B", "C", "D")
CARD = DataCard(
    genes=tuple(f"g{i}" for i in range(24)),
    cell_types=("T", "B", "NK"),
    perturbations=PERTURBATIONS,
    batches=("1", "2"),
    control="control",
    scale=ExpressionScale(),
    keys=ObsKeys(),
)
SET_SIZE = 6
LABELS = ["cell_type", "batch", "control_cell"]


@pytest.fixture(scope="module")
def cells() -> ControlCells:
    """90 controls of three contexts: whole sets of 6, and short ones of 3 and 5."""
    rng = np.random.default_rng(0)
    values = rng.poisson(1.0, size=(90, 24)).astype(np.float32)
    contexts = np.repeat([0, 1, 2], [33, 28, 29])
    order = rng.permutation(90)
    return ControlCells(
        expression=csr_matrix(np.log1p(values)),
        cell_type=np.array(["T", "B", "B"], dtype=object)[contexts][order],
        batch=np.array(["1", "1", "2"], dtype=object)[contexts][order],
        names=np.array([f"cell{i}" for i in range(90)], dtype=object),
    )


def plan_of(cells: ControlCells, *names: str) -> ControlsPlan:
    return ControlsPlan(cells, CARD, names, source=Path("cells.h5ad"), set_size=SET_SIZE, seed=3)


@pytest.fixture
def loaded(make_model) -> LoadedModel:
    return LoadedModel(model=make_model(prior="gaussian_mix").eval(), card=CARD, path=Path("run"))


def test_every_control_goes_to_every_perturbation_once(cells):
    obs = plan_of(cells, "C", "A").obs
    pairs = obs.assign(control_cell=obs["control_cell"].astype(str))[["perturbation", "control_cell"]]
    assert len(obs) == 180 and not pairs.duplicated().any()
    assert set(obs["perturbation"]) == {"C", "A"}
    label = dict(zip(cells.names, zip(cells.cell_type, cells.batch, strict=True), strict=True))
    assert [label[name] for name in obs["control_cell"]] == list(zip(obs["cell_type"], obs["batch"], strict=True))


def test_a_plan_of_other_expression_has_another_identity(cells):
    changed = cells.expression.copy()
    changed.data[0] += 1
    plans = [plan_of(each, "A") for each in (cells, cells.take(np.arange(90)), replace(cells, expression=changed))]
    assert plans[0].identity == plans[1].identity != plans[2].identity


@pytest.mark.parametrize("shared_cells", [SET_SIZE, 20, 1024])
def test_a_screen_predicts_what_each_perturbation_alone_does(shared_cells, cells, loaded, monkeypatch):
    """Whichever controls are encoded together, and with the same noise under every perturbation."""
    monkeypatch.setattr(controls_plan, "SHARED_CELLS", shared_cells)
    together = plan_of(cells, *PERTURBATIONS)
    screen = predict_all(loaded, together)
    for name in PERTURBATIONS:
        alone = plan_of(cells, name)
        chosen = (together.obs["perturbation"] == name).to_numpy()
        assert together.obs.loc[chosen, LABELS].astype(str).to_numpy().tolist() == (
            alone.obs[LABELS].astype(str).to_numpy().tolist()
        )
        np.testing.assert_allclose(screen[chosen], predict_all(loaded, alone), rtol=1e-4, atol=1e-4)
    first, second = (screen[(together.obs["perturbation"] == name).to_numpy()] for name in "AB")
    assert not np.allclose(first, second, atol=1e-3)


def test_a_screen_encodes_a_control_once(cells, loaded, monkeypatch):
    """Also where a part of the prediction holds few of the sets of a perturbation."""
    seen, encode_controls = [], predict.encode_controls

    def note(model, expression, **labels):
        seen.append(expression.shape[0] * expression.shape[1])
        return encode_controls(model, expression, **labels)

    monkeypatch.setattr(predict, "encode_controls", note)
    predict_all(loaded, plan_of(cells, *PERTURBATIONS))
    assert sum(seen) == 90


def test_zeros_leave_the_means_of_populations(cells, make_model):
    """Also of populations of a few cells, whose sets go through the network apart."""
    few = cells.take(np.flatnonzero((cells.cell_type == "T") | (cells.batch == "2"))[:23])
    plan = plan_of(few, *PERTURBATIONS)
    counted, plain = (
        predict_all(LoadedModel(model=make_model(counted_zeros=choice).eval(), card=CARD, path=Path("run")), plan)
        for choice in (True, False)
    )
    assert (counted == 0).mean() > (plain == 0).mean()
    for rows in plan.obs.reset_index().groupby(["cell_type", "batch", "perturbation"], observed=True).indices.values():
        np.testing.assert_allclose(counted[rows].mean(0), plain[rows].mean(0), atol=1e-3)


@pytest.mark.parametrize("generation", ["decode", "displace", "contrast"])
def test_no_predicted_value_is_more_than_a_cell_can_hold(generation, cells, make_model):
    """A network that has not converged can be far off; the evaluation refuses values of 15 and above."""
    model, plan = make_model(generation=generation).eval(), plan_of(cells, "A", "C")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.startswith("expression_decoder"):
                weight.mul_(30)
    loaded, target_sum = LoadedModel(model=model, card=CARD, path=Path("run")), CARD.scale.target_sum
    bounded: list[int] = []
    found = predict_all(loaded, plan, on_bounded=bounded.append)
    free = replace(CARD, scale=ExpressionScale(target_sum=1e9))
    above: list[int] = []
    unbounded = predict_all(replace(loaded, card=free), plan, on_bounded=above.append)
    limit = np.float32(np.log1p(target_sum))
    assert unbounded.max() > limit and sum(bounded) == (unbounded > limit).sum()
    assert unbounded.max() < LOG1P_LIMIT and sum(above) == (unbounded >= unbounded.max()).sum()
    np.testing.assert_array_equal(found, np.minimum(unbounded, limit))


def test_cells_may_hold_as_much_as_their_controls(cells, loaded):
    """Where library sizes did not count all genes, measured values are above log1p of the library size."""
    card = replace(CARD, scale=ExpressionScale(target_sum=2.0))
    found, free = (predict_all(replace(loaded, card=each), plan_of(cells, "A")) for each in (card, CARD))
    assert np.log1p(2.0) < found.max() <= cells.expression.max()
    assert (found == free)[free <= np.log1p(2.0)].all()


TIMED = replace(CARD, keys=ObsKeys(covariate="time"), covariates=(("24h", "6h"),))


@pytest.fixture
def timed(cells) -> ControlCells:
    return replace(cells, covariates=(np.where(np.arange(90) % 2, "6h", "24h").astype(object),))


@pytest.mark.parametrize("sets", ["batch", "mixed"])
def test_sets_of_controls_share_their_covariates(sets, timed):
    plan = ControlsPlan(timed, TIMED, ("C",), source=Path("c.h5ad"), set_size=16, seed=3, sets=sets)
    time = dict(zip(timed.names, timed.covariates[0], strict=True))
    assert [time[name] for name in plan.obs["control_cell"]] == plan.obs["time"].tolist()
    first = np.cumsum(plan.sizes) - plan.sizes
    for number, (begin, size) in enumerate(zip(first.tolist(), plan.sizes.tolist(), strict=True)):
        (named,) = set(plan.obs["time"].iloc[begin : begin + size])
        assert plan.group(number).covariates == (named,)
        (control_set,) = plan.controls([int(plan.control_set[number])])
        assert TIMED.covariates[0][control_set.covariates[0]] == named
    known = {group.covariates for group in plan.control_groups().groups}
    assert known == {("6h",), ("24h",)}


def test_a_stated_value_is_predicted_and_controls_stay_what_they_were(timed):
    stated = timed.with_covariates({"time": "6h"}, TIMED)
    plan = ControlsPlan(stated, TIMED, ("C",), source=Path("c.h5ad"), set_size=SET_SIZE, seed=3)
    assert set(plan.obs["time"]) == {"6h"}
    assert {group.covariates for group in plan.control_groups().groups} == {("6h",), ("24h",)}
    with pytest.raises(InputError, match="--covariate: no covariate 'tme'; did you mean 'time'"):
        timed.with_covariates({"tme": "6h"}, TIMED)
    unknown = timed.with_covariates({"time": "7h"}, TIMED)
    with pytest.raises(InputError, match="unknown time '7h'.*--allow-unknown"):
        ControlsPlan(unknown, TIMED, ("C",), source=Path("c.h5ad"), set_size=SET_SIZE, seed=3)
