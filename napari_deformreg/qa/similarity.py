"""How similar two images on one grid are: global and local correlation, normalized mutual information."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from ..space.slabs import thread_count

LNCC_WINDOW = 9
"""Voxels a side: the window of most papers since Avants et al. 2008."""

NMI_BINS = 64

FLAT_VARIANCE = 1e-4
"""A window whose variance is below this share of the whole foreground's shows nothing but rounding and faint noise."""


@dataclass(frozen=True)
class Similarity:
    """Three figures of one pair of images; None where an image is constant in the domain."""

    ncc: float | None
    lncc: float | None
    nmi: float | None


def similarities(
    fixed: Float[np.ndarray, "i j k"], others: list[Float[np.ndarray, "i j k"]], mask: Bool[np.ndarray, "i j k"]
) -> list[Similarity]:
    """Compare images with the fixed one inside a mask; everything lies on one grid."""
    cropped = _bounding_box(mask, LNCC_WINDOW)
    fixed, mask = fixed[cropped], mask[cropped]
    others = [other[cropped] for other in others]
    local = lncc(fixed, others, mask)
    return [Similarity(ncc(fixed, other, mask), value, nmi(fixed, other, mask)) for other, value in zip(others, local, strict=True)]


def ncc(fixed: Float[np.ndarray, "i j k"], other: Float[np.ndarray, "i j k"], mask: Bool[np.ndarray, "i j k"]) -> float | None:
    """Pearson correlation of intensities inside the mask; None where one of them is constant."""
    a, b = fixed[mask].astype(np.float64), other[mask].astype(np.float64)
    a -= a.mean()
    b -= b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else None


def nmi(
    fixed: Float[np.ndarray, "i j k"], other: Float[np.ndarray, "i j k"], mask: Bool[np.ndarray, "i j k"], bins: int = NMI_BINS
) -> float | None:
    """Give the normalized mutual information (1 independent, 2 identical) inside the mask; None where an image is constant."""
    a, b = _binned(fixed[mask], bins), _binned(other[mask], bins)
    if a is None or b is None:
        return None
    joint = np.bincount(a * bins + b, minlength=bins * bins).reshape(bins, bins) / a.size
    return (_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / _entropy(joint)


def lncc(
    fixed: Float[np.ndarray, "i j k"], others: list[Float[np.ndarray, "i j k"]], mask: Bool[np.ndarray, "i j k"]
) -> list[float | None]:
    """Mean squared correlation in windows of `LNCC_WINDOW` voxels, at the mask's voxels; None where an image is constant."""
    a = _standardized(fixed, mask)
    standardized = [_standardized(other, mask) for other in others]
    sums = [a, a * a] if a is not None else []
    for b in standardized:
        sums += [b, b * b, a * b] if a is not None and b is not None else []
    with ThreadPoolExecutor(thread_count()) as pool:
        means = list(pool.map(_window_mean, sums))
    out: list[float | None] = []
    place = 2
    for b in standardized:
        if a is None or b is None:
            out.append(None)
            continue
        out.append(_mean_squared_correlation(means[:2] + means[place : place + 3], mask))
        place += 3
    return out


def _mean_squared_correlation(means: list[np.ndarray], mask: np.ndarray) -> float:
    a, aa, b, bb, ab = (mean[mask] for mean in means)
    covariance, variance_a, variance_b = ab - a * b, aa - a * a, bb - b * b
    lively = (variance_a > FLAT_VARIANCE) & (variance_b > FLAT_VARIANCE)
    squared = covariance[lively] ** 2 / (variance_a[lively] * variance_b[lively])
    return float(np.minimum(squared, 1).sum(dtype=np.float64) / lively.size)


def _standardized(image: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Shift and scale to mean 0 and variance 1 inside the mask, so that float32 window sums do not cancel."""
    inside = image[mask]
    mean, deviation = inside.mean(dtype=np.float64), inside.std(dtype=np.float64)
    return ((image - np.float32(mean)) / np.float32(deviation)).astype(np.float32) if deviation > 0 else None


def _window_mean(image: np.ndarray) -> np.ndarray:
    size = tuple(LNCC_WINDOW if n > 1 else 1 for n in image.shape)
    return np.asarray(ndimage.uniform_filter(image, size=size, mode="reflect"))


def _binned(values: np.ndarray, bins: int) -> np.ndarray | None:
    low, high = np.percentile(values, [0.5, 99.5])
    if high <= low:
        low, high = values.min(), values.max()
    if high <= low:
        return None
    scaled = (values - np.float32(low)) * np.float32(bins / (high - low))
    return np.asarray(np.clip(scaled, 0, bins - 1).astype(np.int64))


def _entropy(probabilities: np.ndarray) -> float:
    filled = probabilities[probabilities > 0]
    return float(-(filled * np.log(filled)).sum())


def _bounding_box(mask: np.ndarray, margin: int) -> tuple[slice, ...]:
    box = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(max(int(hit[0]) - margin, 0), int(hit[-1]) + 1 + margin))
    return tuple(box)
