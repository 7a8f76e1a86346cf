# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a block is made of: the parts of an encoder block and of a transport block, for each layer spec.

Megatron builds its blocks from a spec. Ours differ from its GPT specs in two ways: there is no mask (the cells of a
set and the gene tokens of a cell have no order), and in the "local" spec attention goes through torch's scaled dot
product attention. The "te" spec takes Transformer Engine's modules, which fuse each norm with the linear map after it
and can multiply in FP8. Both save their weights under the same names.
"""

import contextlib
from typing import Any

import torch
from jaxtyping import Float
from megatron.core.fusions.fused_bias_dropout import get_bias_dropout_add
from megatron.core.models.common.embeddings.rope_utils import apply_rotary_pos_emb
from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear, get_cuda_rng_tracker
from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.mlp import MLP, MLPSubmodules
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.torch_norm import WrappedTorchNorm
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.transformer_layer import (
    BaseTransformerLayer,
    TransformerLayer,
    TransformerLayerSubmodules,
)
from torch import Tensor, nn

from bionemo.scale.model.layers import autocasts, root_mean_square, swiglu


class TorchAttention(nn.Module):
    """Softmax attention by torch, in the layout Megatron's SelfAttention hands to its core.

    Megatron's own unfused core asks for a CUDA memory buffer and a mask; torch's kernel needs neither.
    """

    def __init__(self, config: TransformerConfig, layer_number: int, attn_mask_type: AttnMaskType, **kwargs: Any):
        super().__init__()
        if attn_mask_type != AttnMaskType.no_mask:
            raise ValueError(f"sets have no order: expected no mask, found {attn_mask_type}")
        self.dropout = config.attention_dropout

    def forward(
        self,
        query: Float[Tensor, "S B H K"],
        key: Float[Tensor, "S B Q K"],
        value: Float[Tensor, "S B Q K"],
        attention_mask: None = None,
        **kwargs: Any,
    ) -> Float[Tensor, "S B E"]:
        """Attend within each sequence; S tokens, H heads and Q query groups on this rank, E = H * K."""
        precision, in_float32 = query.dtype, attends_in_float32(query.device)
        query, key, value = (x.permute(1, 2, 0, 3) for x in (query, key, value))
        if in_float32 and precision.itemsize < 4:
            query, key, value = query.float(), key.float(), value.float()
        dropout = self.dropout if self.training else 0.0
        # Each tensor parallel rank has heads of its own, and drops with random numbers of its own.
        with (
            get_cuda_rng_tracker().fork() if dropout else contextlib.nullcontext(),
            torch.autocast(query.device.type, enabled=False) if in_float32 else contextlib.nullcontext(),
        ):
            context = torch.nn.functional.scaled_dot_product_attention(
                query, key, value, dropout_p=dropout, enable_gqa=query.shape[1] != key.shape[1]
            )
        return context.permute(2, 0, 1, 3).flatten(2).to(precision)


def attends_in_float32(device: torch.device) -> bool:
    """Whether attention reads float32 in any precision: on a CPU, where in bfloat16 it takes 2 to 4 times as long."""
    return device.type == "cpu"


def block_submodules(
    config: TransformerConfig, layer: type[BaseTransformerLayer], *, layer_spec: str
) -> TransformerBlockSubmodules:
    """Return the layers of this pipeline stage and the norm that ends the block.

    Args:
        config: Configuration of the block.
        layer: Class of a layer; its forward says how attention and MLP are put together.
        layer_spec: "local" or "te".
    """
    submodules = {"local": _local_submodules, "te": _te_submodules}[layer_spec]()
    return TransformerBlockSubmodules(
        layer_specs=[ModuleSpec(module=layer, submodules=submodules)] * get_num_layers_to_build(config),
        # Of torch in both specs: one norm a stack is not worth the extra state that Transformer Engine's would add to
        # checkpoints.
        layer_norm=WrappedTorchNorm,
    )


def _local_submodules() -> TransformerLayerSubmodules:
    return TransformerLayerSubmodules(
        input_layernorm=WrappedTorchNorm,
        self_attention=ModuleSpec(
            module=SelfAttention,
            params={"attn_mask_type": AttnMaskType.no_mask},
            submodules=SelfAttentionSubmodules(
                linear_qkv=ColumnParallelLinear, core_attention=TorchAttention, linear_proj=RowParallelLinear
            ),
        ),
        self_attn_bda=get_bias_dropout_add,
        pre_mlp_layernorm=WrappedTorchNorm,
        mlp=ModuleSpec(
            module=MLP, submodules=MLPSubmodules(linear_fc1=ColumnParallelLinear, linear_fc2=RowParallelLinear)
        ),
        mlp_bda=get_bias_dropout_add,
        # Transformer Engine keeps a norm inside the linear that follows it; one name for both in checkpoints.
        sharded_state_dict_keys_map={
            "input_layernorm.": "self_attention.linear_qkv.layer_norm_",
            "pre_mlp_layernorm.": "mlp.linear_fc1.layer_norm_",
        },
    )


def _te_submodules() -> TransformerLayerSubmodules:
    # Megatron's wrappers of Transformer Engine; without the package they can be imported and not built.
    from megatron.core.extensions.transformer_engine import (
        TEDotProductAttention,
        TELayerNormColumnParallelLinear,
        TERowParallelLinear,
    )

    return TransformerLayerSubmodules(
        self_attention=ModuleSpec(
            module=SelfAttention,
            params={"attn_mask_type": AttnMaskType.no_mask},
            submodules=SelfAttentionSubmodules(
                linear_qkv=TELayerNormColumnParallelLinear,
                core_attention=TEDotProductAttention,
                linear_proj=TERowParallelLinear,
            ),
        ),
        self_attn_bda=get_bias_dropout_add,
        mlp=ModuleSpec(
            module=MLP,
            submodules=MLPSubmodules(linear_fc1=TELayerNormColumnParallelLinear, linear_fc2=TERowParallelLinear),
        ),
        mlp_bda=get_bias_dropout_add,
    )


def _is_whole(layer: TransformerLayer) -> bool:
    """Return whether this rank has all of a layer's maps, without adapters."""
    attention, mlp = layer.self_attention, layer.mlp
    linears = (attention.linear_qkv, attention.linear_proj, mlp.linear_fc1, mlp.linear_fc2)
    return layer.config.tensor_model_parallel_size == 1 and all(
        type(linear) in (ColumnParallelLinear, RowParallelLinear) for linear in linears
    )


class TransportLayer(TransformerLayer):
    """One transport block: attention and MLP side by side on the cells and the condition token (equations 34 to 36).

    The condition token is the last row of the sequence. It takes part in attention, and what the block made of it is
    thrown away: the next block sees the condition as it was.

    A network that predicts on a CPU takes both norms at once, their gains and biases into the weights after them, and
    maps to queries, keys, values and hidden features by one product.
    """

    def forward(
        self, hidden_states: Float[Tensor, "S B D"], attention_mask: None = None, **kwargs: Any
    ) -> tuple[Float[Tensor, "S B D"], None]:
        """Update the cells; return (hidden_states, None) as Megatron's block expects."""
        if self.is_merged(hidden_states):
            return self.finish_merged(hidden_states, self.merged()), None
        attention, attention_bias = self.self_attention(self.input_layernorm(hidden_states), attention_mask=None)
        mlp, mlp_bias = self.mlp(self.pre_mlp_layernorm(hidden_states))
        update = self._drop(_with_bias(attention, attention_bias)) + self._drop(_with_bias(mlp, mlp_bias))
        cells = hidden_states[:-1] + update[:-1]
        return torch.cat([cells, hidden_states[-1:]]), None

    def _drop(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, p=self.hidden_dropout, training=self.training)

    def is_merged(self, hidden_states: Tensor) -> bool:
        """Return whether the maps after both norms are one product: in a prediction in float32 on one CPU rank."""
        return (
            not (self.training or torch.is_grad_enabled() or hidden_states.is_cuda or autocasts(hidden_states))
            and hidden_states.dtype == torch.float32
            and self.config.normalization == "LayerNorm"
            and self.config.add_bias_linear
            and self.config.num_query_groups == self.config.num_attention_heads
            and not self.config.gated_linear_unit
            and _is_whole(self)
        )

    def merged(self) -> tuple[Float[Tensor, "M D"], Float[Tensor, " M"]]:
        """Return weights and biases that map a normalised row to its query, key and value and to hidden features."""
        pairs = (
            (self.input_layernorm, self.self_attention.linear_qkv),
            (self.pre_mlp_layernorm, self.mlp.linear_fc1),
        )
        return (
            torch.cat([linear.weight * norm.weight for norm, linear in pairs]),
            torch.cat([torch.addmv(linear.bias, linear.weight, norm.bias) for norm, linear in pairs]),
        )

    def finish_merged(
        self, hidden_states: Float[Tensor, "S B D"], merged: tuple[Float[Tensor, "M D"], Float[Tensor, " M"]]
    ) -> Float[Tensor, "S B D"]:
        """Update the cells, given :meth:`merged`."""
        normed = nn.functional.layer_norm(hidden_states, hidden_states.shape[-1:], eps=self.input_layernorm.eps)
        return self.finish(hidden_states, nn.functional.linear(normed, *merged))

    def finish(self, hidden_states: Float[Tensor, "S B D"], mapped: Float[Tensor, "S B M"]) -> Float[Tensor, "S B D"]:
        """Update the cells by what :meth:`merged` maps all rows to."""
        attention, mlp = self.self_attention, self.mlp
        heads, size = attention.num_attention_heads_per_partition, attention.hidden_size_per_attention_head
        mixed, hidden = mapped.split([3 * heads * size, mlp.linear_fc1.weight.shape[0]], dim=-1)
        query, key, value = mixed.unflatten(2, (heads, 3 * size)).split(size, dim=-1)
        context = attention.core_attention(query, key, value)
        hidden = self.config.activation_func(hidden)
        updated = hidden_states + (attention.linear_proj.bias + mlp.linear_fc2.bias)
        rows = updated.flatten(0, 1)
        rows.addmm_(context.flatten(0, 1), attention.linear_proj.weight.T)
        rows.addmm_(hidden.flatten(0, 1), mlp.linear_fc2.weight.T)
        updated[-1] = hidden_states[-1]
        return updated


class EncoderLayer(TransformerLayer):
    """One block of the gene encoder, Megatron's; on the CPU by fewer operations that give the same numbers.

    The gain of each norm is taken into the weights after it, and so are rotary positions: a cell has few gene tokens,
    and each gets a query and key map of its own. Residuals are added by the matrix products. Megatron's own forward
    runs where anything else is asked for: several ranks, adapters, dropout, biases, a GPU.
    """

    def forward(
        self,
        hidden_states: Float[Tensor, "T C H"],
        attention_mask: None = None,
        rotary_pos_emb: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Float[Tensor, "T C H"], None]:
        """Update the tokens of each cell; return (hidden_states, None) as Megatron's block expects."""
        if hidden_states.is_cuda or not self._is_plain():
            hidden_states, _ = super().forward(
                hidden_states, attention_mask=attention_mask, rotary_pos_emb=rotary_pos_emb, **kwargs
            )
            return hidden_states, None
        tokens = self._attend(hidden_states, rotary_pos_emb)
        return self._transform(tokens), None

    def _is_plain(self) -> bool:
        config = self.config
        return (
            config.normalization == "RMSNorm"
            and not config.add_bias_linear
            and not (self.training and (config.hidden_dropout or config.attention_dropout))
            and config.recompute_granularity != "selective"
            and _is_whole(self)
        )

    def _attend(self, tokens: Float[Tensor, "T C H"], rotary: Tensor | None) -> Float[Tensor, "T C H"]:
        attention, norm = self.self_attention, self.input_layernorm
        normed = root_mean_square(tokens, norm.eps)
        size, heads = attention.hidden_size_per_attention_head, attention.num_attention_heads_per_partition
        weight = attention.linear_qkv.weight * norm.weight
        if rotary is None:
            mixed = normed @ weight.T
        else:
            turned = self._rotation(rotary)[:, None] @ weight.view(heads, 3 * size, -1)
            mixed = torch.bmm(normed, turned.flatten(1, 2).transpose(1, 2))
        query, key, value = mixed.unflatten(2, (heads, 3 * size)).split(size, dim=-1)
        context = attention.core_attention(query, key, value)
        return _add_product(tokens, context, attention.linear_proj.weight)

    def _rotation(self, rotary: Float[Tensor, "T 1 1 K"]) -> Float[Tensor, "T R R"]:
        """Return what turns query and key weights of a head to the place of each token, and leaves values alone."""
        if self._rotations is None or self._rotations[0] is not rotary:
            size, places = rotary.shape[-1], rotary.shape[0]
            unit = torch.eye(size, device=rotary.device).expand(places, 1, size, size)
            turn = apply_rotary_pos_emb(unit, rotary, config=self.config)[:, 0].transpose(1, 2)
            whole = torch.eye(3 * size, device=rotary.device).repeat(places, 1, 1)
            whole[:, :size, :size] = whole[:, size : 2 * size, size : 2 * size] = turn
            self._rotations = rotary, whole.to(self.input_layernorm.weight.dtype)
        return self._rotations[1]

    _rotations: tuple[Tensor, Tensor] | None = None

    def _transform(self, tokens: Float[Tensor, "T C H"]) -> Float[Tensor, "T C H"]:
        norm = self.pre_mlp_layernorm
        normed = root_mean_square(tokens, norm.eps)
        hidden = swiglu(normed @ (self.mlp.linear_fc1.weight * norm.weight).T)
        return _add_product(tokens, hidden, self.mlp.linear_fc2.weight)


def _add_product(
    x: Float[Tensor, "T C H"], inputs: Float[Tensor, "T C I"], weight: Float[Tensor, "H I"]
) -> Float[Tensor, "T C H"]:
    return torch.addmm(x.flatten(0, 1), inputs.flatten(0, 1), weight.T).view_as(x)


def _with_bias(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias
