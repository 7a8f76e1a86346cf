# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""One rank of a small training run on real cells; test_layouts.py compares what the ranks of several layouts write.

Started by torchrun. Each rank writes OUT/rank<r>.json (losses, gradient norms, how its tensors are split) and
OUT/rank<r>.npz (initial weights, gradients of the first step, final weights), under the names of the unsplit network.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import anndata
import numpy as np
import torch
from torch import Tensor

from bionemo.scale.megatron import cpu


# Before Megatron is imported.
cpu.install()

from megatron.core import parallel_state
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.transformer.transformer_layer import TransformerLayer

from bionemo.scale.megatron.layout import model_parallel
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.scale_model import ScaleModel
from bionemo.scale.model.size.sizes import SIZES
from bionemo.scale.model.weights import init_weights
from bionemo.scale.train.averaged import AveragedModel
from bionemo.scale.train.objective import TERMS, stack_terms
from bionemo.scale.train.step import forward_step, places_length
from bionemo.scale.types import CellBatch


NUM_STEPS, NUM_SETS, MICRO_BATCH, NUM_CELLS, NUM_GENES = 5, 4, 2, 8, 64
CELL_TYPES = ("CD14 Mono", "CD4 T")


class Cells:
    """The most variable genes of two cell types of a real screen, as log1p of counts scaled to 10,000."""

    def __init__(self, path: Path):
        screen = anndata.read_h5ad(path)
        counts, obs = screen.X.toarray(), screen.obs
        values = np.log1p(1e4 * counts / obs["n_counts_full"].to_numpy()[:, None]).astype(np.float32)
        values = values[:, np.argsort(-values.var(axis=0))[:NUM_GENES]]
        self.batches = sorted(obs["batch"].unique())
        is_control = (obs["perturbation"] == "control").to_numpy()
        self._pools = {}
        for i, cell_type in enumerate(CELL_TYPES):
            for j, batch in enumerate(self.batches):
                rows = ((obs["cell_type"] == cell_type) & (obs["batch"] == batch)).to_numpy()
                pools = values[rows & is_control], values[rows & ~is_control]
                if min(len(pool) for pool in pools) >= NUM_CELLS:
                    self._pools[i, j] = pools

    def sets(self, step: int) -> CellBatch:
        """The global batch of a step, the same in every process."""
        rng = np.random.default_rng(step)
        labels = [list(self._pools)[i] for i in rng.integers(len(self._pools), size=NUM_SETS)]
        control, perturbed = (
            torch.stack([torch.from_numpy(rng.permutation(self._pools[label][side])[:NUM_CELLS]) for label in labels])
            for side in (0, 1)
        )
        return {
            "control": control,
            "perturbed": perturbed,
            "cell_type": torch.tensor([label[0] for label in labels]),
            "perturbation": torch.zeros(NUM_SETS, dtype=torch.int64),
            "batch": torch.tensor([label[1] for label in labels]),
            "seed": torch.from_numpy(rng.integers(2**31, size=NUM_SETS)),
        }


def micro_batches(sets: CellBatch, config: ScaleModelConfig) -> Iterator[list[CellBatch]]:
    """This data parallel rank's share of a global batch."""
    share = NUM_SETS // parallel_state.get_data_parallel_world_size()
    first = share * parallel_state.get_data_parallel_rank()
    for start in range(first, first + share, MICRO_BATCH):
        batch = {name: tensor[start : start + MICRO_BATCH] for name, tensor in sets.items()}
        yield [batch] if config.sets == "batch" else list(of_two_sizes(batch))


def of_two_sizes(batch: CellBatch) -> Iterator[CellBatch]:
    """A place with one set as it is, and one with two halves of the other, whose last cell is a filler."""
    common = {"num_places": MICRO_BATCH, "weight": torch.tensor([0.5])}
    of_cells = (batch["seed"][:, None] + torch.arange(NUM_CELLS)) % 2
    yield {**{name: tensor[:1] for name, tensor in batch.items()}, "batch": of_cells[:1], **common}
    halves = {name: batch[name][1:].unflatten(1, (2, -1))[0] for name in ("control", "perturbed")}
    labels = {name: batch[name][1:].repeat(2) for name in ("cell_type", "perturbation")}
    size = NUM_CELLS // 2
    yield {
        **common,
        **halves,
        **labels,
        "batch": of_cells[1].view(2, size),
        "seed": batch["seed"][1:] + torch.arange(2),
        "weight": torch.tensor([0.25, 0.25]),
        "share": (torch.arange(size) < size - 1).repeat(2, 1) / (size - 1),
    }


def schedule_step(iterator: Iterator[list[CellBatch]], model: ScaleModel):
    """One micro-batch as Megatron's schedules want it: (output, how the last stage reads it)."""

    def read(terms: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return terms["loss"], {"terms": stack_terms(terms)}

    return forward_step(model, next(iterator)), read


def train_step(model: ScaleModel, sets: CellBatch) -> Tensor | None:
    """Leave the gradient of the global batch on the parameters; return the mean terms where they are known."""
    batches = list(micro_batches(sets, model.config))
    reduced = get_forward_backward_func()(
        forward_step_func=schedule_step,
        data_iterator=iter(batches),
        model=model,
        num_microbatches=len(batches),
        seq_length=places_length(model.config),
        micro_batch_size=MICRO_BATCH,
        forward_only=False,
    )
    for parameter in model.parameters():
        average(parameter.grad)
    return average(torch.stack([each["terms"] for each in reduced]).mean(0)) if reduced else None


def average(tensor: Tensor) -> Tensor:
    """Mean over the data parallel ranks, in place."""
    torch.distributed.all_reduce(tensor, group=parallel_state.get_data_parallel_group())
    return tensor.div_(parallel_state.get_data_parallel_world_size())


def gradient_norm(model: ScaleModel) -> float:
    """Norm over the whole network: each rank adds what it alone holds."""
    is_first = parallel_state.get_tensor_model_parallel_rank() == 0
    mine = [p.grad for p in model.parameters() if is_first or getattr(p, "tensor_model_parallel", False)]
    total = sum(grad.double().square().sum() for grad in mine)
    torch.distributed.all_reduce(total, group=parallel_state.get_model_parallel_group())
    return float(total.sqrt())


def unsplit_names(model: ScaleModel) -> dict[str, str]:
    """Local to global parameter names: Megatron numbers the blocks of each pipeline stage from zero."""
    names = {name: name for name, _ in model.named_parameters()}
    for path, layer in model.named_modules():
        if isinstance(layer, TransformerLayer):
            stack = path.rsplit(".", 1)[0]
            for name, _ in layer.named_parameters():
                names[f"{path}.{name}"] = f"{stack}.{layer.layer_number - 1}.{name}"
    return names


def splits(model: ScaleModel) -> dict[str, dict]:
    """How each tensor parallel parameter is cut: its axis, and whether it holds two halves that are cut apart."""
    names, cut = unsplit_names(model), {}
    for name, parameter in model.named_parameters():
        if getattr(parameter, "tensor_model_parallel", False):
            is_gate = "gene_encoder" in name and "mlp.linear_fc1" in name and model.config.gene_encoder == "llama"
            cut[names[name]] = {"axis": parameter.partition_dim, "parts": 2 if is_gate else 1}
    return cut


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--tensor-parallel", type=int, default=1)
    options.add_argument("--pipeline-parallel", type=int, default=1)
    options.add_argument("--first-stage-blocks", type=int)
    options.add_argument("--fields", type=json.loads, default={})
    args = options.parse_args()
    with model_parallel(tensor_parallel=args.tensor_parallel, pipeline_parallel=args.pipeline_parallel):
        run(args)


def run(args: argparse.Namespace) -> None:
    cells = Cells(args.data)
    config = ScaleModelConfig(
        **{**SIZES["tiny"], "set_size": NUM_CELLS, **args.fields},
        num_layers_in_first_pipeline_stage=args.first_stage_blocks,
        num_genes=NUM_GENES,
        num_cell_types=len(CELL_TYPES),
        num_batches=len(cells.batches),
        # What is compared here are gradients; the average follows the weights on every rank alike.
        ema_decay=0.0,
        tensor_model_parallel_size=args.tensor_parallel,
        pipeline_model_parallel_size=args.pipeline_parallel,
        pipeline_dtype=torch.float32,
        deallocate_pipeline_outputs=True,
    )
    model = AveragedModel(
        config,
        pre_process=parallel_state.is_pipeline_first_stage(),
        post_process=parallel_state.is_pipeline_last_stage(),
    )
    init_weights(model, seed=config.seed)
    names, arrays, losses, norms = unsplit_names(model), {}, [], []

    def keep(kind: str, tensors: dict[str, Tensor]) -> None:
        arrays.update({f"{kind}/{names[name]}": tensor.detach().numpy().copy() for name, tensor in tensors.items()})

    keep("initial", dict(model.named_parameters()))
    # A bias of all keys has no gradient but rounding errors, which the usual eps of 1e-8 would make full steps of.
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-4)
    for step in range(NUM_STEPS):
        optimizer.zero_grad()
        terms = train_step(model, cells.sets(step))
        if terms is not None:
            losses.append(dict(zip(TERMS, terms.tolist(), strict=True)))
        norms.append(gradient_norm(model))
        if step == 0:
            keep("gradient", {name: parameter.grad for name, parameter in model.named_parameters()})
        optimizer.step()
    keep("final", dict(model.named_parameters()))

    rank = torch.distributed.get_rank()
    np.savez(args.out / f"rank{rank}.npz", **arrays)
    facts = {"losses": losses, "norms": norms, "splits": splits(model)}
    (args.out / f"rank{rank}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
