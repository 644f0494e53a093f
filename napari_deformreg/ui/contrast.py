"""Which intensities are shown from black to white: a window of computed tomography for Hounsfield units, else robust limits.

Qt-free and quick: at most some 200 000 voxels are looked at.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Shaped

LUNG_WINDOW = (-1000.0, 200.0)
"""Air to above soft tissue: vessels, fissures and the chest wall are seen at once. The preset lung-ct compares the same range."""

SOFT_TISSUE_WINDOW = (-160.0, 240.0)
"""Width 400 around 40 HU, the usual one for the abdomen."""

_AIR_HU, _LUNG_HU, _SOFT_HU = (-3100.0, -900.0), (-950.0, -500.0), (-150.0, 250.0)
_LEAST_SOFT, _LEAST_LUNG = 0.03, 0.07
"""Parts of all voxels: less soft tissue is no scan of a body; less lung is an abdomen with the lung's base, or the seam of a head."""


def hounsfield_window(data: Shaped[np.ndarray, "i j k"]) -> tuple[float, float] | None:
    """Give the window to read a CT in, or None if the values are no Hounsfield units.

    They are taken for Hounsfield units if something is as dark as air (about -1000; padding down to -3100) and enough is like soft tissue.
    No other modality has both: magnetic resonance is positive, and signed phase images reach far below.
    """
    sample = sampled(data)
    low, high = float(sample.min()), float(sample.max())
    if not (_AIR_HU[0] <= low <= _AIR_HU[1] and high > _SOFT_HU[1]) or _part(sample, _SOFT_HU) < _LEAST_SOFT:
        return None
    return LUNG_WINDOW if _part(sample, _LUNG_HU) >= _LEAST_LUNG else SOFT_TISSUE_WINDOW


def contrast_limits(data: Shaped[np.ndarray, "i j k"]) -> tuple[float, float]:
    """Give the limits to show an image in: a CT's window, else from the 1st percentile of all to the 99.5th of what is not background."""
    window = hounsfield_window(data)
    if window is not None:
        return window
    sample = sampled(data)
    low = float(np.percentile(sample, 1.0))
    # Where most of the volume is empty, the percentile of all would lie within the organ and burn it out.
    inside = sample[sample > sample.min()]
    high = float(np.percentile(inside if len(inside) else sample, 99.5))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def sampled(data: Shaped[np.ndarray, "i j k"]) -> Shaped[np.ndarray, "n"]:
    """Take evenly spread voxels, some 200 000 at most."""
    stride = max(1, round((data.size / 200_000) ** (1 / 3)))
    return np.asarray(data[tuple(slice(None, None, stride if n > stride else None) for n in data.shape)]).ravel()


def _part(sample: Shaped[np.ndarray, "n"], limits: tuple[float, float]) -> float:
    return float(((sample > limits[0]) & (sample < limits[1])).mean())
