#!/usr/bin/env python3
"""Shows that a result does not depend on how the two images happen to be stored, and that other tools read it as this package does.

    orientation_check.py FIXED MOVING --out FOLDER [--preset NAME] [--only NAME ...]

One pair is written in several versions: array axes along RAS, LAS, LPS and PSR, world origins shifted, turned to an oblique position, and
resampled to anisotropic voxels. Each version is registered by the installed `deformreg`, and compared, with SimpleITK alone, to the first:

* `change_vox`: how far fixed foreground points land from where the original result puts them, in voxels of the fixed image, after undoing
  the known change of the world (median, 95 %, largest). Nothing was resampled but in the anisotropic version, so it should be near 0 there.
* `moved`: largest and 99.9 % difference between `moved.nii.gz` and SimpleITK's own resampling with `fixed_to_moving.h5`, as a fraction of
  the intensity range, over voxels whose origin in the moving image is not at its rim.
* `points_mm`: largest distance between `deformreg apply-points` and SimpleITK's TransformPoint on the same points.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk

# The command of the Python that runs this script, whatever else is on the PATH.
DEFORMREG = shutil.which("deformreg", path=str(Path(sys.executable).parent)) or "deformreg"

LPS = np.array([-1.0, -1.0, 1.0])  # the world of ITK, from and to RAS


def reoriented(codes: str) -> Callable[[nib.Nifti1Image], nib.Nifti1Image]:
    """Store the same voxels with other axes."""

    def change(image: nib.Nifti1Image) -> nib.Nifti1Image:
        now, then = nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(codes))
        return image.as_reoriented(nib.orientations.ornt_transform(now, then))

    return change


def placed(world: np.ndarray) -> Callable[[nib.Nifti1Image], nib.Nifti1Image]:
    """Put the same voxels elsewhere in the world."""

    def change(image: nib.Nifti1Image) -> nib.Nifti1Image:
        return nib.Nifti1Image(np.asanyarray(image.dataobj), world @ image.affine)

    return change


def stretched(factors: tuple[float, float, float]) -> Callable[[nib.Nifti1Image], nib.Nifti1Image]:
    """Resample to voxels larger by these factors along the array axes, by averaging in a Gaussian first."""

    def change(image: nib.Nifti1Image) -> nib.Nifti1Image:
        from scipy.ndimage import gaussian_filter, map_coordinates

        data = np.asarray(image.dataobj, dtype=np.float32)
        scale = np.array([f if n > 1 else 1.0 for f, n in zip(factors, data.shape, strict=True)])
        smooth = gaussian_filter(data, np.sqrt(np.maximum(scale**2 - 1, 0)) / 2)
        axes = [np.arange(0, n - 1e-6, s) for n, s in zip(data.shape, scale, strict=True)]
        sampled = map_coordinates(smooth, np.stack(np.meshgrid(*axes, indexing="ij")), order=1)
        return nib.Nifti1Image(sampled, image.affine @ np.diag([*scale, 1.0]))

    return change


def shift(*mm: float) -> np.ndarray:
    """Return the world matrix of a shift."""
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return matrix


def turn() -> np.ndarray:
    """Return the world matrix of an oblique turn: 17 degrees about x, then 11 about z."""
    a, b = np.deg2rad([17.0, 11.0])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_z @ about_x
    return matrix


def _same(image: nib.Nifti1Image) -> nib.Nifti1Image:
    return image


@dataclass(frozen=True)
class Version:
    """How the two images are changed, and what that does to their worlds (RAS)."""

    fixed: Callable[[nib.Nifti1Image], nib.Nifti1Image] = _same
    moving: Callable[[nib.Nifti1Image], nib.Nifti1Image] = _same
    fixed_world: np.ndarray = field(default_factory=lambda: np.eye(4))
    moving_world: np.ndarray = field(default_factory=lambda: np.eye(4))


_FAR, _NEAR = shift(120.0, -75.0, 310.0), shift(-3.3, 6.1, 2.7)
VERSIONS = {
    "original": Version(),
    "RAS both": Version(reoriented("RAS"), reoriented("RAS")),
    "LAS fixed": Version(fixed=reoriented("LAS")),
    "LPS moving": Version(moving=reoriented("LPS")),
    "PSR both": Version(reoriented("PSR"), reoriented("PSR")),
    "PSR fixed, LAS moving": Version(reoriented("PSR"), reoriented("LAS")),
    "origin of both": Version(placed(_FAR), placed(_FAR), _FAR, _FAR),
    "origin of moving, near": Version(moving=placed(_NEAR), moving_world=_NEAR),
    "origin of moving, far": Version(moving=placed(_FAR), moving_world=_FAR),
    "origin of fixed, far": Version(fixed=placed(_FAR), fixed_world=_FAR),
    "oblique both": Version(placed(turn()), placed(turn()), turn(), turn()),
    "anisotropic both": Version(stretched((1.0, 1.0, 2.5)), stretched((1.0, 2.0, 1.0))),
}


def mapped(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    """Carry RAS points through an ITK transform."""
    return np.array([transform.TransformPoint(tuple(point)) for point in points * LPS]) * LPS


def moved_by(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Carry points through a world matrix."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def foreground_points(image: nib.Nifti1Image, count: int) -> np.ndarray:
    """Return RAS points at randomly chosen voxels brighter than the mean."""
    data = np.asarray(image.dataobj)
    voxels = np.argwhere(data > data.mean())
    chosen = np.random.default_rng(0).choice(len(voxels), min(count, len(voxels)), replace=False)
    return moved_by(image.affine, voxels[np.sort(chosen)].astype(float))


def moved_difference(folder: Path, moving: Path) -> dict[str, float]:
    """Compare moved.nii.gz with SimpleITK's resampling of moving through the exported transform."""
    ours = sitk.ReadImage(str(folder / "moved.nii.gz"), sitk.sitkFloat32)
    image = sitk.ReadImage(str(moving), sitk.sitkFloat32)
    transform = sitk.ReadTransform(str(folder / "fixed_to_moving.h5"))
    theirs = sitk.GetArrayFromImage(sitk.Resample(image, ours, transform, sitk.sitkLinear, 0.0))
    inside = sitk.Image(image.GetSize(), sitk.sitkFloat32) + 1.0
    inside.CopyInformation(image)
    core = sitk.GetArrayFromImage(sitk.Resample(inside, ours, transform, sitk.sitkLinear, 0.0)) > 0.999
    data = sitk.GetArrayFromImage(image)
    difference = np.abs(sitk.GetArrayFromImage(ours) - theirs)[core] / (data.max() - data.min())
    return {"largest": float(difference.max()), "p999": float(np.percentile(difference, 99.9)), "voxels": int(core.sum())}


def points_difference_mm(folder: Path, points: np.ndarray) -> float:
    """Compare `deformreg apply-points` with TransformPoint."""
    given, got = folder / "check_points.csv", folder / "check_points_mapped.csv"
    with given.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["name", "x", "y", "z"], *([f"p{n}", *point] for n, point in enumerate(points))])
    transform = folder / "fixed_to_moving.h5"
    subprocess.run([DEFORMREG, "apply-points", transform, given, "--out", got], check=True, capture_output=True)
    with got.open(newline="", encoding="utf-8") as file:
        ours = np.array([[float(row[axis]) for axis in "xyz"] for row in csv.DictReader(file)])
    return float(np.linalg.norm(ours - mapped(sitk.ReadTransform(str(transform)), points), axis=1).max())


def run_version(name: str, pair: tuple[nib.Nifti1Image, nib.Nifti1Image], out: Path, preset: str) -> dict[str, Path]:
    """Write and register one version of the pair."""
    folder = out / name.replace(", ", "_").replace(" ", "_")
    folder.mkdir(parents=True, exist_ok=True)
    version = VERSIONS[name]
    paths = {"fixed": folder / "fixed.nii.gz", "moving": folder / "moving.nii.gz", "result": folder / "result"}
    nib.save(version.fixed(pair[0]), paths["fixed"])
    nib.save(version.moving(pair[1]), paths["moving"])
    if not (paths["result"] / "report.json").exists():
        options = ["--out", paths["result"], "--preset", preset, "--device", "cpu", "--quiet"]
        subprocess.run([DEFORMREG, "register", paths["fixed"], paths["moving"], *options], check=True, stdout=subprocess.DEVNULL)
    return paths


def check(name: str, paths: dict[str, Path], points: np.ndarray, expected: np.ndarray, spacing: float) -> dict[str, Any]:
    """Return the figures of one registered version."""
    version = VERSIONS[name]
    transform = sitk.ReadTransform(str(paths["result"] / "fixed_to_moving.h5"))
    here = moved_by(version.fixed_world, points)
    change = np.linalg.norm(mapped(transform, here) - moved_by(version.moving_world, expected), axis=1) / spacing
    return {
        "change_vox": {"median": float(np.median(change)), "p95": float(np.percentile(change, 95)), "largest": float(change.max())},
        "moved": moved_difference(paths["result"], paths["moving"]),
        "points_mm": points_difference_mm(paths["result"], here[:500]),
    }


def as_nifti(path: Path, out: Path) -> nib.Nifti1Image:
    """Read an image of any format that SimpleITK reads."""
    sitk.WriteImage(sitk.ReadImage(str(path), sitk.sitkFloat32), str(out))
    return nib.load(out)


def line(name: str, row: dict[str, Any]) -> str:
    """Return one line of the table."""
    vox, moved = row["change_vox"], row["moved"]
    return (
        f"| {name} | {vox['median']:.4f} / {vox['p95']:.4f} / {vox['largest']:.4f} | {moved['largest']:.1e} / {moved['p999']:.1e} "
        f"| {row['points_mm']:.1e} |"
    )


def main() -> None:
    """Run all versions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixed", type=Path)
    parser.add_argument("moving", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", default="generic")
    parser.add_argument("--only", nargs="*", choices=VERSIONS, default=list(VERSIONS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    pair = as_nifti(arguments.fixed, arguments.out / "fixed.nii.gz"), as_nifti(arguments.moving, arguments.out / "moving.nii.gz")
    points = foreground_points(pair[0], 5000)
    spacing = float(np.mean(nib.affines.voxel_sizes(pair[0].affine)))
    rows: dict[str, dict[str, Any]] = {}
    first = run_version("original", pair, arguments.out, arguments.preset)
    expected = mapped(sitk.ReadTransform(str(first["result"] / "fixed_to_moving.h5")), points)
    head = "| version | change, voxels: median / 95 % / largest | moved vs SimpleITK: largest / 99.9 % | points mm |"
    lines = [head, "|---|---|---|---|"]
    print("\n".join(lines))
    for name in ["original", *(name for name in arguments.only if name != "original")]:
        rows[name] = check(name, run_version(name, pair, arguments.out, arguments.preset), points, expected, spacing)
        lines.append(line(name, rows[name]))
        print(lines[-1], flush=True)
        (arguments.out / "orientation.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
        (arguments.out / "orientation.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
