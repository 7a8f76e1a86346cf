# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The same loss, gradients and weights for every layout of processes, on real cells.

Two gloo processes under torchrun share a tiny network as tensor, pipeline or data parallel ranks and train five steps;
one process does the same alone.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest


pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
DATA = REPOSITORY / "examples" / "data" / "kang2018_pbmc_ifnb.h5ad"
WORKER = Path(__file__).with_name("worker.py")
TIMEOUT_SECONDS = 240

VARIANTS = {
    # The start of the path is random, so that the last stage has to draw again what the first one drew.
    "llama": {"prior": "gaussian_mix"},
    "attention": {
        "gene_encoder": "attention",
        "gene_pooling": "mean",
        "condition_pooling": "token",
        "parameterization": "v",
        "loss_space": "v",
        "num_layers": 3,
    },
    # Sets of two sizes in a micro-batch, of several batches, with fillers.
    "mixed": {"sets": "mixed", "set_size": 16},
}
LAYOUTS = {
    "tensor parallel": ["--tensor-parallel=2"],
    "pipeline parallel": ["--pipeline-parallel=2"],
    # Of three blocks; the first stage also encodes.
    "uneven pipeline parallel": ["--pipeline-parallel=2", "--first-stage-blocks=1"],
    "data parallel": [],
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the ranks of one run wrote, put together to one network."""

    losses: list[dict[str, float]]
    norms: list[list[float]]
    """Of each rank."""
    arrays: dict[str, np.ndarray]
    """By kind/name, whole tensors."""
    ranks: list[dict[str, np.ndarray]]
    splits: dict[str, dict]

    def of_kind(self, kind: str) -> dict[str, np.ndarray]:
        """Tensors of a kind: initial, gradient or final."""
        return {key.partition("/")[2]: array for key, array in self.arrays.items() if key.startswith(f"{kind}/")}


def launch(folder: Path, processes: int, variant: str, *layout: str) -> Run:
    folder.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    arguments = [f"--data={DATA}", f"--out={folder}", f"--fields={json.dumps(VARIANTS[variant])}", *layout]
    inherited = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    environment = {name: value for name, value in os.environ.items() if name not in inherited}
    # gloo on the CPU, whatever the machine has.
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [*command, str(WORKER), *arguments], env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return read(folder, processes, cut="--tensor-parallel=2" in layout)


def read(folder: Path, processes: int, *, cut: bool) -> Run:
    facts = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(processes)]
    ranks = []
    for rank in range(processes):
        with np.load(folder / f"rank{rank}.npz") as stored:
            ranks.append(dict(stored))
    splits = facts[0]["splits"]
    arrays = {}
    for key in {key for rank in ranks for key in rank}:
        shards = [rank[key] for rank in ranks if key in rank]
        split = splits.get(key.partition("/")[2])
        arrays[key] = join(shards, **split) if cut and split else shards[0]
    losses = next(each["losses"] for each in reversed(facts) if each["losses"])
    return Run(losses=losses, norms=[each["norms"] for each in facts], arrays=arrays, ranks=ranks, splits=splits)


def join(shards: list[np.ndarray], *, axis: int, parts: int) -> np.ndarray:
    """Put the ranks' shards of a tensor together; a gated one is cut part by part."""
    pieces = [np.split(shard, parts, axis=axis) for shard in shards]
    return np.concatenate([piece[part] for part in range(parts) for piece in pieces], axis=axis)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, Run]:
    """One process, for each variant."""
    return {name: launch(tmp_path_factory.mktemp("alone") / name, 1, name) for name in VARIANTS}


@pytest.fixture(
    scope="module",
    params=[("llama", layout) for layout in LAYOUTS if not layout.startswith("uneven")]
    + [("attention", "tensor parallel"), ("attention", "uneven pipeline parallel")]
    + [("mixed", "tensor parallel"), ("mixed", "pipeline parallel"), ("mixed", "data parallel")],
    ids=lambda param: " ".join(param),
)
def pair(request, alone, tmp_path_factory) -> tuple[Run, Run]:
    """One process and two of the same work."""
    variant, layout = request.param
    return alone[variant], launch(tmp_path_factory.mktemp("two") / "run", 2, variant, *LAYOUTS[layout])


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_process_learns_from_real_cells(variant, alone):
    losses = [terms["loss"] for terms in alone[variant].losses]
    assert len(losses) == 5 and np.isfinite(losses).all()
    assert losses[-1] < 0.95 * losses[0]
    assert all(terms["latent_variance"] > 0.01 for terms in alone[variant].losses)


def test_initial_weights_are_bit_for_bit_those_of_one_process(pair):
    one, two = (run.of_kind("initial") for run in pair)
    assert set(one) == set(two)
    assert [name for name in one if not np.array_equal(one[name], two[name])] == []


def test_losses_are_those_of_one_process(pair):
    one, two = pair
    assert len(two.losses) == len(one.losses) == 5
    for expected, found in zip(one.losses, two.losses, strict=True):
        assert found == pytest.approx(expected, rel=1e-5)


def test_gradient_norms_are_those_of_one_process(pair):
    one, two = pair
    for norms in two.norms:
        assert norms == pytest.approx(one.norms[0], rel=1e-4)


def test_gradients_are_those_of_one_process(pair):
    one, two = (run.of_kind("gradient") for run in pair)
    assert set(one) == set(two)
    scale = pair[0].norms[0][0]
    for name, expected in one.items():
        np.testing.assert_allclose(two[name], expected, rtol=1e-3, atol=1e-6 * scale, err_msg=name)


def test_final_weights_are_those_of_one_process(pair):
    one, two = (run.of_kind("final") for run in pair)
    for name, expected in one.items():
        np.testing.assert_allclose(two[name], expected, rtol=0, atol=1e-4, err_msg=name)


def test_every_weight_moved(pair):
    initial, final = pair[1].of_kind("initial"), pair[1].of_kind("final")
    still = [name for name in initial if np.array_equal(initial[name], final[name])]
    # A bias of all keys alike moves no softmax.
    assert [name for name in still if not name.endswith("pool.key.linear.bias")] == []


def test_what_is_not_split_is_the_same_on_both_ranks(pair):
    """Replicated parameters would drift apart with gradients that only one rank sees."""
    _, two = pair
    first, second = two.ranks
    shared = [key for key in first if key in second and first[key].shape == two.arrays[key].shape]
    assert shared or set(first).isdisjoint(second)
    for key in shared:
        np.testing.assert_allclose(first[key], second[key], rtol=0, atol=1e-6, err_msg=key)


def test_each_rank_holds_its_part_only(request, pair):
    _, two = pair
    weights = [sum(a.size for key, a in rank.items() if key.startswith("final/")) for rank in two.ranks]
    whole = sum(array.size for array in two.of_kind("final").values())
    if "data parallel" in request.node.name:
        assert weights == [whole, whole]
    elif "pipeline" in request.node.name:
        assert sum(weights) == whole and min(weights) > 0
    else:
        assert weights[0] == weights[1] < 0.75 * whole
