"""Color images as one gray value a voxel: what is registered is scalar."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped

LUMA = np.array([0.2126, 0.7152, 0.0722])
"""Weights of red, green and blue in luma."""

BRIGHT_RIM = 0.5
"""Part of the brightest luma that a quarter of the rim reaches where light comes through a slide: there, no tissue is white. Fluorescence
and photographs of the retina have a black rim."""


def gray_of_colors(colors: Shaped[np.ndarray, "i j k c"]) -> tuple[Float[np.ndarray, "i j k"], str]:
    """Return a gray value for every voxel, 0 where there is nothing to see, and in words what it is.

    The value is luma, Y = 0.2126 R + 0.7152 G + 0.0722 B, of the stored numbers. Where the rim of the slices is bright, as in a stained
    section with light through it, it is max(Y) - Y: everything here takes 0 for background (outside the field of view, the foreground that
    is judged, the centers of mass that a search begins with), and so do other tools for histology. What is transparent is background.

    Parameters
    ----------
    colors : (i, j, k, c) array
        Red, green, blue, and opacity where c is 4; of any number type.

    References
    ----------
    Recommendation ITU-R BT.709-6, item 3.2 (the equation of luma).
    J. Borovec et al., IEEE TMI 39 (2020) 3042, https://doi.org/10.1109/TMI.2020.2986331 (differently stained sections by gray values).
    """
    values = colors.astype(np.float32)
    luma = values[..., :3] @ LUMA.astype(np.float32)
    opacity = np.ones_like(luma) if values.shape[3] == 3 else values[..., 3] / max(float(values[..., 3].max()), 1e-12)
    words = "its luma (0.2126 R + 0.7152 G + 0.0722 B, ITU-R BT.709)"
    if _is_bright_at_the_rim(luma, opacity > 0):
        luma, words = luma[opacity > 0].max() - luma, f"{words}, inverted because its rim is bright: background is 0"
    return luma * opacity, words


def _is_bright_at_the_rim(luma: Float[np.ndarray, "i j k"], seen: Shaped[np.ndarray, "i j k"]) -> bool:
    rim = np.ones(luma.shape, bool)
    rim[1:-1, 1:-1] = False
    at_rim = rim & seen if (rim & seen).any() else seen
    return bool(seen.any() and np.percentile(luma[at_rim], 75) > BRIGHT_RIM * luma[seen].max())


def color_notice(name: str, words: str) -> str:
    """Say what a color image was compared by, and what else could be done."""
    return f"{name} is a color image. One gray value was compared: {words}."
