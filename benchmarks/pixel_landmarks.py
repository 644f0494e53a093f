"""Landmarks in pixels, as histology has them: what a referee that counts in millimeters cannot judge."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

SIDES = ("fixed", "moving")


def pixel_errors(case: Path, transform: str) -> dict[str, Any]:
    """Return the errors in pixels of the moving picture; nothing for a case without `{fixed,moving}_landmarks_px.csv`.

    The files have `name,x,y`: x to the right, y down, the middle of the first pixel at (0, 0), as in ITK's and ImageJ's indices.

    Parameters
    ----------
    case : path
        Folder of the case; its pictures say where their pixels lie.
    transform : str
        What SimpleITK reads as a transform or as a displacement image (3-D), or the word identity; carries fixed points to moving ones.
    """
    tables = [case / f"{side}_landmarks_px.csv" for side in SIDES]
    if not all(path.exists() for path in tables):
        return {}
    import numpy as np
    import SimpleITK as sitk

    fixed, moving = (sitk.ReadImage(str(next(case.glob(f"{side}.*")))) for side in SIDES)
    carry = _read(transform)
    before, after = _points(tables[0]), _points(tables[1])
    errors = []
    for name in before.keys() & after.keys():
        x, y, _ = carry.TransformPoint((*fixed.TransformContinuousIndexToPhysicalPoint(before[name]), 0.0))
        found = moving.TransformPhysicalPointToContinuousIndex((x, y))
        errors.append(float(np.linalg.norm(np.subtract(found, after[name]))))
    mean, median, p95 = np.mean(errors), np.median(errors), np.percentile(errors, 95)
    return {"tre_px_mean": float(mean), "tre_px_median": float(median), "tre_px_p95": float(p95), "landmarks": len(errors)}


def _read(transform: str) -> Any:
    import SimpleITK as sitk

    if transform == "identity":
        return sitk.Transform(3, sitk.sitkIdentity)
    if transform.endswith((".h5", ".tfm", ".mat", ".txt", ".xfm", ".hdf5")):
        return sitk.ReadTransform(transform)
    return sitk.DisplacementFieldTransform(sitk.ReadImage(transform, sitk.sitkVectorFloat64))


def _points(path: Path) -> dict[str, tuple[float, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["name"]: (float(row["x"]), float(row["y"])) for row in csv.DictReader(file)}
