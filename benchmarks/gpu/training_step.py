# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How long a training step takes on one device, and what share of the device's arithmetic the model makes use of.

    python benchmarks/gpu/training_step.py --sizes base 184m --variants bf16-local bf16-te fp8-te --out step.json

A step is forward, backward and a fused AdamW on random cells that lie on the device already: no data is read. Model
FLOPs are counted once on torch's layers (matrix products and attention, forward and backward), so every variant of a
size and shape is charged the same. Utilisation is model FLOPs over time and over the device's dense bfloat16 peak,
also for FP8, whose peak is twice that. The memory is the allocator's highest mark.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from bionemo.scale.megatron.kernels import PRECISIONS
from bionemo.scale.megatron.layout import model_parallel
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.scale_model import ScaleModel
from bionemo.scale.model.size.sizes import REFERENCE_DATA, SIZES
from bionemo.scale.model.weights import init_weights
from bionemo.scale.train.averaged import AveragedModel
from bionemo.scale.train.step import forward_step
from bionemo.scale.types import CellBatch


PEAK_TFLOPS = {"H200": 989, "H100": 989, "GH200": 989, "A100": 312, "B200": 2250, "GB200": 2250, "L40S": 362}
"""Dense bfloat16, from the data sheets, in 10^12 operations a second, by a part of the device's name."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One size, variant and shape."""

    size: str
    variant: str
    set_size: int
    num_sets: int
    milliseconds: float
    """Median of the timed steps."""
    spread: float
    """Slowest of the timed steps over the fastest."""
    cells_per_second: float
    """Perturbed cells; each comes with a control cell."""
    utilisation: float | None
    gibibytes: float


def make_model(size: str, variant: str, set_size: int) -> ScaleModel:
    """Build a network on the device; ``variant`` is precision-layers, as in fp8-te."""
    precision, _, spec = variant.rpartition("-")
    fields = PRECISIONS[precision].config_fields()
    config = ScaleModelConfig(**SIZES[size], **REFERENCE_DATA, set_size=set_size, layer_spec=spec, **fields)
    model = AveragedModel(config)
    init_weights(model, seed=0)
    model = model.bfloat16() if config.bf16 else model
    return model.to(device())


def make_batch(num_sets: int, num_cells: int) -> CellBatch:
    """Random cells, about half of their genes zero."""
    generator = torch.Generator().manual_seed(0)
    genes = REFERENCE_DATA["num_genes"]

    def cells():
        return (1.5 * torch.randn(num_sets, num_cells, genes, generator=generator)).clamp_min(0).to(device())

    def labels(kind: str):
        return torch.randint(REFERENCE_DATA[f"num_{kind}"], (num_sets,), generator=generator).to(device())

    return {
        "control": cells(),
        "perturbed": cells(),
        "cell_type": labels("cell_types"),
        "perturbation": labels("perturbations"),
        "batch": labels("batches"),
        "seed": torch.arange(num_sets),
    }


def device() -> torch.device:
    """Return where everything lies."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def stepper(model: ScaleModel, batch: CellBatch) -> Callable[[], None]:
    """Return a function that does one step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=torch.cuda.is_available())

    def step() -> None:
        # As Megatron's schedules do: FP8 copies of the weights are made once a step.
        model.set_is_first_microbatch()
        optimizer.zero_grad()
        forward_step(model, [batch])["loss"].backward()
        optimizer.step()

    return step


def model_flops(size: str, num_sets: int, set_size: int) -> int:
    """Count the arithmetic of a step's forward and backward pass on torch's layers."""
    variant = "bf16-local" if torch.cuda.is_available() else "fp32-local"
    model, batch = make_model(size, variant, set_size), make_batch(num_sets, set_size)
    with FlopCounterMode(display=False) as counter:
        forward_step(model, [batch])["loss"].backward()
    return counter.get_total_flops()


def measure(size: str, variant: str, num_sets: int, set_size: int, options: argparse.Namespace) -> Measurement:
    """Time steps after some that are not timed: kernels are chosen and FP8 scales found in the first ones."""
    flops = model_flops(size, num_sets, set_size)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    step = stepper(make_model(size, variant, set_size), make_batch(num_sets, set_size))
    times = []
    for i in range(options.warmup + options.steps):
        synchronize()
        started = time.perf_counter()
        step()
        synchronize()
        if i >= options.warmup:
            times.append(time.perf_counter() - started)
    median = statistics.median(times)
    peak = options.peak_tflops or known_peak()
    return Measurement(
        size=size,
        variant=variant,
        set_size=set_size,
        num_sets=num_sets,
        milliseconds=1e3 * median,
        spread=max(times) / min(times),
        cells_per_second=num_sets * set_size / median,
        utilisation=flops / median / (1e12 * peak) if peak else None,
        gibibytes=torch.cuda.max_memory_allocated() / 2**30,
    )


def known_peak() -> float | None:
    """Return the device's peak in TFLOP/s, if its name is known."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    return next((peak for part, peak in PEAK_TFLOPS.items() if part in name), None)


def top_kernels(size: str, variant: str, num_sets: int, set_size: int) -> str:
    """Return torch.profiler's table of the kernels that take most time in three steps."""
    from torch.profiler import ProfilerActivity, profile

    step = stepper(make_model(size, variant, set_size), make_batch(num_sets, set_size))
    for _ in range(5):
        step()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with profile(activities=activities) as profiler:
        for _ in range(3):
            step()
        synchronize()
    order = "cuda_time_total" if torch.cuda.is_available() else "cpu_time_total"
    return profiler.key_averages().table(sort_by=order, row_limit=15)


def versions() -> dict[str, Any]:
    """Return what the numbers belong to."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"}
    for package in ("torch", "megatron-core", "transformer-engine"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def table(measurements: list[Measurement]) -> str:
    """Return the measurements as lines of text."""
    lines = [f"{'size':<6} {'variant':<18} {'B':>4} {'N':>5} {'ms':>9} {'cells/s':>10} {'util':>6} {'GiB':>6}"]
    for each in measurements:
        share = "-" if each.utilisation is None else f"{100 * each.utilisation:.1f}%"
        lines.append(
            f"{each.size:<6} {each.variant:<18} {each.num_sets:>4} {each.set_size:>5} {each.milliseconds:>9.2f} "
            f"{each.cells_per_second:>10,.0f} {share:>6} {each.gibibytes:>6.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure every combination and print one table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sizes", nargs="+", default=["base", "184m"], choices=SIZES)
    options.add_argument("--variants", nargs="+", default=["bf16-local", "bf16-te", "fp8-te"])
    options.add_argument("--sets", nargs="+", type=int, default=[16, 64], help="sets at once, B")
    options.add_argument("--set-sizes", nargs="+", type=int, default=[32, 127, 255], help="cells of a set, N")
    options.add_argument("--warmup", type=int, default=10)
    options.add_argument("--steps", type=int, default=30)
    options.add_argument("--peak-tflops", type=float, help="of the device; known for some by their name")
    options.add_argument("--profile", action="store_true", help="also print the kernels that take most time")
    options.add_argument("--out", type=Path, help="JSON to write")
    args = options.parse_args()
    with model_parallel():
        combinations = [
            (size, variant, num_sets, set_size)
            for size in args.sizes
            for set_size in args.set_sizes
            for num_sets in args.sets
            for variant in args.variants
        ]
        measurements = [measure(*each, args) for each in combinations]
        print(table(measurements))
        if args.profile:
            for each in combinations:
                print(each, top_kernels(*each), sep="\n")
    if args.out:
        results = {"versions": versions(), "measurements": [asdict(each) for each in measurements]}
        args.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
