# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The data module without a trainer's processes; training with it is tested in ``train``."""

import itertools
import json
from types import SimpleNamespace

import pytest
import torch
from nemo.lightning.data import add_megatron_sampler

from bionemo.scale.data.sets.collate import unpack
from bionemo.scale.data.sets.datamodule import ScaleDataModule
from bionemo.scale.types import Split


def make_module(store, max_steps=6, **options):
    arguments = {"set_size": 8, "micro_batch_size": 2, "global_batch_size": 8, "seq_length": 9, "seed": 4, **options}
    module = ScaleDataModule(store.path, **arguments)
    module.trainer = SimpleNamespace(max_steps=max_steps, global_step=0)
    module.setup("fit")
    return module


def seeds(loader, *, rank=0, ranks=1, consumed=0):
    sampled = add_megatron_sampler(
        loader, micro_batch_size=2, global_batch_size=8, rank=rank, world_size=ranks, consumed_samples=consumed
    )
    return [batch["seed"].tolist() for batch in sampled]


def test_training_has_a_global_batch_for_every_step(kang_store):
    loader = make_module(kang_store).train_dataloader()
    assert len(loader.dataset) == 48 and loader.mode == "train" and not loader.pin_memory
    (batch,) = unpack(next(iter(loader)), torch.device("cpu"))
    assert batch["control"].shape == batch["perturbed"].shape == (2, 8, 2000)


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_read_the_sequence_together(kang_store, ranks):
    loader = make_module(kang_store).train_dataloader()
    alone = [seed for batch in seeds(loader) for seed in batch]
    per_rank = [seeds(loader, rank=rank, ranks=ranks) for rank in range(ranks)]
    together = [seed for step in zip(*per_rank, strict=True) for batch in step for seed in batch]
    assert together == alone and len(set(alone)) == 48


def test_a_resumed_run_goes_on_with_the_next_set(kang_store):
    whole = seeds(make_module(kang_store).train_dataloader())
    # A longer run than planned at first must not change the order either.
    resumed = seeds(make_module(kang_store, max_steps=9).train_dataloader(), consumed=24)
    assert resumed[: len(whole) - 12] == whole[12:]


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 1), (1, 0)])
def test_resuming_with_other_workers_reads_exactly_the_rest(kang_store, before, after):
    """In the middle of an epoch, with other worker processes than before: the same cells in the same order."""

    def batches(workers, *, consumed=0, limit=6):
        loader = make_module(kang_store, max_steps=6, num_workers=workers).train_dataloader()
        sampled = add_megatron_sampler(
            loader, micro_batch_size=2, global_batch_size=8, rank=0, world_size=1, consumed_samples=consumed
        )
        return list(itertools.islice(sampled, limit))

    whole = batches(0, limit=12)
    first, rest = batches(before, limit=6), batches(after, consumed=12, limit=6)
    for found, expected in zip([*first, *rest], whole, strict=True):
        assert found.keys() == expected.keys()
        assert found["num_genes"] == expected["num_genes"] == 2000
        assert all(torch.equal(found[name], expected[name]) for name in expected if name != "num_genes")


def test_validation_is_whole_batches_of_the_same_sets(kang_store):
    module = make_module(kang_store)
    dataset = module.val_dataloader().dataset
    once = dataset.sampler.num_sets
    assert len(dataset) % 8 == 0 and 0 <= len(dataset) - once < 8
    assert module.num_val_steps == len(dataset) // 8
    first, second = seeds(module.val_dataloader()), seeds(module.val_dataloader())
    assert first == second
    flat = [seed for batch in first for seed in batch]
    assert len(set(flat)) == once and flat[once:] == flat[: len(flat) - once]


def test_without_validation_cells_there_is_no_loader(make_store, screen):
    module = make_module(make_store(screen))
    assert not module.has_validation and module.num_val_steps == 0
    assert module.val_dataloader() == []
    assert module.store.groups.perturbed_in(Split.VAL).size == 0


def test_the_sampler_tells_megatron_the_sequence_length(kang_store):
    sampler = make_module(kang_store, seq_length=33).data_sampler
    assert (sampler.seq_len, sampler.micro_batch_size, sampler.global_batch_size) == (33, 2, 8)
    assert not sampler.output_log and sampler.dataloader_type == "single"


def test_steps_must_be_known(kang_store):
    with pytest.raises(ValueError, match="max_steps"):
        make_module(kang_store, max_steps=-1)


def test_loaders_need_setup(kang_store):
    module = ScaleDataModule(
        kang_store.path, set_size=8, micro_batch_size=2, global_batch_size=8, seq_length=9, seed=4
    )
    module.trainer = SimpleNamespace(max_steps=6, global_step=3)
    with pytest.raises(RuntimeError, match="setup"):
        module.train_dataloader()
    assert json.loads(kang_store.split_json)["sha256"] == module.store.card.split_sha256
