# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The SCALE network: encoder, conditional transport and decoder as one Megatron module.

Pipeline stages: the first encodes both populations, places them on the path and makes the condition token; every stage
runs its share of the transport blocks; the last has the head and the decoder. What travels between stages is one
tensor [Z_0; Z_1; H; c], stacked along the sequence axis: 3 N + 1 rows of B sets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int64
from megatron.core.enums import ModelType
from megatron.core.transformer.module import MegatronModule
from torch import Tensor, nn

from bionemo.scale.megatron.checkpoint import sharded_tensors
from bionemo.scale.model.condition import ConditionEncoder
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.decoder import Decoder
from bionemo.scale.model.gene_encoder import GeneEncoder, SparseCells
from bionemo.scale.model.layers import Linear, shallow_copy
from bionemo.scale.model.questions import AskedCells, asked_cells
from bionemo.scale.model.set_fusion import SetFusion
from bionemo.scale.model.transport import TransportBlocks, TransportInput
from bionemo.scale.types import CellBatch


PlaceOnPath = Callable[
    [Float[Tensor, "B N D"], Float[Tensor, "B N D"]], tuple[Float[Tensor, "B N D"], Float[Tensor, " B"]]
]
"""(Z_0, Z_1) -> (Z_t, t): what a training step trains on; the network knows nothing of how it is chosen."""


@dataclass(frozen=True, kw_only=True)
class ScaleOutput:
    """What the last pipeline stage knows after a training step."""

    z_0: Float[Tensor, "B N D"]
    z_1: Float[Tensor, "B N D"]
    head: Float[Tensor, "B N D"]
    """Endpoint or displacement, as the configuration's parameterization says."""
    observed: Float[Tensor, "P N G"]
    """All sets of controls, then of perturbed cells, on the model's scale: log1p over ``expression_divisor``."""
    decoded: Float[Tensor, "P N G"]
    """The same, encoded and decoded."""


class ScaleModel(MegatronModule):
    """Enc, g_theta, h and Dec of the paper, on this rank's pipeline stage."""

    # Read by NeMo and by Megatron's schedules.
    model_type = ModelType.encoder_or_decoder
    share_embeddings_and_output_weights = False
    vp_stage = None

    def __init__(self, config: ScaleModelConfig, *, pre_process: bool = True, post_process: bool = True):
        super().__init__(config)
        self.pre_process, self.post_process = pre_process, post_process
        self._input: Tensor | None = None
        # A stage holds the parts that it runs.
        self.gene_encoder = GeneEncoder(config) if pre_process else None
        self.set_fusion = SetFusion(config, GeneEncoder.output_size(config)) if pre_process else None
        self.condition_encoder = ConditionEncoder(config) if pre_process else None
        self.transport_input = TransportInput(config) if pre_process else None
        # Every stage needs the effects; one of them saves them.
        effects = torch.zeros(config.num_perturbations + 2, config.num_genes)
        self.register_buffer("effects", effects, persistent=pre_process)
        self.transport_blocks = TransportBlocks(config, is_last_stage=post_process)
        self.head = Linear(config, config.hidden_size, config.hidden_size) if post_process else None
        self.expression_decoder = Decoder(config) if post_process else None

    def bfloat16(self) -> "ScaleModel":
        """Convert the parts. The effects stay single precision: they are added to predictions as they are."""
        for child in self.children():
            child.bfloat16()
        return self

    def with_perturbations(
        self,
        members: Int64[Tensor, "L M"],
        *,
        doses: Float[Tensor, "L M"] | None = None,
        features: Float[Tensor, "A F"] | None = None,
    ) -> "ScaleModel":
        """Return a network that knows more perturbations, on a model that is one pipeline stage.

        It shares every weight with this one, which stays as it is. Arguments are those of
        :meth:`bionemo.scale.model.condition.PerturbationEncoder.with_labels`. The new labels have no mean effect.
        """
        network, encoder = shallow_copy(self), shallow_copy(held(self.condition_encoder))
        encoder.perturbation = encoder.perturbation.with_labels(members, doses=doses, features=features)
        network.condition_encoder = encoder
        network.effects = torch.cat([self.effects, self.effects.new_zeros(len(members), self.effects.shape[1])])
        return network

    def sharded_state_dict(
        self, prefix: str = "", sharded_offsets: tuple[Any, ...] = (), metadata: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Describe this rank's tensors to Megatron's checkpoints; any layout reads what any other wrote."""
        return sharded_tensors(self, prefix=prefix, sharded_offsets=sharded_offsets, metadata=metadata)

    def set_input_tensor(self, input_tensor: Tensor | list[Tensor] | None) -> None:
        """Take what the previous pipeline stage sent."""
        self._input = input_tensor[0] if isinstance(input_tensor, list) else input_tensor

    @property
    def received(self) -> Tensor | None:
        """What :meth:`set_input_tensor` took, ``None`` on the first stage."""
        return self._input

    def anchor(self, x: Float[Tensor, "B N G"], perturbation: Int64[Tensor, " B"]) -> Float[Tensor, "B N G"]:
        """Return where the controls start: themselves, or moved by their perturbation's mean effect."""
        if self.config.anchor == "none":
            return x
        return (x + self.effects[perturbation][:, None, :].to(x.dtype)).clamp_min(0.0)

    def encode(self, x: Float[Tensor, "B N G"]) -> Float[Tensor, "B N D"]:
        """Encode populations of log1p expression (equation 11)."""
        return self._encode(x / self.config.expression_divisor)

    def encode_sparse(self, cells: SparseCells, num_sets: int) -> Float[Tensor, "B N D"]:
        """Do the same with cells of sets of one size, where :meth:`GeneEncoder.takes_sparse`."""
        scaled = cells._replace(value=cells.value / self.config.expression_divisor)
        return held(self.set_fusion)(held(self.gene_encoder).of_sparse(scaled, num_sets))

    def decode(self, z: Float[Tensor, "B N D"]) -> Float[Tensor, "B N G"]:
        """Decode latent cells to log1p expression (equation 12)."""
        return held(self.expression_decoder)(z, self.config.expression_divisor).float()

    def decode_mean(
        self, z: Float[Tensor, "B N D"], share: Float[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B G"]:
        """Return the mean over the cells of :meth:`decode`, by their shares where they have any, for less."""
        return held(self.expression_decoder).mean(z, share).float() * self.config.expression_divisor

    def condition(
        self,
        cell_type: Int64[Tensor, " B"],
        perturbation: Int64[Tensor, " B"],
        batch: Int64[Tensor, "B ..."],
        *,
        covariates: Int64[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B D"]:
        """Return the condition token of each set (equation 33); the batch may be given for every cell."""
        return held(self.condition_encoder)(cell_type, perturbation, batch, covariates=covariates)

    def transport(
        self, z_t: Float[Tensor, "B N D"], t: Float[Tensor, " B"], condition: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B N D"]:
        """Return what the head predicts at (z_t, t), on a model that is one pipeline stage (equations 19 and 20)."""
        return self._read_out(self.transport_blocks(self._join(z_t, t, condition)))

    def asked_cells(self, z_0: Float[Tensor, "B N D"]) -> AskedCells | None:
        """Prepare cells at the start of the path for several conditions, where that is possible (:meth:`ask`)."""
        if self.config.condition_injection != "token+cells":
            return None
        times = torch.zeros(len(z_0), device=z_0.device)
        return asked_cells(self.transport_blocks, z_0, held(self.transport_input)(z_0, times))

    def ask(self, cells: AskedCells, condition: Float[Tensor, "B D"]) -> Float[Tensor, "B N D"]:
        """Return what :meth:`transport` does of the same cells at t = 0."""
        return self._read_out(cells.ask(condition))

    def forward(self, batch: CellBatch, place_on_path: PlaceOnPath) -> ScaleOutput | Float[Tensor, "S B D"]:
        """Run this stage's share of a training step.

        Args:
            batch: Sets of cells; each stage reads its own copy.
            place_on_path: Chooses Z_t and t for the encoded populations.

        Returns:
            On the last stage the :class:`ScaleOutput`, elsewhere what travels on.
        """
        num_cells, num_sets = batch["perturbed"].shape[1], len(batch["perturbed"])
        controls_of = batch.get("controls_of")
        observed = self._both_populations(batch) if self.pre_process or self.post_process else None
        if self.pre_process:
            z = self._encode(observed)
            z_0, z_1 = z[:-num_sets], z[-num_sets:]
            if controls_of is not None:
                z_0 = z_0[controls_of]
            z_t, t = place_on_path(z_0, z_1)
            condition = self.condition(
                batch["cell_type"], batch["perturbation"], batch["batch"], covariates=batch.get("covariates")
            )
            joint = self._join(z_t, t, condition)
        else:
            z_0, z_1, joint = _unpack(self._input, num_cells)
            z = torch.cat(
                [z_0 if controls_of is None else _first_of_each(z_0, controls_of, len(batch["control"])), z_1]
            )
        joint = self.transport_blocks(joint)
        if not self.post_process:
            return _pack(z_0, z_1, joint)
        # Losses are float32 in every precision.
        decoded, head = held(self.expression_decoder)(z).float(), self._read_out(joint).float()
        return ScaleOutput(z_0=z_0.float(), z_1=z_1.float(), head=head, observed=observed, decoded=decoded)

    def _both_populations(self, batch: CellBatch) -> Float[Tensor, "P N G"]:
        """Return what is encoded at once, on the model's scale, written to memory once."""
        populations = batch["control"], batch["perturbed"]
        counts = [len(cells) for cells in populations]
        both = populations[0].new_empty(sum(counts), *populations[0].shape[1:])
        for part, cells in zip(both.split(counts), populations, strict=True):
            torch.div(cells, self.config.expression_divisor, out=part)
        return both

    def _encode(self, x: Float[Tensor, "B N G"]) -> Float[Tensor, "B N D"]:
        return held(self.set_fusion)(held(self.gene_encoder)(x))

    def _join(self, z_t: Tensor, t: Tensor, condition: Tensor) -> Float[Tensor, "S B D"]:
        cells = held(self.transport_input)(z_t, t).transpose(0, 1)
        if self.config.condition_injection == "token+cells":
            cells = cells + condition[None]
        return torch.cat([cells, condition[None]])

    def _read_out(self, joint: Float[Tensor, "S B D"]) -> Float[Tensor, "B N D"]:
        return held(self.head)(joint[:-1].transpose(0, 1))


_Part = TypeVar("_Part", bound=nn.Module)


def held(part: _Part | None) -> _Part:
    """Return a part that this stage must hold."""
    if part is None:
        raise RuntimeError("another pipeline stage holds this part of the network")
    return part


def _first_of_each(
    of_sets: Float[Tensor, "B N D"], controls_of: Int64[Tensor, " B"], num_controls: int
) -> Float[Tensor, "C N D"]:
    """Return each set of controls once, in the order that ``controls_of`` numbers them by."""
    numbers = torch.arange(num_controls, device=controls_of.device)
    return of_sets[(controls_of == numbers[:, None]).int().argmax(dim=1)]


def _pack(z_0: Float[Tensor, "B N D"], z_1: Float[Tensor, "B N D"], joint: Float[Tensor, "S B D"]) -> Tensor:
    return torch.cat([z_0.transpose(0, 1), z_1.transpose(0, 1), joint]).contiguous()


def _unpack(packed: Float[Tensor, "P B D"], num_cells: int) -> tuple[Tensor, Tensor, Tensor]:
    z_0, z_1, joint = packed.split([num_cells, num_cells, num_cells + 1])
    return z_0.transpose(0, 1), z_1.transpose(0, 1), joint


def join_batches(parts: Sequence[Tensor], *, length: int, places: int) -> Tensor:
    """Put what several batches send to the next stage into one tensor, whose shape does not depend on them.

    Args:
        parts: [S, B, D] each, what each batch sends; S and B differ.
        length: Rows that a place has room for, :func:`packed_length`.
        places: Places of the micro-batch.

    Returns:
        [length, places, D].
    """
    rows = torch.cat([part.flatten(0, 1) for part in parts])
    room = nn.functional.pad(rows, (0, 0, 0, length * places - len(rows)))
    # A copy: Megatron frees what was sent, which it cannot do to a view.
    return room.view(length, places, -1).clone()


def split_batches(joined: Tensor, shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Take apart what :func:`join_batches` put together.

    Args:
        joined: [length, places, D], what was received.
        shapes: Sets, and cells of each, of every batch.

    Returns:
        [S, B, D] of each batch.
    """
    lengths = [packed_length(num_cells) * num_sets for num_sets, num_cells in shapes]
    parts = joined.flatten(0, 1)[: sum(lengths)].split(lengths)
    return [part.view(-1, num_sets, part.shape[1]) for part, (num_sets, _) in zip(parts, shapes, strict=True)]


def packed_length(set_size: int, sets_a_place: int = 1) -> int:
    """Rows of the tensor that travels between stages, for each place of a micro-batch.

    Args:
        set_size: N, most cells of a set.
        sets_a_place: Most sets of a place; all of them have no more than N cells together, and a condition token each.
    """
    return 3 * set_size + sets_a_place
