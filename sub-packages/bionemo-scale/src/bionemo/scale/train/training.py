# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""One training run, from settings to a run folder.

Importing this module imports NeMo, which takes 15 s or so; install the CPU backend first where there is no GPU.
"""

import os
import shutil
import zlib
from pathlib import Path
from typing import Any, TextIO

import torch
import yaml
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from nemo import lightning as nl
from nemo.collections import llm

from bionemo.scale.data.agents import Grammar
from bionemo.scale.data.datamodule import ScaleDataModule
from bionemo.scale.data.reader import Store
from bionemo.scale.data.sampler import Sampling
from bionemo.scale.megatron.kernels import PRECISIONS, choose_layer_spec
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.scale_model import packed_length
from bionemo.scale.train.average import WeightAverage
from bionemo.scale.train.callbacks import RunMonitor, StopOnSignal
from bionemo.scale.train.config import ScaleConfig
from bionemo.scale.train.dropout import DropoutSeed
from bionemo.scale.train.fields import parse_overrides, size_fields
from bionemo.scale.train.finetune import (
    Start,
    TrainableReport,
    check_architecture,
    check_features,
    compare,
    find_start,
    inherited_fields,
    report,
)
from bionemo.scale.train.keeping import checkpointing, resuming
from bionemo.scale.train.module import adamw_with_cosine, scale_lightning_module, shards_optimizer
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.train.stopping import TrainingInterrupted
from bionemo.scale.train.tables import (
    TABLES_NAME,
    Perturbations,
    card_of_training,
    read_perturbations,
    write_tables,
)
from bionemo.scale.types import DataCard, GroupMeans, InputError, Split


def train(settings: TrainSettings, stream: TextIO) -> Path:
    """Train to ``settings.max_steps``, from where the run folder stands.

    Args:
        settings: The run.
        stream: Where progress is shown.

    Returns:
        The run folder: metrics.csv, config.yaml, split.json, checkpoints/, tensorboard/, logs/.

    Raises:
        InputError: If the store, the settings or what the folder already holds do not fit.
        TrainingInterrupted: If a signal ended it early; the same call continues.
        TrainingStopped: If the loss is no number any more, or has exploded.
    """
    with Store.open(settings.store) as store:
        has_validation = len(store.groups.perturbed_in(Split.VAL)) > 0
        training = store.group_means(Split.TRAIN)
        card = card_of_training(store.card, training)
        overrides = parse_overrides(ScaleModelConfig, settings.overrides)
        start = None if settings.from_checkpoint is None else find_start(settings)
        inherited = {} if start is None else inherited_fields(start)
        grammar = _grammar({**inherited, **overrides})
        perturbations = read_perturbations(card.perturbations, grammar, settings.perturbation_features)
        config = model_config(settings, card, perturbations, start)
        matches = None if start is None or start.continues else compare(settings, start, config)
        is_sharded = shards_optimizer(settings.out)
        _prepare_run_folder(settings, config, training, perturbations, is_sharded=is_sharded)
    if matches is not None:
        config.start_from = str(start.path)
        if os.environ.get("RANK", "0") == "0":
            stream.write(report(settings, start, matches))
    data = ScaleDataModule(
        store=settings.store,
        set_size=settings.set_size,
        micro_batch_size=settings.micro_batch_size,
        global_batch_size=settings.global_batch_size,
        seq_length=packed_length(settings.set_size),
        seed=settings.seed,
        num_workers=settings.num_workers,
        sampling=Sampling(weighting=settings.weighting, control_share=settings.control_share),
    )
    optimizer = adamw_with_cosine(
        lr=settings.lr,
        max_steps=settings.max_steps,
        warmup_steps=max(1, min(settings.warmup_steps, settings.max_steps // 10)),
        weight_decay=settings.weight_decay,
        use_distributed_optimizer=is_sharded,
        bf16=PRECISIONS[settings.precision].dtype is torch.bfloat16,
    )
    trainer = _trainer(settings, stream, has_validation=has_validation)
    stopper = StopOnSignal()
    # As the monitor: not an argument, so that the checkpoint's context does not hold it.
    trainer.callbacks.append(stopper)
    if matches is not None:
        trainer.callbacks.append(TrainableReport(stream))
    try:
        llm.train(
            model=scale_lightning_module(config, optimizer),
            data=data,
            trainer=trainer,
            log=nl.NeMoLogger(
                explicit_log_dir=str(settings.out / "logs" / "nemo"),
                update_logger_directory=False,
                ckpt=checkpointing(settings, has_validation=has_validation),
            ),
            resume=resuming(settings),
        )
    finally:
        stopper.restore()
    if stopper.received is not None and trainer.global_step < settings.max_steps:
        raise TrainingInterrupted(
            f"stopped by {stopper.received} and saved at step {trainer.global_step} of {settings.max_steps}"
        )
    return settings.out


def model_config(
    settings: TrainSettings, card: DataCard, perturbations: Perturbations, start: Start | None = None
) -> ScaleConfig:
    """Return the model's configuration: a size or a checkpoint's, the data's dimensions, the layout, the user's fields.

    Raises:
        InputError: If they do not fit one another.
    """
    overrides = parse_overrides(ScaleModelConfig, settings.overrides)
    _check_overrides(overrides)
    agents, features = perturbations.agents, perturbations.features
    if start is not None:
        check_architecture(settings, overrides, start)
        check_features(start, 0 if features is None else features.shape[1])
    fields: dict[str, Any] = {
        "perturbation_source": "learned" if features is None else "both",
        **(size_fields(settings.size) if start is None else inherited_fields(start)),
        "num_genes": len(card.genes),
        "num_cell_types": len(card.cell_types),
        "num_perturbations": len(card.perturbations),
        "num_batches": len(card.batches),
        "set_size": settings.set_size,
        "seed": settings.seed,
        "tensor_model_parallel_size": settings.tensor_parallel,
        "pipeline_model_parallel_size": settings.pipeline_parallel,
        "layer_spec": choose_layer_spec(settings.spec, settings.precision),
        **PRECISIONS[settings.precision].config_fields(),
        "data_card": card.to_json(),
        "tables_file": str(settings.out / TABLES_NAME),
        "frozen": ",".join(settings.freeze),
        "lora": settings.lora,
        "num_agents": len(agents.names),
        "max_agents": agents.members.shape[1],
        "feature_size": 0 if features is None else features.shape[1],
        **overrides,
    }
    if (fields["perturbation_source"] == "learned") == bool(fields["feature_size"]):
        raise InputError(
            f"--set perturbation_source={fields['perturbation_source']}: features go with --perturbation-features and "
            "with no other source than features or both"
        )
    try:
        return ScaleConfig(**fields)
    except (ValueError, AssertionError) as error:
        raise InputError(f"model configuration: {error}") from error


def _check_overrides(overrides: dict[str, Any]) -> None:
    """Refuse fields that say how a run goes: what decides them must know of them."""
    owners = {
        "layer_spec": "--spec",
        "tensor_model_parallel_size": "--tensor-parallel",
        "pipeline_model_parallel_size": "--pipeline-parallel",
        **dict.fromkeys(PRECISIONS["fp8"].config_fields(), "--precision"),
    }
    for name in overrides.keys() & owners.keys():
        raise InputError(f"--set {name}: use {owners[name]}")


def _grammar(overrides: dict[str, Any]) -> Grammar:
    return Grammar(combination=overrides.get("combination_separator", ""), dose=overrides.get("dose_separator", ""))


def _trainer(settings: TrainSettings, stream: TextIO, *, has_validation: bool) -> nl.Trainer:
    on_gpu = torch.cuda.is_available()
    strategy = nl.MegatronStrategy(
        tensor_model_parallel_size=settings.tensor_parallel,
        pipeline_model_parallel_size=settings.pipeline_parallel,
        pipeline_dtype=PRECISIONS[settings.precision].dtype,
        process_group_backend="nccl" if on_gpu else "gloo",
        ddp="megatron",
        gradient_as_bucket_view=True,
        ckpt_async_save=on_gpu if settings.async_checkpoints == "auto" else settings.async_checkpoints == "on",
        ckpt_parallel_load=True,
        # Another number of tensor or pipeline parallel processes can continue a sharded optimizer too.
        ckpt_optim_fully_reshardable=True,
    )
    monitor = RunMonitor(
        run_dir=settings.out,
        log_every=settings.log_interval,
        cells_per_step=settings.global_batch_size * settings.set_size,
        stream=stream,
    )
    trainer = nl.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=strategy,
        plugins=_precision_plugin(settings.precision),
        max_steps=settings.max_steps,
        accumulate_grad_batches=1,
        val_check_interval=min(settings.val_interval, settings.max_steps),
        limit_val_batches=1.0 if has_validation else 0,
        num_sanity_val_steps=0,
        log_every_n_steps=settings.log_interval,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        logger=TensorBoardLogger(save_dir=str(settings.out), name="tensorboard", version=""),
    )
    # Not an argument: NeMo copies those into the checkpoint's context, and a stream cannot be copied.
    trainer.callbacks.append(monitor)
    trainer.callbacks.append(WeightAverage())
    trainer.callbacks.append(DropoutSeed(settings.seed))
    if settings.wandb:
        trainer.loggers = [*trainer.loggers, _wandb(settings)]
    return trainer


def _wandb(settings: TrainSettings) -> WandbLogger:
    # The same id each time a run goes on: one curve.
    identity = f"{settings.out.name}-{zlib.crc32(str(settings.out).encode()):08x}"
    return WandbLogger(project=settings.wandb, name=settings.out.name, id=identity, save_dir=str(settings.out))


def _precision_plugin(name: str) -> nl.MegatronMixedPrecision | None:
    """Return what tells NeMo of a precision; single precision is what it does by itself."""
    fields = PRECISIONS[name].config_fields()
    if not fields.pop("bf16"):
        return None
    # Gradients are summed over micro-batches and ranks in float32.
    return nl.MegatronMixedPrecision(precision="bf16-mixed", grad_reduce_in_fp32=True, **fields)


def _prepare_run_folder(
    settings: TrainSettings,
    config: ScaleConfig,
    training: GroupMeans,
    perturbations: Perturbations,
    *,
    is_sharded: bool,
) -> None:
    """Write config.yaml, split.json and tables.npz; refuse a folder that holds another run."""
    resolved = {
        "run": settings.as_dict(),
        "model": _plain_fields(config),
        "optimizer": "sharded" if is_sharded else "whole",
    }
    path = settings.out / "config.yaml"
    if path.exists():
        _check_same_run(path, resolved)
    if os.environ.get("RANK", "0") != "0":
        # The first rank writes before it joins the others, so that they find everything when they build the model.
        return
    settings.out.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(yaml.safe_dump(resolved, sort_keys=True))
    temporary.replace(path)
    write_tables(settings.out / TABLES_NAME, DataCard.from_json(config.data_card), training, perturbations)
    split = settings.store / "split.json"
    if split.exists():
        shutil.copyfile(split, settings.out / "split.json")


def _plain_fields(config: ScaleConfig) -> dict[str, Any]:
    names = (*ScaleModelConfig.__annotations__, "ffn_hidden_size", "normalization")
    values = {name: getattr(config, name) for name in names if name not in ("init_method", "output_layer_init_method")}
    return {
        name: value if isinstance(value, int | float | str | bool) else str(value) for name, value in values.items()
    }


def _check_same_run(path: Path, resolved: dict[str, Any]) -> None:
    """A run may be continued further or on another layout, not with another model or other data."""
    earlier = yaml.safe_load(path.read_text())
    for name, value in resolved["model"].items():
        before = earlier["model"].get(name)
        if name not in ("tables_file", "use_cpu_initialization", "layer_spec") and before != value:
            raise InputError(
                f"{path}: the run folder holds another run: expected {name}={before}, found {value}; "
                "choose another --out, or remove the folder"
            )
    # The optimizer of bfloat16 parameters keeps copies of them that the other does not have.
    before, value = (run.get("precision", "fp32") for run in (earlier["run"], resolved["run"]))
    if PRECISIONS[before].dtype is not PRECISIONS[value].dtype:
        raise InputError(f"{path}: the run folder holds another run: expected --precision {before}, found {value}")
    for name in ("store", "seed", "set_size", "from_checkpoint", "freeze", "lora"):
        # A run of an earlier version has no such entry.
        before, value = earlier["run"].get(name) or None, resolved["run"][name] or None
        if before != value:
            raise InputError(
                f"{path}: the run folder holds another run: expected --{name.replace('_', '-')} {before}, "
                f"found {value}; choose another --out, or remove the folder"
            )
