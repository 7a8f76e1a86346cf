# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From a run on a half of a screen to one on its other half: other genes in another order, other knock-outs."""

import csv
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import torch
import yaml
from torch.distributed.checkpoint import FileSystemReader, load
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from bionemo.scale import api
from bionemo.scale.data.store.blind import A_THIRD
from bionemo.scale.estimate.storage import read_groups
from bionemo.scale.files.earlier_groups import EARLIER_NAME, read_earlier
from bionemo.scale.files.network_weight import measured_weight
from bionemo.scale.infer.trained_model import load_model
from bionemo.scale.model.checkpoint import find_checkpoint
from bionemo.scale.notebook.predictor import join_process_group
from bionemo.scale.progress import Progress
from bionemo.scale.types import Group


pytestmark = pytest.mark.slow

PAPALEXI = Path(__file__).parents[2] / "examples" / "data" / "papalexi2021_thp1_eccite.h5ad"
KEYS = api.ObsKeys(cell_type="batch", batch="batch")
FIRST, CELL_EVAL2 = ("STAT1", "JAK2", "IFNGR1", "CD86"), ("JAK2", "STAT1", "IRF1", "SPI1")
SHARED_GENES, NEW_GENES, LEFT_OUT_GENES = 140, 99, 60
TOKENS, LABELS = "gene_encoder.projection.linear.weight", "condition_encoder.perturbation.embedding.weight"
HEAD = "expression_decoder.mlp.linear_fc2"
KEPT = ("--freeze", "encoder,decoder", "--val-interval", 2, "--keep-last", 2)


def store_of(
    folder: Path,
    name: str,
    perturbations: tuple[str, ...],
    genes: np.ndarray,
    *,
    held_out: tuple[str, ...] = ("rep_2",),
) -> Path:
    cells = anndata.read_h5ad(PAPALEXI)
    rng = np.random.default_rng(0)
    rows = [
        rng.permutation(np.flatnonzero(cells.obs["perturbation"] == label))[:120]
        for label in (*perturbations, "control")
    ]
    cells[np.sort(np.concatenate(rows)), genes].copy().write_h5ad(folder / f"{name}.h5ad")
    split = folder / f"{name}.toml"
    tests = "".join(f'[fewshot."{name}.{batch}"]\ntest = ["STAT1"]\n' for batch in held_out)
    split.write_text(f'[training]\n{name} = "train"\n\n{tests}')
    api.prepare([folder / f"{name}.h5ad"], folder / f"store-{name}", split=split, datasets=[name], keys=KEYS)
    return folder / f"store-{name}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stores, a run on the first, and one that starts from it on the second with a frozen encoder and decoder."""
    made = tmp_path_factory.mktemp("finetuning")
    order = np.random.default_rng(1).permutation(299)
    store_of(made, "first", FIRST, order[: SHARED_GENES + LEFT_OUT_GENES])
    shared = order[:SHARED_GENES]
    store_of(made, "second", CELL_EVAL2, np.random.default_rng(2).permutation([*shared, *order[-NEW_GENES:]]))
    api.train(made / "store-first", made / "first", size="tiny", max_steps=6, val_interval=6, set_size=24)
    return made


def fine_tune(commands: Any, folder: Path, out: str, *words: object) -> str:
    """Return what the command writes to the screen."""
    options = ["--store", folder / "store-second", "--out", folder / out, "--val-interval", 4, "--log-interval", 1]
    return commands.run("train", *options, "--from-checkpoint", folder / "first", *words)


@pytest.fixture(scope="module")
def report(commands: Any, folder: Path) -> str:
    return fine_tune(commands, folder, "second", "--max-steps", 4, *KEPT)


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """Every tensor that predicts, by its name in the network."""
    reader = FileSystemReader(find_checkpoint(folder / name) / "weights")
    prefix = "module.average."
    tensors = {
        key: torch.empty(entry.size, dtype=entry.properties.dtype)
        for key, entry in reader.read_metadata().state_dict_metadata.items()
        if isinstance(entry, TensorStorageMetadata) and key.startswith(prefix)
    }
    load(tensors, storage_reader=reader, no_dist=True)
    return {key.removeprefix(prefix): value for key, value in tensors.items()}


def genes_of(folder: Path, name: str) -> list[str]:
    return list(anndata.read_h5ad(folder / f"{name}.h5ad", backed="r").var_names)


def test_the_report_says_what_is_copied_new_and_frozen(folder: Path, report: str):
    assert f"starts from {find_checkpoint(folder / 'first')}" in report
    lines = [" ".join(line.split()) for line in report.splitlines()]
    assert any(line.startswith(f"genes {SHARED_GENES} copied, {NEW_GENES} new (") for line in lines), report
    assert any(line.endswith(f"{LEFT_OUT_GENES} of the checkpoint left out") for line in lines)
    assert "perturbations 2 copied, 2 new ('IRF1', 'SPI1'), 2 of the checkpoint left out" in lines
    assert "cell types 2 copied, 0 new, 0 of the checkpoint left out" in lines
    assert (
        "new genes are never read (frozen encoder) and are always predicted at their training mean (frozen decoder)"
        in lines
    )
    assert "frozen encoder, decoder" in lines
    (line,) = [line for line in lines if line.startswith("trained ")]
    trained, total = (int(word.replace(",", "")) for word in (line.split()[1], line.split()[3]))
    assert 0 < trained < total / 2


def test_frozen_weights_are_those_of_the_checkpoint_and_others_are_not(folder: Path, report: str):
    before, after = weights(folder, "first"), weights(folder, "second")
    frozen = ("gene_encoder.", "set_fusion.", "expression_decoder.")
    same = [name for name in before if name.startswith(frozen) and before[name].shape == after[name].shape]
    assert len(same) > 10
    assert [name for name in same if not torch.equal(before[name], after[name])] == []
    trained = [name for name in before if name.startswith(("transport", "head.")) and name.endswith("weight")]
    assert [name for name in trained if torch.equal(before[name], after[name])] == []
    old, new = genes_of(folder, "first"), genes_of(folder, "second")
    shared = [name for name in new if name in old]
    rows = [[names.index(name) for name in shared] for names in (old, new)]
    assert len(shared) == SHARED_GENES and rows[0] != rows[1]
    assert torch.equal(before[TOKENS][:, rows[0]], after[TOKENS][:, rows[1]])
    assert torch.equal(before[f"{HEAD}.weight"][rows[0]], after[f"{HEAD}.weight"][rows[1]])
    assert torch.equal(before[f"{HEAD}.bias"][rows[0]], after[f"{HEAD}.bias"][rows[1]])
    added = [new.index(name) for name in new if name not in old]
    assert not after[TOKENS][:, added].any() and not after[f"{HEAD}.weight"][added].any()
    means = torch.from_numpy(np.load(folder / "second" / "tables.npz")["mean_expression"])[added] / 10
    assert torch.equal(after[f"{HEAD}.bias"][added], means)


def test_a_fine_tuned_run_predicts_its_own_store_and_is_scored(folder: Path, report: str):
    from bionemo.scale.infer.job import infer
    from bionemo.scale.infer.settings import InferSettings

    paths = dict(checkpoint=folder / "second", store=folder / "store-second", out=folder / "predicted")
    (folder / "predicted").mkdir()
    join_process_group()
    with tempfile.TemporaryFile("w") as screen:
        infer(InferSettings(**paths, with_controls=True), Progress(screen))
    predicted = anndata.read_h5ad(folder / "predicted" / "adata_pred.h5ad")
    assert list(predicted.var_names) == genes_of(folder, "second")
    assert set(predicted.obs["perturbation"]) == {"STAT1", "control"} and set(predicted.obs["batch"]) == {"rep_2"}
    scored = api.evaluate(
        folder / "predicted" / "adata_pred.h5ad",
        folder / "predicted" / "adata_real.h5ad",
        folder / "scores",
        store=folder / "store-second",
        baselines=(),
        ceiling=False,
    )
    assert len(scored.scores) == 1 and scored.scores["mse"].is_finite().all()


def test_a_run_begins_where_the_checkpoint_predicts(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """After a step that moves nothing, labels are predicted with the same bits. Logged for Weights & Biases too."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    out, start = folder / "still", folder / "first"
    api.train(folder / "store-first", out, from_checkpoint=start, max_steps=1, lr=0.0, wandb="bionemo-scale")
    assert len(list((out / "wandb").glob("offline-run-*/*.wandb"))) == 1
    before, after = weights(folder, "first"), weights(folder, "still")
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    cells = anndata.read_h5ad(folder / "first.h5ad")
    controls = cells[cells.obs["perturbation"] == "control"][:40].copy()
    expected, found = (
        api.Predictor.from_checkpoint(folder / name).predict(controls, ["JAK2", "CD86"]).X
        for name in ("first", "still")
    )
    np.testing.assert_array_equal(found, expected)


def test_a_fine_tuned_run_continues_also_without_its_beginning(commands: Any, folder: Path, report: str):
    moved = folder / "moved"
    (folder / "first").rename(moved)
    try:
        # As of a run of an earlier version, which continues.
        (folder / "second" / EARLIER_NAME).rename(folder / EARLIER_NAME)
        screen = fine_tune(commands, folder, "second", "--max-steps", 6, *KEPT)
        assert not read_earlier(folder / "second")
    finally:
        moved.rename(folder / "first")
    checkpoints = {path.name for path in (folder / "second" / "checkpoints").iterdir()}
    assert checkpoints == {"step=3", "step=5", "step=5-last"}, "the two newest, and the last for going on"
    assert "starts from" not in screen
    fine_tune(commands, folder, "second", "--max-steps", 7, *KEPT)
    assert read_earlier(folder / "second") == read_earlier(folder) != set(), "the beginning is there again"
    with (folder / "second" / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["loss"]]
    assert steps == [1, 2, 3, 4, 5, 6, 7]
    settings = yaml.safe_load((folder / "second" / "config.yaml").read_text())["run"]
    assert (settings["size"], settings["set_size"]) == (None, 24), "as the run it started from"


def test_a_run_knows_what_its_first_weights_were_trained_on(commands: Any, folder: Path, report: str):
    """So the second run's groups and the first one's; what is fine-tuned on the same data has no weight."""
    first = read_groups(folder / "first" / "estimate.npz")
    assert read_earlier(folder / "second") == set(first) and not read_earlier(folder / "first")
    out = folder / "third-run"
    options = ("--from-checkpoint", folder / "second", "--max-steps", 100, "--val-interval", 100)
    screen = commands.run("train", "--store", folder / "store-second", "--out", out, *options)
    assert read_earlier(out) == {*first, *read_groups(folder / "second" / "estimate.npz")}
    assert "no training group that the checkpoint it starts from has not seen can be left out" in screen
    assert measured_weight(out) == (0, 1)


def test_only_groups_that_the_first_weights_have_not_seen_measure_a_weight(folder: Path):
    from bionemo.scale.infer.network_weight import errors_of_pairs

    join_process_group()
    checkpoint, store = folder / "first", folder / "store-first"
    (kept, *seen) = errors_of_pairs(checkpoint, store, blind=A_THIRD)
    labels = {Group("first", pair.cell_type, pair.perturbation, pair.cell_type) for pair in seen}
    found = errors_of_pairs(checkpoint, store, blind=A_THIRD, seen=labels)
    assert [(pair.cell_type, pair.perturbation) for pair in found] == [(kept.cell_type, kept.perturbation)]
    assert found[0].estimate == pytest.approx(kept.estimate)


def test_what_the_checkpoint_learned_of_a_held_out_perturbation_is_kept(commands: Any, folder: Path):
    """STAT1 has cells in the first run, and none in the training of the one that starts from it."""
    genes = np.arange(200)
    store = store_of(folder, "third", ("JAK2", "STAT1"), genes, held_out=("rep_1", "rep_2"))
    options = ("--from-checkpoint", folder / "first", "--freeze", "conditions", "--max-steps", 2, "--val-interval", 2)
    commands.run("train", "--store", store, "--out", folder / "third", *options)
    rows = []
    join_process_group()
    for name in ("first", "third"):
        loaded = load_model(folder / name)
        assert loaded.card.untrained_agents == ()
        table = loaded.model.condition_encoder.perturbation.embedding.weight
        rows.append(table[loaded.card.perturbations.index("STAT1")].cpu())
    assert torch.equal(*rows)


REFUSALS: dict[str, tuple[tuple[object, ...], str]] = {
    "size": (
        ("--size", "small"),
        "the network is that of {first}: expected hidden_size=32, found 128; leave --size out",
    ),
    "field": (("--set", "num_layers=3"), "expected num_layers=2, found 3; only how it is trained can be changed"),
    "preset": (
        ("--preset", "paper"),
        "--preset paper: the network is that of {first}: expected label_scale=10.0, found",
    ),
    "preset and field": (
        ("--preset", "paper", "--set", "label_scale=2"),
        "--set: the network is that of {first}: expected label_scale=10.0, found 2.0",
    ),
    "preset and adapters": (("--preset", "paper", "--lora", 2), "--lora: expected ema_decay above 0"),
    "features": (("--perturbation-features", "{features}"), "was trained with, none; found 2 numbers a perturbation"),
    "part": (
        ("--freeze", "encode"),
        "--freeze must be one of encoder, conditions, transport, decoder, found 'encode'",
    ),
    "labels": (("--freeze", "conditions"), "2 labels that {first} does not know ('IRF1', 'SPI1')"),
    "all": (("--freeze", "encoder,conditions,transport,decoder"), "all parts are frozen"),
    "stage": (
        ("--freeze", "transport", "--devices", 2, "--pipeline-parallel", 2),
        "--freeze transport: expected --pipeline-parallel 1",
    ),
}


@pytest.fixture
def refused(folder: Path) -> Callable[..., str]:
    """Refuse in this process; answers the one line."""
    join_process_group()
    from bionemo.scale.run.train import settings_from
    from bionemo.scale.train.setup.resolve import resolve

    def call(*words: object, store: str = "store-second", out: str = "refused") -> str:
        options = ["--store", folder / store, "--out", folder / out, "--max-steps", 2, *words]
        with pytest.raises(api.InputError) as error:
            resolve(settings_from([*map(str, options)]))
        assert not (folder / "refused").exists()
        return str(error.value)

    return call


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str, folder: Path, refused: Callable[..., str]):
    features = folder / "features.csv"
    features.write_text("gene,a,b\n" + "".join(f"{label},{row},2\n" for row, label in enumerate(CELL_EVAL2)))
    words, expected = REFUSALS[name]
    words = [str(word).format(features=features) for word in words]
    found = refused("--from-checkpoint", folder / "first", *words)
    assert expected.format(first=find_checkpoint(folder / "first")) in found, found


def test_other_data_and_no_checkpoint_are_refused(folder: Path, refused: Callable[..., str]):
    cells = anndata.read_h5ad(folder / "first.h5ad")
    cells.var_names = [f"ENSG{number}" for number in range(cells.n_vars)]
    cells.write_h5ad(folder / "renamed.h5ad")
    api.prepare([folder / "renamed.h5ad"], folder / "store-renamed", keys=KEYS)
    found = refused("--from-checkpoint", folder / "first", store="store-renamed")
    assert "genes are matched by name, and none of its 200 (ENSG0, ...) is among the 200 of" in found
    api.prepare([folder / "first.h5ad"], folder / "store-scaled", keys=KEYS, target_sum=1e5)
    found = refused("--from-checkpoint", folder / "first", store="store-scaled")
    assert "library size of 10000" in found and "prepare it with --target-sum 10000" in found
    assert "nowhere: expected a run folder" in refused("--from-checkpoint", folder / "nowhere")
    assert "--freeze keeps the weights of a checkpoint" in refused("--freeze", "encoder", "--size", "tiny")


def test_another_beginning_does_not_continue_a_run(folder: Path, report: str, refused: Callable[..., str]):
    found = refused("--from-checkpoint", folder / "first", out="second")
    assert "expected --freeze ['encoder', 'decoder'], found None" in found
    assert "expected another run than --out" in refused("--from-checkpoint", folder / "second", out="second")
