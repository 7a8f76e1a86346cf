# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Runs commands one after the other, each as the processes that torchrun would start, and imports NeMo once.

Importing NeMo takes longer than training ten steps. So this process imports it, and every rank of every job is a fork
of this process that has torchrun's environment and calls the command's own ``main``.

    python jobs.py JOBS.json RESULTS.json
    python jobs.py --serve

JOBS.json is a list of {"command", "arguments", "processes", "crash_at"}; RESULTS.json the list of {"codes", "screen"}.
``crash_at`` ends every rank, without any clean-up, after that training step. A job with "call" instead of "command"
runs that function of this file. ``--serve`` reads a job a line from standard input and answers its result in a line.
"""

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TextIO

import numpy as np


JOB_SECONDS = 200


def run(job: dict) -> dict:
    """Run the ranks of a job to their end; a job that hangs is killed."""
    port, folder = free_port(), Path(tempfile.mkdtemp())
    ranks = {}
    for rank in range(job["processes"]):
        child = os.fork()
        if child == 0:
            rank_main(job, rank, port, folder / str(rank))
        ranks[child] = rank
    codes, deadline = [None] * job["processes"], time.monotonic() + JOB_SECONDS
    while None in codes and time.monotonic() < deadline:
        finished, status = os.waitpid(-1, os.WNOHANG)
        if finished in ranks:
            codes[ranks[finished]] = os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    for child, rank in ranks.items():
        # With the processes it started: saving a checkpoint leaves one, which a rank's own end would take along.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        if codes[rank] is None:
            os.waitpid(child, 0)
    return {"codes": codes, "screen": "".join(path.read_text() for path in sorted(folder.iterdir()))}


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def rank_main(job: dict, rank: int, port: int, screen: Path) -> None:
    """Be one rank of a job; never returns."""
    code = 1
    os.setsid()
    file = os.open(screen, os.O_WRONLY | os.O_CREAT)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
    try:
        if job["processes"] > 1:
            os.environ |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(job["processes"]),
                "LOCAL_WORLD_SIZE": str(job["processes"]),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "TORCHELASTIC_RUN_ID": "test",
            }
        if job.get("crash_at"):
            crash_after(job["crash_at"])
        if "call" in job:
            globals()[job["call"]](**job["arguments"])
            code = 0
        else:
            code = importlib.import_module(f"bionemo.scale.run.{job['command']}").main(job["arguments"])
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # A failed rank must not wait for the others in the libraries' exit handlers.
        os._exit(code)


def crash_after(step: int) -> None:
    """End this process as a power cut would, once a training step and all that follows it is done."""
    from bionemo.scale.train.callbacks.progress import RunMonitor

    on_train_batch_end = RunMonitor.on_train_batch_end

    def crash(self, trainer, *args):
        on_train_batch_end(self, trainer, *args)
        if trainer.global_step == step:
            os._exit(9)

    RunMonitor.on_train_batch_end = crash


def predict_once(*, checkpoint: str, out: str, tensor_parallel: int) -> None:
    """Load a checkpoint as inference does and keep what this rank predicts for some cells."""
    import torch
    from megatron.core import parallel_state

    from bionemo.scale.infer.trained_model import load_model
    from bionemo.scale.megatron.layout import model_parallel

    with model_parallel(tensor_parallel=tensor_parallel), torch.no_grad():
        model = load_model(Path(checkpoint)).model
        cells = torch.randn(2, 8, model.config.num_genes, generator=torch.Generator().manual_seed(0)).clamp_min(0)
        labels = torch.zeros(2, dtype=torch.int64)
        latent = model.encode(cells)
        end = model.transport(latent, torch.zeros(2), model.condition(labels, labels, labels))
        rank = parallel_state.get_tensor_model_parallel_rank()
        np.save(Path(out) / f"rank{rank}.npy", model.decode(end).numpy())


def serve(replies: TextIO) -> None:
    """Run the jobs that come in on standard input until it ends."""
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=replies, flush=True)


def main() -> None:
    from bionemo.scale.megatron import cpu

    cpu.install()
    from bionemo.scale.train import training  # noqa: F401

    if sys.argv[1:] == ["--serve"]:
        serve(os.fdopen(os.dup(1), "w"))
        return
    jobs, results = json.loads(Path(sys.argv[1]).read_text()), []
    for job in jobs:
        started = time.monotonic()
        results.append(run(job))
        what = job["arguments"] if "call" in job else [job["command"], *job["arguments"]]
        print(f"{time.monotonic() - started:.1f} s", results[-1]["codes"], what, flush=True)
    Path(sys.argv[2]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
