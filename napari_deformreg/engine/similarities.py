"""Data terms: how unlike the moved image is to the fixed one, with the analytic derivative by the moved image.

They are the image losses of the same names (`losses`), prepared for one fixed image, with compiled kernels. All are weighted
means over voxels (weight 0 does not count), lower is better, of order 1, and smallest for identical images. Intensities are expected in
about [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, get_args

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..settings import RefineSettings, SimilarityName
from .features import compact_mind_ssc, mind_ssc
from .kernels import lncc_cpu, nmi_cpu
from .kernels.gpu_check import best, on_cpu
from .losses import LOSSES, by_autograd, nmi
from .losses.images import LNCC_EPSILON, SMALLEST_VARIANCE
from .losses.information import NMI_BINS, one_minus_normalized
from .sampling import box_sum


class Similarity(Protocol):
    """A data term prepared for one fixed image on one lattice."""

    def value_and_gradient(self, moved: Float[Tensor, "1 c i j k"], weight: Float[Tensor, "1 1 i j k"]) -> tuple[float, Tensor]:
        """Return the value (lower is better) and its derivative by `moved`.

        Parameters
        ----------
        moved : (1, c, i, j, k) tensor
            Features of the moving image pulled onto the fixed lattice.
        weight : (1, 1, i, j, k) tensor
            How much each moved voxel counts (field of view, moving mask); the fixed weight given at preparation is multiplied in here.
        """
        ...


Features = Callable[[Float[Tensor, "1 1 i j k"]], Shaped[Tensor, "1 c i j k"]]
Prepare = Callable[[Float[Tensor, "1 c i j k"], "Float[Tensor, '1 1 i j k'] | None", RefineSettings], Similarity]


@dataclass(frozen=True)
class SimilaritySpec:
    """One row of `SIMILARITIES`.

    Attributes
    ----------
    features : callable
        Turns an image (1, 1, i, j, k) into what is compared (1, c, i, j, k); applied to both images of a level once.
    prepare : callable
        Takes the fixed image's features, its weight or None, and the settings; returns the `Similarity`.
    neutral : float or None
        What a voxel without a partner counts: the value of unrelated images, or None to take the mean at the start.
    compact : callable, optional
        Gives the features in less memory, as the fused kernel of the CPU reads them; a `Similarity` is never given these.
    """

    features: Features
    prepare: Prepare
    neutral: float | None
    compact: Features | None = None

    @property
    def stored(self) -> Features:
        """What a data term keeps and compares step after step."""
        return self.features if self.compact is None else self.compact


def _weighted(weight: Tensor, fixed_weight: Tensor | None) -> tuple[Tensor, float]:
    both = weight if fixed_weight is None else weight * fixed_weight
    return both, float(both.sum())


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a.flatten(), b.flatten()))


def _image(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor[0, 0].numpy())


@dataclass(frozen=True, eq=False)
class LocalCorrelation:
    """Minus the mean squared correlation of windows around each voxel; -1 for identical images with structure everywhere.

    L = -sum w c^2 / (v_p v_t) / sum w with c, v_p, v_t the windows' covariance and variances (each variance plus epsilon n).
    A window may reach beyond the weight; its center decides.

    References
    ----------
    Avants et al. 2008, doi 10.1016/j.media.2007.06.004, equation 5; the gradient is derived from the box sums.
    """

    fixed: Tensor
    fixed_weight: Tensor | None
    fixed_sum: Tensor
    fixed_variance: Tensor
    count: Tensor
    radius: int

    @classmethod
    def prepare(cls, fixed: Tensor, fixed_weight: Tensor | None, settings: RefineSettings) -> LocalCorrelation:
        """Compute once what depends on the fixed image alone."""
        radius = settings.lncc_radius_vox
        count = box_sum(torch.ones_like(fixed), radius)
        sums = box_sum(torch.cat([fixed, fixed * fixed], dim=1), radius)
        total, squares = sums[:, :1].contiguous(), sums[:, 1:]
        variance = (squares - total * total / count).clamp_min(0) + LNCC_EPSILON * count
        return cls(fixed, fixed_weight, total, variance, count, radius)

    def value_and_gradient(self, moved: Tensor, weight: Tensor) -> tuple[float, Tensor]:
        """See `Similarity.value_and_gradient`."""
        both, total = _weighted(weight, self.fixed_weight)
        if total <= 0:
            return 0.0, torch.zeros_like(moved)
        if not on_cpu(moved):
            found: tuple[float, Tensor] = best("lncc_value_and_gradient", moved.device)(
                moved, self.fixed, self.fixed_sum, self.fixed_variance, self.count, both, total, self.radius, LNCC_EPSILON
            )
            return found
        parts = [_image(part) for part in (moved, self.fixed, self.fixed_sum, self.fixed_variance, self.count, both)]
        value, gradient = lncc_cpu.lncc_value_and_gradient(
            parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], total, self.radius, LNCC_EPSILON
        )
        return value, torch.from_numpy(gradient)[None, None]


@dataclass(frozen=True, eq=False)
class GlobalCorrelation:
    """Minus Pearson's correlation over all weighted voxels, -1 to 1."""

    fixed: Tensor
    fixed_weight: Tensor | None

    @classmethod
    def prepare(cls, fixed: Tensor, fixed_weight: Tensor | None, settings: RefineSettings) -> GlobalCorrelation:
        """Keep the fixed image; its mean and variance depend on the weight of each step."""
        return cls(fixed, fixed_weight)

    def value_and_gradient(self, moved: Tensor, weight: Tensor) -> tuple[float, Tensor]:
        """See `Similarity.value_and_gradient`."""
        both, total = _weighted(weight, self.fixed_weight)
        if total <= 0:
            return 0.0, torch.zeros_like(moved)
        p, t = (x - _dot(both, x) / total for x in (moved, self.fixed))
        wp, wt = both * p, both * t
        covariance = _dot(wp, t) / total
        p_variance = _dot(wp, p) / total + SMALLEST_VARIANCE
        t_variance = _dot(wt, t) / total + SMALLEST_VARIANCE
        correlation = covariance / (p_variance * t_variance) ** 0.5
        gradient = (wp * (correlation / p_variance) - wt / (p_variance * t_variance) ** 0.5) / total
        return -correlation, gradient


@dataclass(frozen=True, eq=False)
class SquaredDifference:
    """Mean over voxels of the squared difference, summed over channels and divided by `scale`."""

    fixed: Tensor
    fixed_weight: Tensor | None
    scale: float

    @classmethod
    def of_intensities(cls, fixed: Tensor, fixed_weight: Tensor | None, settings: RefineSettings) -> SquaredDifference:
        """Measure differences in units of the fixed image's variance: unrelated images then come out near 2."""
        both, total = _weighted(torch.ones_like(fixed), fixed_weight)
        mean = _dot(both, fixed) / max(total, 1e-12)
        variance = _dot(both, (fixed - mean).square()) / max(total, 1e-12)
        return cls(fixed, fixed_weight, max(variance, SMALLEST_VARIANCE))

    @classmethod
    def of_features(cls, fixed: Tensor, fixed_weight: Tensor | None, settings: RefineSettings) -> SquaredDifference:
        """Take descriptors in [0, 1] as they are; per twelve channels, so that slices with fewer weigh the same."""
        return cls(fixed, fixed_weight, fixed.shape[1] / 12)

    def value_and_gradient(self, moved: Tensor, weight: Tensor) -> tuple[float, Tensor]:
        """See `Similarity.value_and_gradient`."""
        both, total = _weighted(weight, self.fixed_weight)
        if total <= 0:
            return 0.0, torch.zeros_like(moved)
        difference = moved - self.fixed
        weighted = both * difference
        value = _dot(weighted, difference) / (total * self.scale)
        return value, weighted.mul_(2 / (total * self.scale))


@dataclass(frozen=True, eq=False)
class MutualInformation:
    """1 minus normalized mutual information, 1 - (H(F) + H(M)) / H(F, M): between -1 (same) and 0 (unrelated).

    References
    ----------
    Studholme et al. 1999, doi 10.1016/S0031-3203(98)00091-0, equation 8; Parzen windows as in Mattes et al. 2003,
    doi 10.1109/TMI.2003.809072.
    """

    fixed: Tensor
    fixed_weight: Tensor | None

    @classmethod
    def prepare(cls, fixed: Tensor, fixed_weight: Tensor | None, settings: RefineSettings) -> MutualInformation:
        """Keep the fixed image."""
        return cls(fixed, fixed_weight)

    def value_and_gradient(self, moved: Tensor, weight: Tensor) -> tuple[float, Tensor]:
        """See `Similarity.value_and_gradient`."""
        both, total = _weighted(weight, self.fixed_weight)
        if total <= 0:
            return 0.0, torch.zeros_like(moved)
        if moved.device.type != "cpu":
            return by_autograd(lambda p: nmi(self.fixed, p, both), moved)
        p, t, w = _image(moved), _image(self.fixed), _image(both)
        value, slope = _information(nmi_cpu.joint_histogram(p, t, w, NMI_BINS))
        return value, torch.from_numpy(nmi_cpu.through_histogram(p, t, w, slope))[None, None]


def _information(table: np.ndarray) -> tuple[float, np.ndarray]:
    """Return 1 - NMI of a joint histogram (fixed, moved) and its derivative by the entries."""
    leaf = torch.from_numpy(table).requires_grad_()
    with torch.enable_grad():
        value = one_minus_normalized(leaf[None]).sum()
        (slope,) = torch.autograd.grad(value, leaf)
    return float(value.detach()), slope.numpy()


def _identity(image: Tensor) -> Tensor:
    return image


SIMILARITIES: dict[SimilarityName, SimilaritySpec] = {
    "lncc": SimilaritySpec(_identity, LocalCorrelation.prepare, 0.0),
    "mind_ssc": SimilaritySpec(mind_ssc, SquaredDifference.of_features, None, compact_mind_ssc),
    "nmi": SimilaritySpec(_identity, MutualInformation.prepare, 0.0),
    "mse": SimilaritySpec(_identity, SquaredDifference.of_intensities, None),
    "ncc": SimilaritySpec(_identity, GlobalCorrelation.prepare, 0.0),
}
"""Every data term that the settings can name."""

if set(SIMILARITIES) != set(get_args(SimilarityName)):  # a table and its Literal must not drift apart
    raise AssertionError("SIMILARITIES and settings.SimilarityName must name the same data terms.")
if not set(SIMILARITIES) <= {name for name, row in LOSSES.items() if row.kind == "images"}:
    raise AssertionError("Every data term must be a loss of the same name.")
