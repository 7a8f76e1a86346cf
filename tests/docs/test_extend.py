# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The extensions of docs/extend.md work: a network is built and predicts with them, and an evaluation scores them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


REPOSITORY = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "extend.md").read_text(), flags=re.DOTALL)

NETWORK = """
from bionemo.scale.megatron import cpu
cpu.install()
from bionemo.scale.infer.generate import encode_controls, perturb
from bionemo.scale.megatron.layout import model_parallel
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.scale_model import ScaleModel
from bionemo.scale.model.weights import init_weights
from bionemo.scale.train.setup.fields import parse_overrides

asked = {"prior": "gaussian", "condition_pooling": "max"}
fields = parse_overrides(ScaleModelConfig, asked)
assert fields == asked
with model_parallel():
    predicted = []
    for chosen in (fields, {}):
        model = ScaleModel(ScaleModelConfig(num_genes=12, **chosen)).eval()
        init_weights(model, seed=0)
        labels = torch.zeros(2, dtype=torch.int64)
        cells = torch.rand(2, 5, 12, generator=torch.Generator().manual_seed(0))
        controls = encode_controls(model, cells, cell_type=labels, batch=labels, seed=torch.tensor([1, 2]))
        predicted.append(perturb(model, controls, labels))
    assert not torch.equal(*predicted)
"""

SCORES = """
from pathlib import Path

import anndata
from bionemo.scale import api

adata = anndata.read_h5ad(SCREEN)
adata = adata[adata.obs["cell_type"].isin(["NK", "CD8 T"]).to_numpy(), :60].copy()
adata.write_h5ad("screen.h5ad")
Path("split.toml").write_text('[zeroshot]\\n"screen.NK" = "test"\\n[training]\\nscreen = "train"\\n')
store = api.prepare("screen.h5ad", "store", split="split.toml", library_size_key="n_counts_full")
nk = adata[(adata.obs["cell_type"] == "NK").to_numpy()].copy()
counts = nk.X.toarray() / nk.obs["n_counts_full"].to_numpy()[:, None]
nk.X = np.log1p(counts * 1e4).astype(np.float32)
nk.write_h5ad("real.h5ad")
scores = api.evaluate(
    "real.h5ad", "real.h5ad", "scores", store="store", target_sum=1e4, values="log1p", ceiling=False,
    baselines=("control", "additive", "half_additive"),
)
models = scores.summary["models"]
worst = {name: metrics["worst_gene"]["mean"] for name, metrics in models.items()}
assert worst["real"] == 0 and 0 < worst["half_additive"]
assert 0 < models["half_additive"]["mse"]["mean"] < models["control"]["mse"]["mean"]
"""


def run(folder: Path, *parts: str) -> subprocess.CompletedProcess[str]:
    script = folder / "extension.py"
    script.write_text("\n".join(parts))
    return subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_network_has_the_prior_and_the_pooling(tmp_path: Path):
    done = run(tmp_path, *BLOCKS[:2], NETWORK)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_an_evaluation_has_the_baseline_and_the_metric(tmp_path: Path):
    screen = REPOSITORY / "examples" / "data" / "kang2018_pbmc_ifnb.h5ad"
    done = run(tmp_path, *BLOCKS[2:], f"SCREEN = {str(screen)!r}", SCORES)
    assert done.returncode == 0, done.stderr


def test_there_is_an_example_of_each_kind():
    ends = [block.strip().splitlines()[-1] for block in BLOCKS]
    assert ends[:3] == [
        'PRIORS["gaussian"] = gaussian',
        'POOLINGS["max"] = MaxPool',
        'BASELINES["half_additive"] = half_additive',
    ]
    assert len(BLOCKS) == 4 and "add_metric(" in BLOCKS[3]
