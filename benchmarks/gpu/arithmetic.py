# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a training step would take on a GPU by its data sheet. Nothing is measured.

    python benchmarks/gpu/arithmetic.py --sizes 184m 280m

A step takes the time of its multiply-adds at a share of the peak, and after it the time in which the optimizer reads
and writes what it keeps. Its results are an assumption, to be replaced by ``training_step.py`` on a device.
"""

import argparse

from bionemo.scale.megatron.layout import model_parallel
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.size.arithmetic import step_arithmetic
from bionemo.scale.model.size.count import count_tensors
from bionemo.scale.model.size.sizes import REFERENCE_DATA, SIZES
from bionemo.scale.train.setup.size_table import training_memory


OPERATIONS = 2 * 3
"""Of a multiply-add of the forward pass: two operations, and twice as many again backward."""


def main() -> None:
    """Print a row of markdown for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["base", "184m", "280m"], choices=list(SIZES))
    parser.add_argument("--num-sets", type=int, default=16, help="B")
    parser.add_argument("--set-size", type=int, default=128, help="N")
    parser.add_argument("--peak-tflops", type=float, default=989, help="dense bfloat16; the default is an H100 SXM")
    parser.add_argument("--share-of-peak", type=float, default=0.4, help="a usual share for transformers of this size")
    parser.add_argument("--bandwidth", type=float, default=3.35, help="of the memory, TB/s")
    args = parser.parse_args()
    print("| size | TFLOP a step | products, ms | optimizer, ms | steps/s | pairs of cells/s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in args.sizes:
        print(row(size, args))


def row(size: str, args: argparse.Namespace) -> str:
    """Return the row of a size."""
    config = ScaleModelConfig(**SIZES[size], **REFERENCE_DATA, set_size=args.set_size)
    pairs = args.num_sets * args.set_size
    operations = OPERATIONS * step_arithmetic(config).total * pairs
    products = operations / (1e12 * args.peak_tflops * args.share_of_peak)
    with model_parallel():
        memory = training_memory(count_tensors(config), precision="bf16")
    # All that is kept is read once and written once.
    optimizer = 2 * sum(memory.values()) / (1e12 * args.bandwidth)
    step = products + optimizer
    return (
        f"| {size} | {operations / 1e12:.2f} | {1e3 * products:.1f} | {1e3 * optimizer:.1f} | {1 / step:.0f} "
        f"| {pairs / step:,.0f} |"
    )


if __name__ == "__main__":
    main()
