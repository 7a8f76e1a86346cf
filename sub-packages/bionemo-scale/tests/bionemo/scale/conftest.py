# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Megatron on the CPU, a small screen, and fixtures of the network's tests.

None is autouse: data and eval must run without torch.distributed.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from unittest import mock

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from bionemo.scale.megatron import cpu


# Before any test file imports Megatron.
cpu.install()

GENES, CELL_TYPES, PERTURBATIONS, BATCHES = 24, 3, 4, 2


def make_screen(seed: int = 0, *, num_genes: int = 60, prefix: str = "") -> ad.AnnData:
    """Counts of 2 cell types x 2 batches x (control, p0, p1, p2), 3 to 40 cells each, in random order."""
    rng = np.random.default_rng(seed)
    labels = [
        (cell_type, batch, perturbation)
        for cell_type in ("A", "B c")
        for batch in ("b0", "b1")
        for perturbation in ("control", "p0", "p1", "p2")
        for _ in range(rng.integers(3, 40))
    ]
    labels = [labels[position] for position in rng.permutation(len(labels))]
    rates = rng.gamma(0.5, 2.0, size=num_genes)
    counts = rng.poisson(rates, size=(len(labels), num_genes)).astype(np.int32)
    counts[0, 0] = 70_000
    obs = pd.DataFrame(labels, columns=["cell_type", "batch", "perturbation"]).astype("category")
    obs.index = [f"{prefix}cell{number}" for number in range(len(obs))]
    return ad.AnnData(csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"gene{i}" for i in range(num_genes)]))


@pytest.fixture
def screen() -> ad.AnnData:
    return make_screen()


@pytest.fixture(scope="session")
def process_groups() -> Iterator[None]:
    """The CPU in CUDA's place and Megatron's process groups for one process, once for all tests."""
    from bionemo.scale.megatron.layout import model_parallel

    with contextlib.ExitStack() as stack:
        # The rank of this process must not reach the commands that other tests start.
        with mock.patch.dict(os.environ):
            stack.enter_context(model_parallel())
        yield


@pytest.fixture(scope="session")
def make_config(process_groups: None) -> Callable:
    """Tiny configuration; fields by name replace its own."""
    from bionemo.scale.model.config import ScaleModelConfig
    from bionemo.scale.model.size.sizes import SIZES

    def make(**fields):
        labels = dict(num_cell_types=CELL_TYPES, num_perturbations=PERTURBATIONS, num_batches=BATCHES)
        # Without the running average, which would double every test's parameters.
        defaults = dict(num_genes=GENES, set_size=6, use_cpu_initialization=True, ema_decay=0.0, **labels)
        return ScaleModelConfig(**{**SIZES["tiny"], **defaults, **fields})

    return make


@pytest.fixture(scope="session")
def make_model(make_config: Callable) -> Callable:
    """Tiny network with its initial weights; fields by name replace its configuration's."""
    import torch

    from bionemo.scale.model.weights import init_weights
    from bionemo.scale.train.averaged import AveragedModel

    def make(**fields):
        # Numba, once used by scanpy, leaves OpenMP with every core, and torch's threads then wait for one another.
        torch.set_num_threads(1)
        config = make_config(**fields)
        model = AveragedModel(config)
        init_weights(model, seed=config.seed)
        model.update_average(step=0)
        return model

    return make


@pytest.fixture(scope="session")
def make_batch() -> Callable:
    """Random sets of log1p expression, about half of it zero as in real cells."""
    import torch

    def make(num_sets: int = 3, num_cells: int = 6, *, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)

        def cells():
            return (1.5 * torch.randn(num_sets, num_cells, GENES, generator=generator)).clamp_min(0)

        def labels(count: int):
            return torch.randint(count, (num_sets,), generator=generator)

        return {
            "control": cells(),
            "perturbed": cells(),
            "cell_type": labels(CELL_TYPES),
            "perturbation": labels(PERTURBATIONS),
            "batch": labels(BATCHES),
            "seed": torch.randint(2**31, (num_sets,), generator=generator),
        }

    return make


@pytest.fixture
def config(make_config: Callable):
    """The tiny configuration as it is."""
    return make_config()


@pytest.fixture
def model(make_model: Callable):
    """A fresh tiny network."""
    return make_model()


@pytest.fixture
def batch(make_batch: Callable):
    """Three random sets of six cells."""
    return make_batch()


@pytest.fixture
def pandas_cells() -> ad.AnnData:
    """AnnData with text of every type that pandas has."""
    obs = pd.DataFrame(
        {
            "cell_type": pd.array(["T", "T", "T"], dtype="string"),
            "batch": pd.Categorical(pd.array(["1", "1", "2"], dtype="string")),
            "donor": np.array(["x", "y", "x"], dtype=object),
            "size": [1.5, 2.5, 3.5],
        },
        index=pd.Index(["c0", "c1", "c2"], dtype="string"),
    )
    var = pd.DataFrame({"symbol": pd.array(["a", "b"], dtype="string"), "rank": [1, 2]}, index=["ENSG1", "ENSG2"])
    return ad.AnnData(np.eye(3, 2, dtype=np.float32), obs=obs, var=var, layers={"counts": np.ones((3, 2))})


_LIGHT = """
import importlib, runpy, sys
from importlib.metadata import packages_distributions
from packaging.utils import canonicalize_name
lines = [line for line in open(sys.argv[1]) if "==" in line]
allowed = {"bionemo-scale", *(canonicalize_name(line.partition("==")[0]) for line in lines)}
others = {
    module for module, names in packages_distributions().items()
    if not allowed & set(map(canonicalize_name, names)) and module not in ("bionemo", *sys.stdlib_module_names)
}
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *where):
        return None if name.partition(".")[0] in others else self.finder.find_spec(name, *where)
sys.meta_path[:] = map(Without, sys.meta_path)
for name in [name for name in sys.modules if name.partition(".")[0] in others]:
    del sys.modules[name]
if sys.argv[2].endswith(".py"):
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
    sys.exit()
sys.exit(importlib.import_module(f"bionemo.scale.run.{sys.argv[2]}").main(sys.argv[3:]))
"""


@pytest.fixture(scope="session")
def light_command() -> Callable[..., str]:
    """Run a command, or a script, where no other package can be imported than those of requirements/light.txt."""
    light = Path(__file__).parents[5] / "requirements" / "light.txt"

    def run(*words: object, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-c", _LIGHT, light, *map(str, words)], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run


class Web:
    """A web server on this machine. It lists no files, as most do not, and knows ranges.

    Args:
        root: What it serves.
    """

    def __init__(self, root: Path):
        self.root, self.asked, self.failing = root, [], set()
        """Paths that were asked for, and ends of requests (``GET /PATH``) that are answered with an error."""
        self.missing = 404
        """The answer for a file that is not there; with 200 comes a page."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Answers, directory=str(root), web=self))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path: Path):
        """Return the URL of a file or a folder."""
        from bionemo.scale.files.url import Url

        return Url(f"http://127.0.0.1:{self._server.server_port}/{path.relative_to(self.root)}")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Answers(SimpleHTTPRequestHandler):
    def __init__(self, *arguments, web: Web, **named):
        self.web = web
        super().__init__(*arguments, **named)

    def log_message(self, *_) -> None:
        pass

    def list_directory(self, path):
        self.send_error(404)

    def send_head(self):
        self.web.asked.append(self.path)
        if any(f"{self.command} {self.path}".endswith(end) for end in self.web.failing):
            self.send_error(503)
            return None
        path, asked = Path(self.translate_path(self.path)), self.headers.get("Range", "")
        if not path.is_file() and self.web.missing != 404:
            return self._send_missing()
        if not asked or not path.is_file():
            return super().send_head()
        first, last = (int(part) for part in asked.removeprefix("bytes=").split("-"))
        piece = path.read_bytes()[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(piece) - 1}/{path.stat().st_size}")
        self.send_header("Content-Length", str(len(piece)))
        self.end_headers()
        return BytesIO(piece)

    def _send_missing(self):
        page = b"<!DOCTYPE html><html>Welcome</html>"
        if self.web.missing != 200:
            self.send_error(self.web.missing)
            return None
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        return BytesIO(page)


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A web server of the temporary files of tests."""
    server = Web(tmp_path_factory.getbasetemp())
    yield server
    server.close()
