"""METRICS: every number of a report, defined once. The report, the page and the README's table are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Better = Literal["higher", "lower", "near 1", "-"]


@dataclass(frozen=True)
class Metric:
    """What a number means.

    Attributes
    ----------
    name : str
        Its key, as in the literature.
    title : str
        For people.
    unit : str
        ``"mm"``, ``"%"``, or ``"1"`` for a plain number.
    better : str
        Which way is better; ``"-"`` where neither is (it describes the motion).
    needs : str
        What must be given to compute it.
    definition : str
        Exactly what is computed.
    doi : str
        Where the definition comes from.
    """

    name: str
    title: str
    unit: str
    better: Better
    needs: str
    definition: str
    doi: str


_LIU = "10.1007/s11263-024-02047-1"
_LEARN2REG = "10.1109/TMI.2022.3213983"
_FIELD = "nothing more"

_ALL = (
    Metric(
        "tre_mm", "Target registration error", "mm", "lower", "landmark pairs",
        "Distance between the fixed landmark carried by fixed_to_moving and its moving landmark, for landmarks that did not drive the "
        "registration. Before: between the two landmarks as the headers place them.",
        "10.1109/42.952729",
    ),
    Metric(
        "fre_mm", "Fiducial registration error", "mm", "lower", "landmark pairs that drive the registration",
        "The same distance for landmarks that drove the registration: how well they were fitted, not how accurate it is.",
        "10.1109/42.736021",
    ),
    Metric(
        "landmark_residual_mm", "Inverse residual at landmarks", "mm", "lower", "landmark pairs",
        "How far the moving landmark, carried to fixed space by Newton steps, misses itself when it is carried back.",
        "10.1109/42.932742",
    ),
    Metric(
        "dice", "Dice overlap", "1", "higher", "labels of both images",
        "2 #(F∩M) / (#F + #M) of a structure's voxels on the fixed grid. The mean is over structures that occur in both images. Before: "
        "the moving labels as the headers place them, nearest voxel.",
        "10.2307/1932409",
    ),
    Metric(
        "hd95_mm", "95 % Hausdorff distance", "mm", "lower", "labels of both images",
        "The larger of the two directed 95th percentiles of the distance from a surface voxel center to the nearest one of the other "
        "surface. A surface voxel belongs to the structure and has a face neighbor that does not (or lies at the rim of the grid).",
        "10.1109/34.232073",
    ),
    Metric(
        "mean_surface_distance_mm", "Mean surface distance", "mm", "lower", "labels of both images",
        "Mean of the two directed mean distances between surface voxel centers (surfaces as for hd95_mm).",
        "10.1109/TMI.2009.2013851",
    ),
    Metric(
        "ncc", "Correlation", "1", "higher", _FIELD,
        "Pearson correlation of the two images' intensities inside the fixed foreground. Low or negative for two contrasts even when "
        "they align.",
        "10.1088/0031-9155/46/3/201",
    ),
    Metric(
        "lncc", "Local correlation", "1", "higher", _FIELD,
        "Mean over the fixed foreground of the squared correlation in a window of 9 voxels a side (2-D: 9 x 9), mirrored at the rim of the "
        "grid; 0 where either window is flat.",
        "10.1016/j.media.2007.06.004",
    ),
    Metric(
        "nmi", "Normalized mutual information", "1", "higher", _FIELD,
        "(H(F) + H(M)) / H(F, M) from a joint histogram of 64 x 64 bins between the 0.5th and 99.5th percentiles inside the fixed "
        "foreground; 1 when independent, 2 when identical. The one to read for two contrasts.",
        "10.1016/S0031-3203(98)00091-0",
    ),
    Metric(
        "fold_digital_fraction", "Folded voxels (digital)", "%", "lower", _FIELD,
        "Voxels of the exported field on the fixed grid where any of the ten finite-difference determinants of a digital "
        "diffeomorphism (2-D: four) is 0 or less; the rim is tested with the displacement repeated beyond it.",
        _LIU,
    ),
    Metric(
        "ndv", "Non-diffeomorphic volume", "%", "lower", _FIELD,
        "Sum over voxels and the ten determinants J of max(-J, 0) / 12 (2-D: over four, / 4), as a share of the domain's voxels.",
        _LIU,
    ),
    Metric(
        "fold_central_fraction", "Folded voxels (central)", "%", "lower", _FIELD,
        "Voxels whose central-difference determinant is 0 or less (one-sided at the rim). Misses folds at the voxel itself; shown because "
        "most papers print it.",
        _LIU,
    ),
    Metric(
        "digital_minimum", "Smallest determinant (digital)", "1", "higher", _FIELD,
        "Smallest of the ten determinants (2-D: four) over the domain, scaled so that the identity has 1; 0 or less is a fold.",
        _LIU,
    ),
    Metric(
        "jacobian_determinant", "Local volume change", "1", "near 1", _FIELD,
        "Central-difference determinant of x + u(x), the deformation without the affine: above 1, the place is larger in the moving "
        "image. Minimum, 1st, 50th and 99th percentile, maximum over the domain.",
        "10.1109/TMI.2007.892646",
    ),
    Metric(
        "structure_volume_change", "Local volume change in a structure", "1", "near 1", "labels of the fixed image",
        "Central-difference determinant of fixed_to_moving, the affine included, over a fixed structure's voxels: percentiles. Above 1, "
        "the place is larger in the moving image.",
        "10.1109/TMI.2007.892646",
    ),
    Metric(
        "affine_determinant", "Volume change of the affine", "1", "-", _FIELD,
        "Determinant of the affine part. The Jacobian map is the local volume change times this number.",
        "10.1109/TMI.2007.892646",
    ),
    Metric(
        "sd_log_jacobian", "Unevenness of the deformation", "1", "lower", _FIELD,
        "Standard deviation of the natural logarithm of the central-difference determinant, over voxels where it is positive.",
        "10.1109/TMI.2007.892646",
    ),
    Metric(
        "sd_log_jacobian_l2r", "Unevenness (Learn2Reg)", "1", "lower", _FIELD,
        "Standard deviation of log(clip(determinant + 3, 1e-9, 1e9)), two voxels at each side of the grid left out: about a quarter of "
        "sd_log_jacobian. For comparison with Learn2Reg tables only.",
        _LEARN2REG,
    ),
    Metric(
        "inverse_consistency_mm", "Inverse consistency error", "mm", "lower", _FIELD,
        "|moving_to_fixed(fixed_to_moving(x)) - x| at the voxel centers x of the fixed foreground, both by the exported fields; points "
        "that the deformation carries off the grid are left out.",
        "10.1109/42.932742",
    ),
    Metric(
        "displacement_mm", "Deformation", "mm", "-", _FIELD,
        "Length of u(x), the deformation without the affine, inside the fixed foreground: median, 95th percentile, maximum.",
        "10.1088/0031-9155/46/3/201",
    ),
    Metric(
        "outside_moving_fraction", "Fixed foreground outside the moving image", "%", "lower", _FIELD,
        "Share of the fixed foreground's voxels that fixed_to_moving carries out of the moving image's field of view; nothing there "
        "can be judged. Before: by the headers alone.",
        "10.1088/0031-9155/46/3/201",
    ),
)  # fmt: skip

METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _ALL})
"""Every metric by its name."""


def metrics_markdown() -> str:
    """Write the table of metrics for the README."""
    head = "| metric | unit | better | needs | definition |\n|---|---|---|---|---|\n"
    rows = [
        f"| `{m.name}` | {m.unit} | {m.better} | {m.needs} | {m.definition.replace('|', '&#124;')} [doi](https://doi.org/{m.doi}) |"
        for m in METRICS.values()
    ]
    return head + "\n".join(rows) + "\n"
