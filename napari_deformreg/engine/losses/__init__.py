"""Losses that autograd can follow, in batches, 2-D and 3-D, for networks and for whoever optimizes with torch.

One table, `LOSSES`. The optimizer's data and smoothness terms (`engine.similarities`, `engine.regularizers`) have the names and the
definitions of this table, with analytic gradients and compiled kernels; tests hold values and gradients of both together.
"""

from __future__ import annotations

from .common import Loss
from .fields import diffusion_l2
from .images import lncc, mse
from .labels import common_labels, label_channels, soft_dice, warped_dice

__all__ = ["LOSSES", "Loss", "common_labels", "diffusion_l2", "label_channels", "lncc", "mse", "soft_dice", "warped_dice"]

LOSSES: dict[str, Loss] = {
    "lncc": Loss(lncc, "images", "−Σ w c² / (v_f v_m) / Σ w", "10.1016/j.media.2007.06.004", -1.0),
    "mse": Loss(mse, "images", "Σ w (f − m)² / Σ w", "10.1145/146370.146374", 0.0, {"normalize": True}),
    "soft_dice": Loss(soft_dice, "labels", "1 − mean 2 Σ f m / (Σ f² + Σ m²)", "10.1109/3DV.2016.79", 0.0),
    "diffusion_l2": Loss(diffusion_l2, "field", "mean Σ (∂v_a / ∂x_b)²", "10.1016/0004-3702(81)90024-2", 0.0),
}
"""Every loss by its name."""
