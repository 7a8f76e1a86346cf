# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A store as NeMo's data module; of this folder, only this file knows NeMo, whose import takes some 20 seconds."""

from functools import cached_property
from pathlib import Path
from typing import Literal, Union

import torch
from nemo.lightning.data import WrappedDataLoader
from nemo.lightning.pytorch.plugins import MegatronDataSampler

from bionemo.llm.data.datamodule import MegatronDataModule
from bionemo.scale.data.sets.collate import pack, pack_in_worker
from bionemo.scale.data.sets.dataset import CellSetDataset
from bionemo.scale.data.sets.sampler import PROPORTIONAL, Sampling, SetSampler
from bionemo.scale.data.store.reader import Store
from bionemo.scale.types import Split


class ScaleDataModule(MegatronDataModule):
    """Train and validation sets of a store, dealt to data-parallel ranks by Megatron's sequential sampler.

    Place ``i`` of training holds the same sets whatever the number of processes, and a resumed run goes on with the
    place after the last one it used. Validation is one pass over the validation split, the same every time, filled up
    to whole global batches by starting over. A store without validation cells gives no validation loader; run the
    trainer with ``limit_val_batches=0`` then.

    Args:
        store: Folder of the store.
        set_size: N, most cells of a set.
        micro_batch_size: Places that a process reads at once, of one set of N cells or of several smaller ones.
        global_batch_size: Places of an optimizer step over all processes.
        seq_length: What Megatron is told of the sequence length; the model knows what a set becomes.
        seed: Order of cells and sets.
        sampling: What shares a set, and how often it is drawn; validation takes every perturbed cell once.
        num_workers: Processes that read ahead; 0 reads in the training process.
    """

    def __init__(
        self,
        store: Union[str, Path],  # noqa: UP007 - NeMo-Run reads no other spelling
        *,
        set_size: int,
        micro_batch_size: int,
        global_batch_size: int,
        seq_length: int,
        seed: int,
        sampling: Sampling = PROPORTIONAL,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.store_path = Path(store)
        self.set_size = set_size
        self.micro_batch_size = micro_batch_size
        self.global_batch_size = global_batch_size
        # NeMo's telemetry reads it.
        self.seq_length = seq_length
        self.seed = seed
        self.sampling = sampling
        self.num_workers = num_workers
        self.data_sampler = MegatronDataSampler(
            seq_len=seq_length,
            micro_batch_size=micro_batch_size,
            global_batch_size=global_batch_size,
            dataloader_type="single",
            output_log=False,
        )
        self._train: CellSetDataset | None = None
        self._val: CellSetDataset | None = None

    @cached_property
    def store(self) -> Store:
        """The open store."""
        return Store.open(self.store_path, blind=self.sampling.blind)

    @property
    def train_sampler(self) -> SetSampler:
        """What decides which set is read when."""
        if self._train is None:
            raise RuntimeError("setup() has to be called before sets are planned")
        return self._train.sampler

    @property
    def has_validation(self) -> bool:
        """Whether the store has validation cells."""
        return len(self.store.groups.perturbed_in(Split.VAL)) > 0

    @property
    def num_val_steps(self) -> int:
        """Global batches of a validation, 0 without validation cells; ``limit_val_batches`` for the trainer."""
        return 0 if not self.has_validation else len(self._validation()) // self.global_batch_size

    def setup(self, stage: str | None = None) -> None:
        """Plan the sets: ``trainer.max_steps`` global batches for training.

        Raises:
            InputError: The store cannot be used.
        """
        if stage != "validate":
            max_steps = self.trainer.max_steps
            if max_steps < 1:
                raise ValueError(f"expected a trainer with max_steps, got {max_steps}")
            self._train = CellSetDataset(
                self.store,
                Split.TRAIN,
                self.set_size,
                seed=self.seed,
                sampling=self.sampling,
                num_samples=max_steps * self.global_batch_size,
            )
        self._val = self._validation() if self.has_validation else None

    def train_dataloader(self) -> WrappedDataLoader:
        """Return the loader of packed training sets; NeMo puts Megatron's sampler in."""
        # What was consumed so far counts from here; the validation loader must not move it.
        self.update_init_global_step()
        return self._loader(self._train, "train")

    def val_dataloader(self) -> WrappedDataLoader | list:
        """Return the loader of packed validation sets, or no loader without validation cells."""
        return [] if self._val is None else self._loader(self._val, "validation")

    def _validation(self) -> CellSetDataset:
        every_cell = Sampling(sets=self.sampling.sets)
        once = CellSetDataset(self.store, Split.VAL, self.set_size, seed=self.seed, sampling=every_cell)
        whole = -(-len(once) // self.global_batch_size) * self.global_batch_size
        return CellSetDataset(
            self.store,
            Split.VAL,
            self.set_size,
            seed=self.seed,
            sampling=every_cell,
            num_samples=whole,
            repeat_first_epoch=True,
        )

    def _loader(self, dataset: CellSetDataset | None, mode: Literal["train", "validation"]) -> WrappedDataLoader:
        if dataset is None:
            raise RuntimeError("setup() has to be called before loaders are made")
        return WrappedDataLoader(
            mode=mode,
            dataset=dataset,
            batch_size=self.micro_batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=pack_in_worker if self.num_workers else pack,
        )
