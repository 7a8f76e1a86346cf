# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Every choice that makes a SCALE network, as fields on top of Megatron's TransformerConfig.

Megatron's own fields describe the transport blocks: ``hidden_size`` is the latent width D, ``num_layers`` the number
of blocks. The fields here say the rest, each with its role (:class:`bionemo.scale.megatron.roles.Role`). Sizes live in
:mod:`bionemo.scale.model.size.sizes`.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Any, Literal

import torch
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from bionemo.scale.megatron import roles
from bionemo.scale.megatron.kernels import LayerSpec, fp8_multiple
from bionemo.scale.types import SetKind


def leave_as_is(tensor: Tensor) -> Tensor:
    """Skip Megatron's initialisation: :mod:`bionemo.scale.model.weights` sets every weight in one place."""
    return tensor


@dataclass
class ScaleModelConfig(TransformerConfig):
    """The architecture and the objective of a SCALE network."""

    hidden_size: int = roles.architecture(128)
    num_layers: int = roles.architecture(2)
    num_attention_heads: int = roles.architecture(4)
    normalization: str = roles.architecture("LayerNorm")
    hidden_dropout: float = roles.objective(0.0)
    attention_dropout: float = roles.objective(0.0)
    add_bias_linear: bool = roles.architecture(True)
    layernorm_epsilon: float = roles.architecture(1e-5)
    # The fused kernels compile for CUDA. This one is of the architecture: it takes the tanh approximation of GELU.
    bias_activation_fusion: bool = roles.architecture(False)
    bias_dropout_fusion: bool = roles.layout(False)
    gradient_accumulation_fusion: bool = roles.layout(False)
    apply_rope_fusion: bool = roles.layout(False)
    use_cpu_initialization: bool = roles.layout(
        default_factory=lambda: not torch.cuda.is_available(), decided_by="this machine"
    )
    init_method: Callable | None = roles.layout(leave_as_is, decided_by="the model")
    output_layer_init_method: Callable | None = roles.layout(leave_as_is, decided_by="the model")

    num_genes: int = roles.data(2000)
    """Genes of a cell, G."""
    num_cell_types: int = roles.data(1)
    """Labels that have an embedding row; one more row stands for an unknown label."""
    num_perturbations: int = roles.data(1)
    """As num_cell_types; control has a row of its own and is not counted."""
    num_batches: int = roles.data(1)
    """As num_cell_types."""
    covariate_sizes: list[int] = roles.data(default_factory=list)
    """As num_cell_types, of each covariate."""
    set_size: int = roles.data(32, decided_by="--set-size")
    """Cells of a training set, N; a network takes sets of any size, this one it was trained on."""
    sets: SetKind = roles.data("batch", decided_by="--sets")
    """What shared a training set: cells of one batch, always N of them, or of several, N or a half, a quarter and so
    on. Prediction forms its sets in the same way."""
    expression_divisor: float = roles.architecture(10.0)
    """log1p expression is divided by this inside the model, and only there."""

    gene_encoder: Literal["llama", "attention"] = roles.architecture("llama")
    """Blocks over the gene tokens of one cell: RMSNorm, SwiGLU and rotary positions, or LayerNorm and GELU."""
    num_gene_tokens: int = roles.architecture(8)
    """Tokens a cell's genes are projected to, T."""
    encoder_hidden_size: int = roles.architecture(64)
    """Width of a gene token."""
    encoder_ffn_hidden_size: int = roles.architecture(256)
    """Width of the MLP of an encoder block."""
    encoder_num_layers: int = roles.architecture(2)
    """Encoder blocks."""
    encoder_num_attention_heads: int = roles.architecture(4)
    """Attention heads of an encoder block."""
    gene_pooling: Literal["concat", "mean"] = roles.architecture("concat")
    """How the gene tokens of a cell become its embedding h_i."""
    set_hidden_size: int = roles.architecture(128)
    """Width of phi and of the population summary s (equation 7)."""
    decoder_hidden_size: int = roles.architecture(256)
    """Width of the decoder's hidden layer."""

    condition_size: int = roles.architecture(64)
    """Width of a label embedding, d_c."""
    perturbation_source: Literal["learned", "features", "both"] = roles.architecture("learned")
    """What a perturbation is known by: a learned row (equation 31), given features, or their sum. Features let a
    network predict perturbations that it was not trained on."""
    feature_size: int = roles.data(0)
    """Width of the features of an agent."""
    combination_separator: str = roles.objective("")
    """What stands between the agents of a label such as "A+B"; empty: a label is one agent."""
    dose_separator: str = roles.architecture("")
    """What stands before the dose of an agent, as in "A@0.5"; empty: labels have no doses."""
    num_agents: int = roles.data(0)
    """Different agents of all labels; 0 is one a label."""
    max_agents: int = roles.data(1)
    """Most agents of one label."""
    condition_pooling: str = roles.architecture("seed")
    """How the condition tokens become one (equations 32, 33, 38): a name in
    :data:`bionemo.scale.model.condition.POOLINGS`."""
    condition_qk_norm: bool = roles.architecture(True)
    """Whether the condition tokens are weighed by cosines rather than by scaled inner products (equation 33). Beyond
    the paper: inner products grow until the token that varies least has all the weight, and the others, the
    perturbation among them, no gradient."""
    condition_injection: Literal["token", "token+cells"] = roles.architecture("token+cells")
    """Where the blocks see the condition: as a row of the sequence (equation 34), or also added to every cell as the
    time is. Beyond the paper: one row among N + 1 has little weight in attention."""
    cell_type_dropout: float = roles.objective(0.7)
    """Share of training sets whose cell type is given as unknown. Beyond the paper: a cell type without perturbed
    training cells is predicted under the unknown label, which this trains, rather than under a row that no gradient
    has touched. A fine-tuned run keeps the rows of cell types that its base run trained."""
    batch_dropout: float = roles.objective(0.1)
    """Likewise for the batch, so that controls of a batch that was not trained can be predicted from."""
    covariate_dropout: float = roles.objective(0.1)
    """Likewise for each covariate by itself."""
    label_scale: float = roles.architecture(10.0)
    """Factor on label embeddings. Beyond the paper, where it is 1: Adam moves every weight by about the learning rate,
    and a label's row only in the steps that draw the label; the factor makes that movement count."""
    condition_bias: bool = roles.architecture(True)
    """Whether the linear maps of the condition (equations 31 to 33) have biases. The paper writes none."""
    latent_norm: bool = roles.architecture(True)
    """Whether a latent cell is normalised to mean 0 and variance 1 over its coordinates. Beyond the paper: without it
    the flow loss can be lowered by shrinking the latent space."""
    transport_norm: bool = roles.architecture(True)
    """Whether a norm follows the last transport block. Beyond the paper, which has the head read the last block."""
    anchor: Literal["none", "additive"] = roles.architecture("none")
    """"additive": controls are first moved by the mean effect of their perturbation over the training contexts, and
    the network transports them from there. Beyond the paper."""

    parameterization: Literal["x", "v"] = roles.architecture("x")
    """What the head predicts: endpoint or displacement (equations 27 to 30)."""
    loss_space: Literal["x", "v", "jit-v"] = roles.objective("x")
    """Where the flow loss is taken: equation 25, equation 26, or the velocity as JiT takes it, which weighs the
    endpoint's squared error by 1 / (1 - t)^2."""
    prior: str = roles.objective("control")
    """Where the path starts: a name in :data:`bionemo.scale.flow.prior.PRIORS`."""
    start_share: float = roles.objective(0.5)
    """Share of the sets that are trained at t = 0, the others at a uniform time. Beyond the paper: at t > 0 the
    network reads the answer off Z_t, which holds the summary of the perturbed population, and need not learn what the
    perturbation's label means; at inference it starts at t = 0."""
    coupling: Literal["random", "ot"] = roles.objective("random")
    """Which control cell is paired with which perturbed cell of its set: any, or by optimal transport. Beyond the
    paper."""
    stop_gradient_target: bool = roles.objective(False)
    """Whether the flow loss leaves Z_1 alone. Beyond the paper."""
    decoder_bias: Literal["mean", "zero"] = roles.objective("mean")
    """What the decoder's last bias starts as: the mean expression of the training cells, or zero as the other biases.
    Beyond the paper: from zero the decoder takes hundreds of steps to reach the mean."""
    autoencoder_weight: float = roles.objective(10.0)
    """Weight of the autoencoding loss against the flow loss."""
    mmd_weight: float = roles.objective(0.5)
    """lambda_MMD of equation 13."""
    mmd_estimator: Literal["biased", "unbiased"] = roles.objective("biased")
    """Whether MMD^2 keeps the pairs of a cell with itself (equation 16) and is never negative."""
    endpoint_weight: float = roles.objective(200.0)
    """Weight of the squared error between the mean of the decoded endpoint and of the perturbed cells, in log1p space.
    Beyond the paper."""
    endpoint_mmd_weight: float = roles.objective(0.0)
    """Weight of MMD^2 between the decoded endpoint and the perturbed cells. Beyond the paper."""

    generation: Literal["decode", "displace", "contrast"] = roles.generation("contrast")
    """Decode the endpoint (equation 37); or add to the observed controls a decoded change: that from the start of the
    path to its end (displace), or that less the same change under the control label (contrast). The last two are
    beyond the paper."""
    additive_share: float = roles.generation(0.4)
    """Weight of the perturbation's mean effect over its training contexts in the mean change that contrast predicts;
    the network's change has the rest, and all of it where a perturbation was not trained. Beyond the paper."""
    counted_zeros: bool = roles.generation(True)
    """Whether contrast gives predicted cells the zeros that counting makes
    (:func:`bionemo.scale.population.with_counted_zeros`)."""
    num_generation_steps: int = roles.generation(1)
    """Steps of the solver at inference."""
    num_generation_samples: int = roles.generation(1)
    """Draws of a stochastic prior at inference, over which the decoded endpoint of each cell is averaged."""
    solver: Literal["euler", "heun"] = roles.generation("euler")
    """Solver at inference."""

    layer_spec: LayerSpec = roles.layout("local", decided_by="--spec")
    """Modules of a block: torch's, for CPU and GPU, or Transformer Engine's."""
    ema_decay: float = roles.objective(0.98)
    """Share that the running average of the weights keeps at each step; the average is what predicts. 0 keeps none.
    Beyond the paper."""
    tables_file: str = roles.layout("", decided_by="the run folder")
    """Where a new network finds what training data says of genes and labels (:mod:`bionemo.scale.train.tables`); a
    checkpoint holds it itself."""
    seed: int = roles.data(0, decided_by="--seed")
    """Seed of the initial weights."""

    def __post_init__(self) -> None:
        # Megatron's own checks come second: they fail on some of what is refused here, in their own words.
        roles.check_heeded(self)
        _check_whole_layers(self)
        super().__post_init__()
        check_config(self)


def check_config(config: ScaleModelConfig) -> None:
    """Refuse what Megatron would run without a word, or fail on much later.

    Raises:
        ValueError: With the fields, what they should be and what they are.
    """
    if not 0 <= config.additive_share <= 1:
        raise ValueError(f"additive_share must be between 0 and 1, found {config.additive_share}")
    if config.normalization not in ("LayerNorm", "RMSNorm"):
        raise ValueError(f"normalization must be LayerNorm or RMSNorm, found {config.normalization!r}")
    _check_widths(config)
    _check_heads(config)
    _check_stages(config)
    _check_recomputation(config)
    _check_fp8(config)
    if config.gradient_accumulation_fusion and find_spec("fused_weight_gradient_mlp_cuda") is None:
        raise ValueError(
            "gradient_accumulation_fusion needs Apex's extension fused_weight_gradient_mlp_cuda, found none"
        )


def _check_whole_layers(config: ScaleModelConfig) -> None:
    """Refuse layouts that the network's own parts do not follow."""
    if config.sequence_parallel:
        # The condition token is the last row of the sequence, and N + 1 rows rarely divide by the ranks.
        raise ValueError(
            "sequence_parallel must be false: blocks treat the last row of a sequence apart, and rows split over "
            "tensor parallel ranks would hide it from all but one"
        )
    if config.virtual_pipeline_model_parallel_size is not None:
        raise ValueError(
            "virtual_pipeline_model_parallel_size must not be set: encoder and decoder belong to whole stages, found "
            f"{config.virtual_pipeline_model_parallel_size}"
        )


def _check_widths(config: ScaleModelConfig) -> None:
    tensor = config.tensor_model_parallel_size
    divisible = {
        "num_attention_heads": config.num_attention_heads,
        "encoder_num_attention_heads": config.encoder_num_attention_heads,
        "hidden_size": config.hidden_size,
        "ffn_hidden_size": config.ffn_hidden_size,
        "encoder_ffn_hidden_size": config.encoder_ffn_hidden_size,
        "encoder_hidden_size": config.encoder_hidden_size,
        "set_hidden_size": config.set_hidden_size,
        "decoder_hidden_size": config.decoder_hidden_size,
        "condition_size": config.condition_size,
    }
    for name, value in divisible.items():
        if value % tensor:
            raise ValueError(f"{name} must be a multiple of the tensor parallel size {tensor}, found {value}")


def _check_heads(config: ScaleModelConfig) -> None:
    if config.num_attention_heads % config.num_query_groups:
        raise ValueError(
            f"num_attention_heads must be a multiple of num_query_groups={config.num_query_groups}, found "
            f"{config.num_attention_heads}"
        )
    heads = config.encoder_num_attention_heads
    # Rotary positions turn pairs of coordinates.
    step = 2 * heads if config.gene_encoder == "llama" else heads
    if config.encoder_hidden_size % step:
        raise ValueError(
            f"encoder_hidden_size must be a multiple of {step} with encoder_num_attention_heads={heads} and "
            f"gene_encoder={config.gene_encoder!r}, found {config.encoder_hidden_size}"
        )


def _check_stages(config: ScaleModelConfig) -> None:
    stages, ends = (
        config.pipeline_model_parallel_size,
        (
            config.num_layers_in_first_pipeline_stage,
            config.num_layers_in_last_pipeline_stage,
        ),
    )
    if stages > config.num_layers:
        raise ValueError(f"the pipeline parallel size must be at most num_layers={config.num_layers}, found {stages}")
    left, middle = config.num_layers - sum(end or 0 for end in ends), stages - sum(end is not None for end in ends)
    if left < 0 or (left % middle if middle else left):
        raise ValueError(
            f"num_layers={config.num_layers} must spread evenly over {stages} pipeline stages, or over those that are "
            "left beside num_layers_in_first_pipeline_stage and num_layers_in_last_pipeline_stage, found "
            f"{left} blocks for {middle}"
        )


def _check_recomputation(config: ScaleModelConfig) -> None:
    if config.recompute_granularity != "full":
        for name in ("recompute_method", "recompute_num_layers"):
            if getattr(config, name) is not None:
                raise ValueError(f"{name} needs recompute_granularity=full, found {config.recompute_granularity}")


def _check_fp8(config: ScaleModelConfig) -> None:
    if not config.fp8:
        defaults = {field.name: field.default for field in fields(config) if field.name.startswith("fp8_")}
        for name in sorted(defaults.keys() & roles.names_of(type(config))):
            if getattr(config, name) != defaults[name]:
                raise ValueError(f"{name} needs fp8: expected {defaults[name]}, found {getattr(config, name)}")
        return
    if config.layer_spec != "te":
        raise ValueError(f"fp8 needs Transformer Engine layers, found layer_spec={config.layer_spec!r}")
    tensor, multiple = config.tensor_model_parallel_size, fp8_multiple(config.fp8_recipe)
    for name in ("hidden_size", "ffn_hidden_size", "encoder_hidden_size", "encoder_ffn_hidden_size"):
        if getattr(config, name) // tensor % multiple:
            raise ValueError(
                f"{name} must be a multiple of {multiple * tensor} for FP8 ({config.fp8_recipe}) on {tensor} tensor "
                f"parallel ranks, found {getattr(config, name)}"
            )


def encoder_config(config: ScaleModelConfig) -> TransformerConfig:
    """Return the Megatron configuration of the gene encoder's blocks, all of them on the first pipeline stage.

    Whatever of Megatron's fields the encoder does not decide itself is as in the transport blocks.
    """
    llama = config.gene_encoder == "llama"
    own: dict[str, Any] = dict(
        num_layers=config.encoder_num_layers,
        hidden_size=config.encoder_hidden_size,
        ffn_hidden_size=config.encoder_ffn_hidden_size,
        num_attention_heads=config.encoder_num_attention_heads,
        num_query_groups=None,
        kv_channels=None,
        normalization="RMSNorm" if llama else "LayerNorm",
        gated_linear_unit=llama,
        activation_func=torch.nn.functional.silu if llama else torch.nn.functional.gelu,
        add_bias_linear=not llama,
        pipeline_model_parallel_size=1,
        num_layers_in_first_pipeline_stage=None,
        num_layers_in_last_pipeline_stage=None,
    )
    names = {field.name for field in fields(TransformerConfig)} & roles.names_of(type(config))
    return TransformerConfig(**{**{name: getattr(config, name) for name in names}, **own})
