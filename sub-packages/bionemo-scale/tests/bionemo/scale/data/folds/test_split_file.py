# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Split files by a rule: what each holds out, and that prepare resolves them to the same hash."""

import numpy as np
import pytest

from bionemo.scale.data.folds.hold_out import Shares, at_random, by_clusters, by_order, untrained
from bionemo.scale.data.folds.split_file import make_split
from bionemo.scale.data.folds.split_settings import SplitSettings
from bionemo.scale.data.labels.split import read_split
from bionemo.scale.data.prepare.preprocess import prepare
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.types import InputError, Split


TEST, VAL = Split.TEST, Split.VAL
PAIRS = {label: tuple(label.split("+")) for label in ("A", "B", "C", "D", "A+B", "A+C", "B+C", "C+D", "D+E", "E+F")}


def rng():
    return np.random.default_rng(0)


def test_shares_are_drawn_at_random_and_the_same_every_time():
    names = [f"p{number}" for number in range(20)]
    parts = at_random(names, Shares(test=0.25, val=0.1), rng())
    assert list(parts.values()).count(TEST) == 5 and list(parts.values()).count(VAL) == 2
    assert parts == at_random(names, Shares(test=0.25, val=0.1), rng())
    with pytest.raises(InputError, match="left to train on, found 2 of 2 held out"):
        at_random(["a", "b"], Shares(test=0.1, val=0.1), rng())


def test_clusters_are_held_out_whole():
    clusters = {
        name: number for number, size in enumerate((5, 3, 2, 2, 1)) for name in [f"{number}{i}" for i in range(size)]
    }
    parts = by_clusters(clusters, Shares(test=0.4, val=0.2), rng())
    for number in range(5):
        assert len({parts.get(name) for name, cluster in clusters.items() if cluster == number}) == 1
    assert 0 < list(parts.values()).count(TEST) <= 5
    with pytest.raises(InputError, match="--clusters: expected a cluster of at most 1 names for the test part"):
        by_clusters({"a": 1, "b": 1, "c": 2, "d": 2}, Shares(test=0.2, val=0.0), rng())


@pytest.mark.parametrize("seen", [0, 1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_pairs_have_the_number_of_trained_agents_that_is_asked_for(seen, seed):
    parts = by_order(PAIRS, seen, Shares(test=0.2, val=0.1), rng=np.random.default_rng(seed))
    training = {name for label, names in PAIRS.items() if label not in parts for name in names}
    scored = [label for label, part in parts.items() if part is not None]
    assert {parts[label] for label in scored} == {TEST, VAL}
    assert all(len(set(PAIRS[label]) & training) == seen and len(PAIRS[label]) == 2 for label in scored)
    # What is in no part would give away an agent that is not to be trained.
    left_out = [label for label, part in parts.items() if part is None]
    assert all(set(PAIRS[label]) - training for label in left_out)
    assert set(untrained(parts, PAIRS)) == {name for names in PAIRS.values() for name in names} - training


def test_guides_of_one_gene_on_both_sides_are_told(tmp_path, screen):
    screen.obs["perturbation"] = screen.obs["perturbation"].astype(str).replace({"p1": "STAT1g1", "p2": "STAT1g2"})
    screen.write_h5ad(tmp_path / "screen.h5ad")
    told = {}
    for seed in range(8):
        settings = SplitSettings(inputs=(tmp_path / "screen.h5ad",), out=tmp_path / f"{seed}.toml", seed=seed)
        done = make_split(settings)
        parts = {part for each, part in done.split.assignments.items() if each.perturbation.startswith("STAT1")}
        told[bool(done.warnings)] = done.out
        assert bool(done.warnings) == (len(parts) > 1)
    assert len(told) == 2
    for is_told, path in told.items():
        config = PrepareSettings(inputs=(tmp_path / "screen.h5ad",), out=tmp_path / f"store-{is_told}", split=path)
        assert ["one guide and hold out another" in line for line in prepare(config).warnings] == [True] * is_told


def test_pairs_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"found none; --combination-separator"):
        by_order({"A": ("A",)}, 2, Shares(test=0.2, val=0.0), rng=rng())
    lonely = {"A+B": ("A", "B"), "C+D": ("C", "D"), "E": ("E",)}
    with pytest.raises(InputError, match="--seen 2: expected 1 pairs whose agents are also in other labels, found 0"):
        by_order(lonely, 2, Shares(test=0.2, val=0.0), rng=rng())


def split(tmp_path, inputs, **options):
    return make_split(SplitSettings.make(inputs=inputs, out=tmp_path / "new" / "split.toml", **options))


@pytest.fixture
def combined(screen):
    """The screen with pairs, one of them in one cell type only."""
    names = {"p0": "A+B", "p1": "A", "p2": "B+C"}
    kept = ~((screen.obs["perturbation"] == "p2") & (screen.obs["cell_type"] == "A"))
    screen = screen[kept.to_numpy()].copy()
    screen.obs["perturbation"] = [names.get(name, name) for name in screen.obs["perturbation"].astype(str)]
    return screen


@pytest.mark.parametrize(
    "options",
    [
        {"hold_out": "random", "share": 0.3},
        {"hold_out": "random", "share": 0.3, "cell_types": ["B c"]},
        {"hold_out": "combinations", "seen": "1", "share": 0.3},
        {"hold_out": "cell-types", "share": 0.5},
    ],
)
def test_prepare_resolves_the_file_to_the_hash_that_it_names(make_store, combined, tmp_path, options):
    """Of h5ad files and of a store made of them, names with blanks and dots included."""
    combined.write_h5ad(tmp_path / "in.h5ad")
    labels = {"datasets": ["a.b"], "combination_separator": "+"}
    done = split(tmp_path, tmp_path / "in.h5ad", **labels, **options)
    text = done.out.read_text()
    assert f"sha256 {done.split.sha256}" in text and "seed 0" in text.splitlines()[1]
    store = make_store(combined, split=done.out, num_hvg=0, datasets=("a.b",), combination_separator="+")
    assert store.card.split_sha256 == done.split.sha256
    groups = store.groups
    held_out = {groups.label(index).perturbation for index in range(len(groups)) if groups.split[index] == "test"}
    kept = {groups.label(index).perturbation for index in range(len(groups)) if groups.split[index] == "train"}
    if options["hold_out"] == "combinations":
        assert held_out and done.split.count_conditions(None) == sum(
            part is None for part in done.split.assignments.values()
        )
        trained = {name for label in kept - {"control"} for name in label.split("+")}
        assert not trained & set(done.untrained_agents)
    elif options == {"hold_out": "random", "share": 0.3}:
        assert len(held_out) == 1 and not held_out & kept
    whole = make_store(combined, num_hvg=0, datasets=("a.b",), combination_separator="+", out=tmp_path / "whole")
    again = make_split(SplitSettings.make(inputs=whole.path, out=tmp_path / "again.toml", **options))
    assert again.split.sha256 == done.split.sha256


def test_similar_perturbations_are_held_out_together(make_store, screen, tmp_path):
    store = make_store(screen).path
    features = tmp_path / "vectors.csv"
    features.write_text("name,x\np0,0\np1,5\np2,5.1\n")
    options = {"hold_out": "similar", "features": features, "clusters": 2, "share": 0.4, "overwrite": True}
    assert read_split(split(tmp_path, store, **options).out).fewshot["screen0", "A"] == {"p0": TEST}
    options["share"] = 0.7
    found = {
        frozenset(read_split(split(tmp_path, store, seed=seed, **options).out).fewshot["screen0", "A"])
        for seed in range(6)
    }
    assert found == {frozenset({"p0"}), frozenset({"p1", "p2"})}


def test_perturbations_are_excluded_everywhere(make_store, screen, tmp_path):
    store = make_store(screen).path
    done = split(tmp_path, store, exclude=["p1"], share=0.4, cell_types=["A"])
    fewshot = read_split(done.out).fewshot
    assert fewshot["screen0", "A"]["p1"] is None and fewshot["screen0", "B c"] == {"p1": None}
    assert sum(part == TEST for part in fewshot["screen0", "A"].values()) == 1
    kept = make_store(screen, split=done.out, out=tmp_path / "kept")
    assert kept.card.perturbations == ("p0", "p2") and kept.card.split_sha256 == done.split.sha256


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"exclude": ["p9"]}, "--exclude: no perturbation 'p9'; found 'p0'"),
        ({"exclude": ["p0"], "hold_out": "cell-types"}, "--exclude: goes with perturbations that are held out"),
        ({"out": "x.json"}, "--out must end with .toml"),
        ({"hold_out": "similar"}, "--features: goes with --hold-out similar"),
        ({"clusters": 3}, "--clusters: goes with --hold-out similar"),
        ({"share": 1.0}, "--share must be above 0 and below 1"),
        ({"cell_types": ["Z"]}, "--cell-types: no perturbed cells of 'Z'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make_store, screen, tmp_path, options, expected):
    with pytest.raises(InputError, match=expected):
        make_split(SplitSettings.make(**{"inputs": make_store(screen).path, "out": tmp_path / "s.toml", **options}))
    assert not list(tmp_path.glob("s.toml"))
