"""Losses that autograd can follow, in batches, 2-D and 3-D, for networks and for whoever optimizes with torch.

One table, `LOSSES`. The optimizer's terms (`engine.similarities`, `engine.regularizers`) have the names and the definitions of this table:
its smoothness terms are these functions, its data terms are them with compiled kernels; tests hold values and gradients together.
"""

from __future__ import annotations

import math

from .common import Loss, by_autograd
from .descriptors import mind_ssc
from .fields import (
    bending,
    diffusion_l1,
    diffusion_l2,
    digital_determinants,
    displacement_magnitude,
    folding_barrier,
    inverse_consistency,
)
from .images import lncc, mse, ncc
from .information import NMI_BINS, mutual_information, nmi
from .labels import common_labels, label_channels, soft_dice, warped_dice
from .placement import affine_identity_l1, affine_identity_l2, landmark_distance

__all__ = [
    "LOSSES",
    "Loss",
    "affine_identity_l1",
    "affine_identity_l2",
    "bending",
    "by_autograd",
    "common_labels",
    "diffusion_l1",
    "diffusion_l2",
    "digital_determinants",
    "displacement_magnitude",
    "folding_barrier",
    "inverse_consistency",
    "label_channels",
    "landmark_distance",
    "lncc",
    "losses_markdown",
    "mind_ssc",
    "mse",
    "mutual_information",
    "ncc",
    "nmi",
    "soft_dice",
    "warped_dice",
]

LOSSES: dict[str, Loss] = {
    "lncc": Loss(lncc, "images", "local correlation", "−Σ w c² / (v_f v_m) / Σ w over windows", "10.1016/j.media.2007.06.004", -1.0),
    "ncc": Loss(ncc, "images", "global correlation", "−cov(f, m) / √(var f · var m)", "10.1088/0031-9155/46/3/201", -1.0),
    "mse": Loss(mse, "images", "squared difference", "Σ w (f − m)² / Σ w", "10.1088/0031-9155/46/3/201", 0.0, {"normalize": True}),
    "mind_ssc": Loss(
        mind_ssc, "images", "difference of MIND-SSC descriptors", "Σ w |D_f − D_m|² / Σ w", "10.1007/978-3-642-40811-3_24", 0.0
    ),
    "nmi": Loss(
        nmi, "images", "normalized mutual information", "1 − (H(F) + H(M)) / H(F, M)", "10.1016/S0031-3203(98)00091-0", -1.0
    ),
    "mutual_information": Loss(
        mutual_information, "images", "mutual information", "H(F, M) − H(F) − H(M)", "10.1109/TMI.2003.809072", -math.log(NMI_BINS)
    ),
    "soft_dice": Loss(
        soft_dice, "labels", "soft Dice over structures", "1 − mean 2 Σ w f m / Σ w (f² + m²)", "10.1109/3DV.2016.79", 0.0,
        {"denominator": "sums"},
    ),
    "diffusion_l2": Loss(
        diffusion_l2, "field", "gradient, squared", "mean Σ (∂v_a/∂x_b)²", "10.1016/0004-3702(81)90024-2", 0.0
    ),
    "diffusion_l1": Loss(diffusion_l1, "field", "gradient, absolute", "mean Σ |∂v_a/∂x_b|", "10.1109/TMI.2016.2610583", 0.0),
    "bending": Loss(bending, "field", "bending energy", "s² mean Σ (∂²v_a/∂x_b∂x_c)²", "10.1109/42.796284", 0.0),
    "displacement_magnitude": Loss(
        displacement_magnitude, "field", "length of the displacement, squared", "mean |u|²", "10.1109/TMI.2009.2035616", 0.0
    ),
    "folding_barrier": Loss(
        folding_barrier, "field", "barrier against folds", "mean max(0, margin − J)² over the ten (2-D: four) determinants",
        "10.1007/s11263-024-02047-1", 0.0,
    ),
    "inverse_consistency": Loss(
        inverse_consistency, "fields", "inverse consistency", "½ mean |f + b∘(id + f)|² + ½ mean |b + f∘(id + b)|²",
        "10.1109/42.932742", 0.0,
    ),
    "landmark_distance": Loss(
        landmark_distance, "points", "distance of landmarks, squared", "mean |p + u(p) − q|²", "10.1109/TBME.2005.844030", 0.0
    ),
    "affine_identity_l1": Loss(
        affine_identity_l1, "matrix", "affine from the identity, absolute", "Σ |A − I| + Σ |t|", "10.1109/CVPR.2019.00435", 0.0
    ),
    "affine_identity_l2": Loss(
        affine_identity_l2, "matrix", "affine from the identity, squared", "|A − I|² + |t|²", "10.1109/CVPR.2019.00435", 0.0
    ),
}  # fmt: skip
"""Every loss by its name."""

_ARGUMENTS = {
    "images": "fixed, moved",
    "labels": "fixed, moved channels",
    "field": "field",
    "fields": "both directions' fields",
    "points": "field, fixed and moving landmarks",
    "matrix": "affine matrix",
}


def losses_markdown() -> str:
    """Return the table of losses for the README."""
    rows = []
    for name, row in LOSSES.items():
        equation = row.equation.replace("|", "&#124;")  # a bar would end the cell
        rows.append(f"| `{name}` | {row.meaning} | {_ARGUMENTS[row.kind]} | {equation} | [doi](<https://doi.org/{row.doi}>) |")
    return "\n".join(["| loss | what | of | equation | source |", "|---|---|---|---|---|", *rows]) + "\n"
