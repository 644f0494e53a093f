"""The data term in one direction: pull features through a field, compare, and turn the answer into a force on the field."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..settings import RefineSettings
from .kernels import feature_cpu
from .sampling import warp
from .similarities import SIMILARITIES, Similarity


@dataclass(eq=False)
class DataTerm:
    """Compares what is pulled through a field with a reference on the field's lattice.

    Voxels whose position falls outside the sampled image count as `neutral`, so that pushing unlike structures out of view gains nothing.

    Attributes
    ----------
    reference, sampled : (1, c, ...) tensors
        Features that stay and features that are pulled.
    reference_weight, sampled_weight : (1, 1, ...) tensors
        How much their voxels count.
    matrix : (4, 4) array
        From voxels of the field's lattice to voxels of `sampled`.
    """

    similarity: Similarity
    reference: Tensor
    sampled: Tensor
    reference_weight: Tensor
    sampled_weight: Tensor
    matrix: np.ndarray
    neutral: float | None
    reference_total: float = field(init=False)

    def __post_init__(self) -> None:
        """Sum up once what no step changes."""
        self.reference_total = float(self.reference_weight.sum())

    @classmethod
    def prepare(
        cls, settings: RefineSettings, reference: Tensor, reference_weight: Tensor, sampled: Tensor, sampled_weight: Tensor,
        matrix: np.ndarray,
    ) -> DataTerm:
        """Prepare one direction of the data term that the settings name."""
        spec = SIMILARITIES[settings.similarity]
        similarity = spec.prepare(reference, reference_weight, settings)
        if _fusible(reference):
            reference, sampled = _channels_last(reference), _channels_last(sampled)
        return cls(similarity, reference, sampled, reference_weight, sampled_weight, matrix, spec.neutral)

    def value_and_gradient(self, field: Float[Tensor, "1 3 i j k"], share: float = 1.0) -> tuple[float, Tensor]:
        """Return the loss and its derivative by the field (voxels), both times `share`."""
        loss, gradient, overlap = (self._fused if self.reference.dim() == 4 else self._by_channels)(field, share)
        if self.neutral is None:
            self.neutral = loss
        return share * (overlap * loss + (1 - overlap) * self.neutral), gradient

    def _by_channels(self, field: Tensor, share: float) -> tuple[float, Tensor, float]:
        """Return the loss, the derivative of what it counts for, and that part of the overlap."""
        moved, slopes = [], []
        weight = torch.empty(0)
        for channel in range(self.sampled.shape[1]):
            given = self.sampled_weight if channel == 0 else None
            value, slope, inside = warp(self.sampled[:, [channel]], field, self.matrix, with_gradient=True, weight=given)
            weight = inside if channel == 0 else weight
            moved.append(value)
            slopes.append(slope)
        loss, by_moved = self.similarity.value_and_gradient(torch.cat(moved, 1) if len(moved) > 1 else moved[0], weight)
        overlap = _sum_of_products(weight, self.reference_weight) / max(self.reference_total, 1e-6)
        by_moved = by_moved * (share * overlap)  # a third of the numbers of the derivative by the field
        gradient = slopes[0].mul_(by_moved[:, [0]])
        for channel in range(1, len(slopes)):
            gradient += slopes[channel].mul_(by_moved[:, [channel]])
        return loss, gradient, overlap

    def _fused(self, field: Tensor, share: float) -> tuple[float, Tensor, float]:
        weight = self.reference_weight[0, 0].numpy()
        value, total, force = feature_cpu.warp_ssd(
            self.sampled.numpy(), np.ascontiguousarray(self.sampled_weight[0, 0].numpy()), self.reference.numpy(),
            np.ascontiguousarray(weight), np.ascontiguousarray(field[0].numpy()), self.matrix[:3, 3],
        )
        unit = 255.0 if self.reference.dtype == torch.uint8 else 1.0
        scale = max(total, 1e-6) * self.reference.shape[-1] / 12 * unit**2
        overlap = total / max(self.reference_total, 1e-6)
        return value / scale, torch.from_numpy(force)[None].mul_(2 * share * overlap / scale), overlap


def _sum_of_products(first: Tensor, second: Tensor) -> float:
    return float(torch.dot(first.flatten(), second.flatten()))


def _fusible(features: Tensor) -> bool:
    """Many-channel features are descriptors compared by squared differences; the CPU kernel does that in one pass."""
    return features.shape[1] > 1 and features.device.type == "cpu"


def _channels_last(features: Shaped[Tensor, "1 c i j k"]) -> Shaped[Tensor, "i j k c"]:
    return features[0].movedim(0, -1).contiguous()
