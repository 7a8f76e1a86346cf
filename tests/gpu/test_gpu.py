# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What only a CUDA device can show: Transformer Engine's layers beside torch's, FP8, the paper's size in memory.

tests/gpu/run.sh runs these and the benchmark of a training step.
"""

import copy
import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch

from bionemo.scale.megatron.kernels import PRECISIONS


EXAMPLES = Path(__file__).parents[2] / "examples"
HAS_CUDA = torch.cuda.is_available()
HAS_ENGINE = HAS_CUDA and importlib.util.find_spec("transformer_engine") is not None
CAPABILITY = torch.cuda.get_device_capability() if HAS_CUDA else (0, 0)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA device, found none"),
]
needs_engine = pytest.mark.skipif(not HAS_ENGINE, reason="needs Transformer Engine on a CUDA device, found none")


def needs(precision: str) -> pytest.MarkDecorator:
    wanted = PRECISIONS[precision].capability
    return pytest.mark.skipif(CAPABILITY < wanted, reason=f"needs compute capability {wanted}, found {CAPABILITY}")


@pytest.fixture(scope="module", autouse=True)
def groups():
    from bionemo.scale.megatron.layout import model_parallel

    with model_parallel():
        yield


def network(size: str, precision: str, spec: str):
    """A network with its initial weights, which are the same for every spec and precision."""
    from bionemo.scale.model.config import ScaleModelConfig
    from bionemo.scale.model.size.sizes import REFERENCE_DATA, SIZES
    from bionemo.scale.model.weights import init_weights
    from bionemo.scale.train.averaged import AveragedModel

    fields = PRECISIONS[precision].config_fields()
    model = AveragedModel(ScaleModelConfig(**SIZES[size], **REFERENCE_DATA, layer_spec=spec, **fields))
    init_weights(model, seed=0)
    return (model.bfloat16() if fields["bf16"] else model).cuda()


def sets(num_sets: int, num_cells: int):
    generator = torch.Generator().manual_seed(0)

    def cells():
        return (1.5 * torch.randn(num_sets, num_cells, 2000, generator=generator)).clamp_min(0).cuda()

    labels = {name: torch.arange(num_sets).cuda() % 10 for name in ("cell_type", "perturbation", "batch")}
    return dict(control=cells(), perturbed=cells(), seed=torch.arange(num_sets), **labels)


def common_names(model) -> dict[str, torch.Tensor]:
    """Gradients by the names of the fused layers."""
    renamed = {"input_layernorm.": "self_attention.linear_qkv.layer_norm_"}
    renamed |= {"pre_mlp_layernorm.": "mlp.linear_fc1.layer_norm_"}
    gradients = {}
    # The running average has no gradients.
    for name, parameter in filter(lambda named: named[1].requires_grad, model.named_parameters()):
        for old, new in renamed.items():
            name = name.replace(old, new)
        gradients[name] = parameter.grad.float()
    return gradients


@needs_engine
@pytest.mark.parametrize("precision, tolerance", [("fp32", 1e-3), ("bf16", 5e-2)])
def test_both_specs_are_one_network(precision, tolerance):
    """Loss, and each gradient relative to its own norm. float32 matrix products may round to TF32 in either."""
    from bionemo.scale.train.step import forward_step

    outcomes = []
    for spec in ("local", "te"):
        model = network("base", precision, spec)
        loss = forward_step(model, [sets(4, 31)])["loss"]
        loss.backward()
        outcomes.append((loss.item(), common_names(model)))
    (expected, gradients), (found, others) = outcomes
    assert found == pytest.approx(expected, rel=tolerance)
    assert set(others) == set(gradients)
    largest = max(gradient.norm() for gradient in gradients.values())
    for name, gradient in gradients.items():
        error = (others[name] - gradient).norm() / torch.maximum(gradient.norm(), 1e-3 * largest)
        assert error < 5 * tolerance, f"{name}: {error:.2g}"


@needs_engine
@pytest.mark.parametrize("precision", [pytest.param(name, marks=needs(name)) for name in PRECISIONS if "fp8" in name])
@pytest.mark.parametrize("num_sets, num_cells", [(16, 32), (3, 20)])
def test_fp8_takes_sets_of_any_shape(precision, num_sets, num_cells):
    from bionemo.scale.train.step import forward_step

    model = network("base", precision, "te")
    loss = forward_step(model, [sets(num_sets, num_cells)])["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
    exact = network("base", "bf16", "te")
    assert loss.item() == pytest.approx(forward_step(exact, [sets(num_sets, num_cells)])["loss"].item(), rel=0.05)


@pytest.mark.parametrize("spec", ["local", pytest.param("te", marks=needs_engine)])
def test_the_papers_size_fits_and_learns(spec, record_property):
    from bionemo.scale.train.step import forward_step

    torch.cuda.reset_peak_memory_stats()
    model, batch = network("184m", "bf16", spec), sets(16, 127)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = forward_step(model, [copy.copy(batch)])["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    record_property("peak_gibibytes", torch.cuda.max_memory_allocated() / 2**30)


def command(name: str, *arguments: object) -> None:
    inherited = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    environment = {key: value for key, value in os.environ.items() if key not in inherited}
    line = [sys.executable, "-m", f"bionemo.scale.run.{name}", *map(str, arguments)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]


class TestRuns:
    """Through the commands, on real cells."""

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("gpu")
        data, split = EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad", EXAMPLES / "splits" / "kang.toml"
        options = ("--dataset", "kang", "--library-size-key", "n_counts_full", "--hvg", 2000)
        command("prepare", data, "--out", folder / "store", "--split", split, *options)
        return folder

    def train(self, folder: Path, name: str, steps: int, *more: object) -> list[float]:
        store = ("--store", folder / "store", "--out", folder / name, "--size", "small")
        shape = ("--set-size", 32, "--micro-batch-size", 16, "--max-steps", steps, "--val-interval", 50)
        command("train", *store, *shape, "--log-interval", 1, *more)
        with (folder / name / "metrics.csv").open() as file:
            return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]

    @needs_engine
    def test_fp8_learns_as_bfloat16_does(self, folder):
        """Mean loss of the last twenty of 200 steps within 2 %."""
        names = [name for name in ("fp8", "fp8-current", "mxfp8") if CAPABILITY >= PRECISIONS[name].capability]
        if not names:
            pytest.skip(f"needs a device with FP8, found compute capability {CAPABILITY}")
        expected = self.train(folder, "bf16", 200, "--precision", "bf16", "--spec", "te")
        for name in names:
            losses = self.train(folder, name, 200, "--precision", name)
            assert np.mean(losses[-20:]) == pytest.approx(np.mean(expected[-20:]), rel=0.02), name

    @needs_engine
    @pytest.mark.parametrize("first, second", [("te", "local"), ("local", "te")])
    def test_a_checkpoint_serves_both_specs(self, first, second, folder):
        """Ten steps with one, ten more with the other; both ends predict on torch's layers."""
        name = f"{first}-{second}"
        early = self.train(folder, name, 10, "--spec", first, "--lr", 1e-4)
        late = self.train(folder, name, 20, "--spec", second, "--lr", 1e-4)
        assert late[:10] == early and len(late) == 20
        assert np.mean(late[-5:]) < np.mean(early[:5])
        out = folder / f"{name}.h5ad"
        command("infer", "--checkpoint", folder / name, "--store", folder / "store", "--out", out)
        assert np.isfinite(anndata.read_h5ad(out).X).all()

    def predict(self, folder: Path, *options: object) -> np.ndarray:
        out = folder / "predicted.h5ad"
        # The zeros of counts turn a difference in the last bits into one of a whole count.
        source = ("--checkpoint", folder / "predict", "--store", folder / "store", "--generation", "displace")
        command("infer", *source, "--out", out, *options)
        return anndata.read_h5ad(out).X

    def test_every_kernel_and_precision_predicts_the_same(self, folder):
        """But for what a number of that precision can hold, as a share of the mean; and the same to the bit again."""
        self.train(folder, "predict", 50)
        expected = self.predict(folder, "--spec", "local")
        variants = {("bf16", "local"): 0.02}
        if HAS_ENGINE:
            variants |= {("fp32", "te"): 1e-3, ("bf16", "te"): 0.02}
            trained = {"fp8": "fp8-current", "mxfp8": "mxfp8"}
            variants |= {(name, "te"): 0.1 for name in trained if CAPABILITY >= PRECISIONS[trained[name]].capability}
        for (precision, spec), share in variants.items():
            found = self.predict(folder, "--precision", precision, "--spec", spec)
            error = np.abs(found - expected).mean() / expected.mean()
            assert 0 < error < share, f"{precision} {spec}: {error:.2g}"
            np.testing.assert_array_equal(self.predict(folder, "--precision", precision, "--spec", spec), found)


def test_packed_sets_are_made_dense_on_the_device():
    """The bits are those of the CPU, and the dense batch never leaves the device."""
    from scipy.sparse import random as random_sparse

    from bionemo.scale.data.sets.collate import collate, pack, unpack
    from bionemo.scale.data.sets.dataset import GatheredSets

    rng = np.random.default_rng(0)
    expression = random_sparse(2 * 4 * 64, 2000, 0.1, "csr", dtype=np.float32, random_state=rng)
    sets = GatheredSets(expression, *(np.arange(4) for _ in range(5)))
    (found,), expected = unpack(pack(sets), torch.device("cuda")), collate(sets)
    for name in ("control", "perturbed"):
        assert found[name].is_cuda
        assert torch.equal(found[name].cpu(), expected[name])
