# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The mixed model against its formula, its limits, and screens with a known answer."""

import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest

from bionemo.scale.estimate import mixed_model, storage
from bionemo.scale.estimate.covariance import Similarity, components
from bionemo.scale.estimate.features import AgentFeatures
from bionemo.scale.estimate.labels import Labels
from bionemo.scale.types import Group, GroupMeans, InputError


def split_plus(label):
    return tuple((name, -1.0) for name in label.split("+"))


def make_groups(rows, *, seed=0, num_genes=40, cell_sd=1.0):
    """Pseudobulks of rows (cell type, batch, perturbation, true mean, cells) with the error that sampling gives."""
    rng = np.random.default_rng(seed)
    counts = np.array([row[4] for row in rows])
    noise = rng.standard_normal((len(rows), num_genes)) * cell_sd / np.sqrt(counts)[:, None]
    return GroupMeans(
        groups=tuple(Group("d", *(row[0], row[2], row[1])) for row in rows),
        means=np.stack([row[3] for row in rows]) + noise,
        counts=counts,
        cell_sd=np.full(num_genes, cell_sd),
    )


@pytest.fixture(scope="module")
def screen():
    """Six cell types, five perturbations that do the same in each; the last type has only controls."""
    rng = np.random.default_rng(1)
    base, effects = rng.normal(5, 1, (6, 40)), rng.normal(0, 0.6, (5, 40))
    rows = []
    for number in range(6):
        rows.append((f"t{number}", "b", "control", base[number], 400))
        if number < 5:
            rows += [(f"t{number}", "b", f"p{p}", base[number] + effects[p], 30) for p in range(5)]
    return make_groups(rows), base, effects


def test_prediction_is_the_conditional_mean(screen):
    """With one strength certain for every gene, against the formula in plain numpy."""
    groups, _, _ = screen
    model = mixed_model.fit(groups, control="control")
    certain = np.zeros_like(model.strength_of_gene)
    certain[3] = 1
    model = replace(model, strength_of_gene=certain)
    target = Group("d", "t5", "p2", "b")
    labels = Labels.of((*groups.groups, target), control="control")
    parts = components(labels, Similarity.of(groups, control="control", scale=model.similarity_scale))
    joint = sum(size * parts[name] for name, size in zip(model.names, model.theta, strict=True))
    centre = np.average(groups.means, axis=0, weights=groups.counts)
    gain = np.linalg.solve(joint[:-1, :-1] + np.diag(1 / groups.counts), joint[:-1, -1])
    found = model.predict([target])
    np.testing.assert_allclose(found.mean[0], centre + gain @ (groups.means - centre), rtol=1e-8)
    np.testing.assert_allclose(found.sd[0] ** 2, joint[-1, -1] - gain @ joint[:-1, -1], rtol=1e-6)


def test_a_new_context_is_predicted_better_than_by_the_additive_effect(screen):
    groups, base, effects = screen
    model = mixed_model.fit(groups, control="control")
    targets = [Group("d", "t5", f"p{p}", "b") for p in range(5)]
    truth = base[5] + effects
    table = {group[:4]: mean for group, mean in zip(groups.groups, groups.means, strict=True)}
    changes = [
        np.mean([table["d", f"t{t}", f"p{p}", "b"] - table["d", f"t{t}", "control", "b"] for t in range(5)], axis=0)
        for p in range(5)
    ]
    additive = table["d", "t5", "control", "b"] + np.array(changes)
    found = model.predict(targets).mean
    assert ((found - truth) ** 2).mean() < 1.05 * ((additive - truth) ** 2).mean()
    assert ((found - truth) ** 2).mean() < 0.05 * (effects**2).mean()


def test_noise_is_not_taken_for_effects():
    """Perturbations that do nothing, with few cells: predictions stay at the controls."""
    rows = [("t", "b", "control", np.full(40, 3.0), 1000)]
    rows += [("t", "b", f"p{number}", np.full(40, 3.0), 10) for number in range(10)]
    rows += [("u", "b", "control", np.full(40, 4.0), 1000)]
    groups = make_groups(rows)
    found = mixed_model.fit(groups, control="control").predict([Group("d", "u", "p0", "b")]).mean[0]
    noise = groups.means[1] - groups.means[0]
    assert np.abs(found - groups.means[-1]).mean() < 0.2 * np.abs(noise).mean()


def test_few_controls_are_drawn_to_their_cell_type():
    rng = np.random.default_rng(3)
    base, effect = rng.normal(5, 1, 40), rng.normal(0, 1, 40)
    rows = [
        ("t", f"b{number}", label, base + shift, 100)
        for number in range(5)
        for label, shift in (("control", 0.0), ("p", effect))
    ]
    groups = make_groups([*rows, ("t", "new", "control", base, 2)])
    found = mixed_model.fit(groups, control="control").predict([Group("d", "t", "p", "new")]).mean[0]
    own = groups.means[-1] + effect
    assert ((found - base - effect) ** 2).mean() < 0.1 * ((own - base - effect) ** 2).mean()


def test_a_pair_is_the_sum_of_its_singles():
    rng = np.random.default_rng(4)
    base, effects = rng.normal(5, 1, 60), dict(zip("ABCDE", rng.normal(0, 0.7, (5, 60)), strict=True))
    names = [*"ABCDE", "A+B", "C+D"]
    rows = [("t", "b", "control", base, 1000)]
    rows += [("t", "b", name, base + sum(effects[agent] for agent in name.split("+")), 300) for name in names]
    groups = make_groups(rows, num_genes=60)
    model = mixed_model.fit(groups, control="control", parse=split_plus)
    change = model.predict([Group("d", "t", "A+E", "b")]).mean[0] - groups.means[0]
    assert np.corrcoef(change, effects["A"] + effects["E"])[0, 1] > 0.97
    # The order of agents is nothing that a cell knows.
    np.testing.assert_allclose(model.predict([Group("d", "t", "E+A", "b")]).mean[0] - groups.means[0], change)


def test_a_dose_is_between_its_neighbours():
    def parse(label):
        name, dose = label.split("@")
        return ((name, float(dose)),)

    effect = np.random.default_rng(5).normal(0, 1, 50)
    rows = [("t", "b", "control", np.full(50, 5.0), 1000)]
    rows += [("t", "b", f"A@{dose}", 5.0 + size * effect, 500) for dose, size in ((1, 0.2), (10, 0.6), (100, 1.0))]
    model = mixed_model.fit(make_groups(rows, num_genes=50), control="control", parse=parse)
    change = model.predict([Group("d", "t", "A@30", "b")]).mean[0] - 5.0
    size = change @ effect / (effect @ effect)
    assert 0.5 < size < 1.05


def test_intervals_cover_what_was_not_measured(screen):
    groups, base, effects = screen
    found = mixed_model.fit(groups, control="control").predict([Group("d", "t5", f"p{p}", "b") for p in range(5)])
    inside = np.abs(found.mean - base[5] - effects) < 1.645 * found.sd
    assert 0.75 < inside.mean() < 0.99


def test_controls_at_hand_replace_those_of_training(screen):
    groups, base, effects = screen
    model = mixed_model.fit(groups, control="control")
    new = make_groups([("t5", "b", "control", base[5] + 2.0, 500)], seed=9)
    before, after = (
        model.predict([Group("d", "t5", "p0", "b")], controls=controls).mean[0] for controls in (None, new)
    )
    assert 1.5 < (after - before).mean() < 2.2


def test_large_screens_are_predicted_from_the_groups_that_matter(screen, monkeypatch):
    groups, base, effects = screen
    model = mixed_model.fit(groups, control="control")

    def error(model):
        return np.abs(model.predict([Group("d", "t5", "p1", "b")]).mean[0] - base[5] - effects[1]).mean()

    whole, nothing = error(model), np.abs(effects[1]).mean()
    monkeypatch.setattr(mixed_model, "MAX_GIVEN_GROUPS", 20)
    assert error(model) < 2 * whole < 0.5 * nothing
    monkeypatch.setattr(mixed_model, "MAX_FIT_GROUPS", 16)
    assert error(mixed_model.fit(groups, control="control")) < 2.5 * whole


def test_perturbations_predicted_together_are_what_each_is_alone(screen, monkeypatch):
    """Together they share a factor of the groups that they have in common."""
    groups, _, _ = screen
    model = mixed_model.fit(groups, control="control")
    monkeypatch.setattr(mixed_model, "MAX_GIVEN_GROUPS", 20)
    conditional = mixed_model.Conditional(model)
    factorised, solved = [], mixed_model.Conditional._solved
    monkeypatch.setattr(
        mixed_model.Conditional, "_solved", lambda self, given: factorised.append(given) or solved(self, given)
    )
    averages = [{Group("d", "t5", f"p{p}", "b"): 2.0, Group("d", "t4", f"p{p}", "b"): 1.0} for p in range(5)]
    averages.append({Group("d", "t5", "p1", "b"): 1.0})
    together = conditional.predict_averages(averages)
    assert len(factorised) == 1 and len(factorised[0].groups) < 20
    for rows in ([0], [1, 5], [2], [3], [4]):
        alone = conditional.predict_averages([averages[row] for row in rows])
        np.testing.assert_allclose(alone.mean, together.mean[rows], rtol=1e-11)
        np.testing.assert_allclose(alone.sd, together.sd[rows], rtol=1e-9)


def test_some_rows_of_the_covariances_are_those_of_all():
    def parse(label):
        return tuple((name, len(name) + 0.5) for name in label.split("+"))

    names = ("control", "a", "bb", "a+bb", "ccc")
    groups = tuple(
        Group("d", f"t{row % 3}", names[row % 5], f"b{row % 2}", (f"c{row % 2}", f"d{row % 4}")) for row in range(30)
    )
    alike = Similarity(cell_types=("t0", "t1"), distances=np.array([[0.0, 1], [1, 0]]), scale=1.0)
    features = AgentFeatures.of(("a", "bb", "ccc"), np.random.default_rng(0).normal(size=(3, 4)))
    labels = Labels.of(groups, control="control", parse=parse)
    whole = components(labels, alike, features)
    for rows in (slice(25, None), slice(3, 9)):
        for name, matrix in components(labels, alike, features, rows=rows).items():
            np.testing.assert_allclose(matrix, whole[name][rows], rtol=1e-13, err_msg=str(name))
    assert all(matrix.any() for matrix in whole.values())


def test_nothing_to_learn_from(screen):
    groups, _, _ = screen
    only = [row for row, group in enumerate(groups.groups) if group.perturbation == "control"]
    controls = GroupMeans(
        groups=tuple(groups.groups[row] for row in only),
        means=groups.means[only],
        counts=groups.counts[only],
        cell_sd=groups.cell_sd,
    )
    assert mixed_model.fit(controls, control="control") is None


def test_a_fit_does_not_wait_for_a_compiler():
    code = """
        import sys

        import torch

        from bionemo.scale.estimate.mixed_model import _LBFGS

        parameter = torch.tensor([1.0], requires_grad=True)
        optimizer = _LBFGS([parameter])

        def closure():
            optimizer.zero_grad()
            loss = (parameter - 3) ** 2
            loss.backward()
            return loss

        optimizer.step(closure)
        print(round(parameter.item(), 4), "torch._dynamo" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.stdout == "3.0 False\n", done.stderr


def test_a_file_gives_the_same_predictions(screen, tmp_path):
    groups, _, _ = screen
    model = mixed_model.fit(groups, control="control")
    storage.save(model, tmp_path / "estimate.npz")
    again = storage.load(tmp_path / "estimate.npz", parse=model.parse)
    targets = [Group("d", "t5", "p0", "b"), Group("other", "new", "unknown", "c")]
    np.testing.assert_allclose(again.predict(targets).mean, model.predict(targets).mean, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("means", np.nan, "that are finite in means"),
        ("counts", 0, "above 0 in counts"),
        ("cell_sd", -1, "of at least 0 in cell_sd"),
        ("theta", np.inf, "of at least 0 in theta"),
        ("strength_of_gene", -1, "of at least 0 in strength_of_gene"),
        ("features", np.nan, "that are finite in features"),
    ],
)
def test_a_file_with_other_numbers_is_refused(families, tmp_path, name, value, expected):
    groups, _, _, features = families
    storage.save(mixed_model.fit(groups, control="control", features=features), tmp_path / "estimate.npz")
    arrays = dict(np.load(tmp_path / "estimate.npz"))
    arrays[name] = arrays[name].astype(np.float64)
    arrays[name].flat[0] = value
    np.savez(tmp_path / "estimate.npz", **arrays)
    with pytest.raises(InputError, match=f"estimate.npz: expected numbers {expected}, found others"):
        storage.load(tmp_path / "estimate.npz", parse=split_plus)


@pytest.fixture(scope="module")
def families():
    """Twelve perturbations of three families with similar effects and vectors; one of each was never trained."""
    rng = np.random.default_rng(7)
    base, family = rng.normal(5, 1, 40), rng.normal(0, 0.8, (3, 40))
    names = [f"{letter}{number}" for letter in "abc" for number in range(4)]
    effects = {name: family["abc".index(name[0])] + rng.normal(0, 0.2, 40) for name in names}
    vectors = {name: np.eye(3)["abc".index(name[0])] * 5 + rng.normal(0, 0.3, 3) for name in names}
    trained = [name for name in names if not name.endswith("3")]
    rows = [(t, "b", "control", base, 1000) for t in "tu"]
    rows += [(t, "b", name, base + effects[name], 100) for t in "tu" for name in trained]
    features = AgentFeatures.of(names, np.stack([vectors[name] for name in names])).fitted_to(trained)
    return make_groups(rows), base, effects, features


def test_a_new_perturbation_is_predicted_by_those_with_similar_vectors(families):
    groups, base, effects, features = families
    targets = [Group("d", "t", name, "b") for name in ("a3", "b3", "c3")]
    truth = base + np.stack([effects[target.perturbation] for target in targets])
    plain, told = (
        mixed_model.fit(groups, control="control", features=given).predict(targets) for given in (None, features)
    )
    errors = [((found.mean - truth) ** 2).mean() for found in (plain, told)]
    assert errors[1] < 0.2 * errors[0]
    assert told.sd.mean() < plain.sd.mean()
    # Another name with the vector of one that was trained.
    model = mixed_model.fit(groups, control="control", features=features)
    more = replace(model, features=features.with_others(["new", "a0"], features.vectors[[4, 4]]))
    found = more.predict([Group("d", "t", name, "b") for name in ("new", "b0")]).mean
    assert np.abs(found[0] - found[1]).mean() < 0.1 * np.abs(effects["b0"]).mean()


def test_vectors_that_say_nothing_leave_the_mean_of_trained_perturbations(families):
    groups, _, _, features = families
    rng = np.random.default_rng(3)
    noise = AgentFeatures.of(features.names, rng.normal(size=(12, 8)))
    target = [Group("d", "t", "a3", "b")]
    plain, told = (mixed_model.fit(groups, control="control", features=given) for given in (None, noise))
    shift = np.abs(plain.predict(target).mean - told.predict(target).mean).mean()
    trained = told.predict([Group("d", "t", "a0", "b")]).mean
    assert shift < 0.2 * np.abs(trained - told.predict(target).mean).mean()
    # And one that has no vector at all.
    absent = told.predict([Group("d", "t", "unheard of", "b")]).mean
    np.testing.assert_allclose(absent, plain.predict(target).mean, atol=0.05)


def test_a_file_keeps_the_vectors(families, tmp_path):
    groups, _, _, features = families
    model = mixed_model.fit(groups, control="control", features=features)
    storage.save(model, tmp_path / "estimate.npz")
    again = storage.load(tmp_path / "estimate.npz", parse=model.parse)
    assert again.features.names == features.names
    target = [Group("d", "u", "b3", "b")]
    np.testing.assert_allclose(again.predict(target).mean, model.predict(target).mean, rtol=1e-5)


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"", lambda data: b"PK" + data[2:200]])
def test_a_damaged_file_is_refused(screen, tmp_path, damage):
    model = mixed_model.fit(screen[0], control="control")
    path = tmp_path / "estimate.npz"
    storage.save(model, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="cannot be read as the estimate of a run"):
        storage.load(path, parse=model.parse)


def test_an_effect_at_a_time_is_predicted_in_a_new_cell_type():
    """What the same time in other cell types says, and not the mean over times."""
    rng = np.random.default_rng(0)
    effect = {"6h": rng.normal(size=30), "24h": rng.normal(size=30)}
    base = {name: rng.normal(4, 1, size=30) for name in "abcd"}
    rows = [
        (Group("d", name, perturbation, "b", (time,)), base[name] + (perturbation == "p") * effect[time])
        for name in "abcd"
        for time in effect
        for perturbation in ("control", "p")
        if (name, perturbation) != ("d", "p")
    ]
    groups = GroupMeans(
        groups=tuple(group for group, _ in rows),
        means=np.array([mean for _, mean in rows]) + rng.normal(0, 0.02, size=(len(rows), 30)),
        counts=np.full(len(rows), 400),
        cell_sd=np.full(30, 0.4),
    )
    model = mixed_model.fit(groups, control="control")
    found = model.predict([Group("d", "d", "p", "b", (time,)) for time in effect]).mean - base["d"]
    errors = [float(((change - effect[time]) ** 2).mean()) for change, time in zip(found, effect, strict=True)]
    between = float(((effect["6h"] - effect["24h"]) ** 2).mean())
    assert max(errors) < 0.05 * between
    path_names = {place for place, _ in model.names}
    assert "covariates" in path_names or "all_covariates" in path_names


def test_a_model_with_covariates_is_what_was_saved(tmp_path):
    rng = np.random.default_rng(0)
    names = [(name, time) for name in ("control", "p") for time in ("6h", "24h")]
    groups = tuple(Group("d", "T", name, "b", (time,)) for name, time in names)
    observed = GroupMeans(
        groups=groups, means=rng.normal(2, 1, (4, 8)), counts=np.full(4, 50), cell_sd=np.full(8, 0.5)
    )
    model = mixed_model.fit(observed, control="control")
    storage.save(model, tmp_path / "estimate.npz")
    again = storage.load(tmp_path / "estimate.npz", parse=model.parse)
    assert again.observed.groups == groups
    np.testing.assert_allclose(again.predict(groups).mean, model.predict(groups).mean, atol=1e-5)
