#!/usr/bin/env python3
"""One registration by one tool in a process of its own; called by compare.py, by the Python that has the tool installed.

    tools.py --tool NAME --case CASE_DIR --out FOLDER --threads N [--preset NAME] [--effort NAME] [--masks] [--device cpu]
    tools.py --missing NAME ...       prints which of these tools cannot run here, and why

FOLDER gets the transform (fixed points to moving points, any form that SimpleITK reads) and `run.json`: seconds from the files on disk to
the transform, reading included, without the start of the program and its libraries, and without writing for the referee.

greedy: the steps of its manual (affine from the image centers, then NCC of radius 2 or, between two modalities, NMI; 100x50x10).
syn: ANTsPy's 'SyN' with all defaults (affine, then Mattes, 40x20x0). elastix: affine and a B-spline of 10 mm with its documented defaults
(Mattes, adaptive stochastic gradient descent, 4 resolutions), by the program `elastix`, else by itk-elastix. fireants: its
quick start (affine, then greedy with local correlation), on a GPU. Every peer sees the raw images alone, a slice as a true 2-D image, and
of colors the same gray value as ours.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """One registration."""

    case: Path
    out: Path
    threads: int
    preset: str
    effort: str
    masks: bool
    device: str
    changes: dict[str, Any]
    plain: bool

    def find(self, stem: str) -> Path | None:
        """Return the case's file with this name before its suffixes, or None."""
        return next((path for path in sorted(self.case.iterdir()) if path.name.split(".")[0] == stem), None)

    @property
    def two_modalities(self) -> bool:
        """Whether case.json names different modalities."""
        path = self.case / "case.json"
        spec = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return len(set(spec.get("modality", ()))) > 1


@dataclass(frozen=True)
class Done:
    """How long it took, the file with the transform, and more to note."""

    seconds: float
    transform: str
    more: dict[str, Any]


# --- ours ---------------------------------------------------------------------------------------------------------------------------------


def ours(job: Job) -> Done:
    """Register with this package, in memory."""
    os.environ["OMP_NUM_THREADS"] = str(job.threads)  # how many threads the kernels use
    import torch

    import napari_deformreg as nd
    from napari_deformreg.io import read_labels, write_transform

    register = nd.register  # loads the engine and its libraries
    torch.set_num_threads(job.threads)
    settings = nd.Settings.from_preset(job.preset).changed(effort=job.effort, device=job.device).changed(**job.changes)
    if job.plain:
        without_kernels()
    for _ in range(1 if job.device == "cpu" else 2):  # a GPU's first run warms up
        began = time.perf_counter()
        images = [nd.read_image(str(job.find(side))) for side in ("fixed", "moving")]
        given = {f"{side}_mask": job.find(f"{side}_mask") for side in ("fixed", "moving")} if job.masks else {}
        masks = {name: read_labels(path) for name, path in given.items() if path is not None and all(given.values())}
        read = time.perf_counter()
        result = register(*images, settings, **masks)
        done = time.perf_counter()
    write_transform(job.out / "fixed_to_moving.h5", result.fixed_to_moving)
    stages = {"read": read - began, **result.provenance.seconds}
    stages["rest"] = done - began - sum(stages.values())
    return Done(done - began, "fixed_to_moving.h5", {"stages": stages, "notices": list(result.provenance.notices)})


def without_kernels() -> None:
    """Put plain torch in the place of the compiled kernels of the refinement's inner loop: what a program without them would do."""
    import torch

    from napari_deformreg.engine.kernels import cpu, lncc_cpu, reference

    def tensor(array: Any) -> Any:
        return torch.from_numpy(array)[None]

    def warp(image: Any, field: Any, matrix: Any, offset: Any, with_gradient: bool, weight: Any = None) -> Any:
        placed = tensor(field), torch.from_numpy(matrix.copy()), torch.from_numpy(offset.copy())
        value, gradient, inside = reference.warp(tensor(image[None]), *placed, with_gradient)
        if weight is not None:
            inside = inside * reference.warp(tensor(weight[None]), *placed, False)[0]
        return value[0, 0].numpy(), gradient[0].numpy() if with_gradient else gradient.numpy(), inside[0, 0].numpy()

    def local_correlation(*given: Any) -> Any:
        value, gradient = reference.lncc_value_and_gradient(*[tensor(part[None]) for part in given[:6]], *given[6:])
        return float(value), gradient[0, 0].numpy()

    def convolve(data: Any, kernels: Any) -> Any:
        first, second, third = (torch.from_numpy(kernel) for kernel in kernels)
        return reference.convolve_separable(tensor(data), (first, second, third))[0].numpy()

    cpu.compose = lambda outer, inner, a=1.0, b=1.0: reference.compose(tensor(outer), tensor(inner), float(a), float(b))[0].numpy()
    cpu.warp = warp
    cpu.box_sum = lambda data, radius: reference.box_sum(tensor(data), radius)[0].numpy()
    cpu.convolve_separable = convolve
    lncc_cpu.lncc_value_and_gradient = local_correlation


# --- peers --------------------------------------------------------------------------------------------------------------------------------


def is_slice(job: Job) -> bool:
    """Tell whether the fixed image is a single slice."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(job.find("fixed")))
    return image.GetDimension() == 2 or image.GetSize()[2] == 1


def nifti_pair(job: Job) -> tuple[str, str]:
    """Write both images as float NIfTI as ITK understands their headers, so that every peer reads the same; slices as true 2-D images.

    A slice loses its place in space (it begins at 0, its axes are x and y); `lifted` gives it back to the transform.
    """
    import SimpleITK as sitk

    paths = []
    for side in ("fixed", "moving"):
        image = volume(job, side)
        if is_slice(job):
            plane = sitk.GetImageFromArray(sitk.GetArrayFromImage(image)[0])
            plane.SetSpacing(image.GetSpacing()[:2])
            image = plane
        paths.append(str(job.out / f"{side}.nii.gz"))
        sitk.WriteImage(image, paths[-1])
    return paths[0], paths[1]


def volume(job: Job, side: str) -> Any:
    """Read an image of the case as a 3-D one of one channel."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(job.find(side)))
    if image.GetNumberOfComponentsPerPixel() > 1:
        image = gray_of_section(image)
    image = sitk.Cast(image, sitk.sitkFloat32)
    if image.GetDimension() == 4:
        image = image[..., 0]
    return sitk.JoinSeries(image) if image.GetDimension() == 2 else image


def gray_of_section(image: Any) -> Any:
    """Return what ours compares of a stained section on a bright slide: its luma (ITU-R BT.709), inverted, so that background is 0."""
    import SimpleITK as sitk

    parts = [sitk.VectorIndexSelectionCast(image, n, sitk.sitkFloat32) for n in range(3)]
    luma = 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
    return float(sitk.GetArrayViewFromImage(luma).max()) - luma


def lifted(job: Job, field: Any) -> str:
    """Write a 2-D displacement image between the slices of `nifti_pair` as one between the slices where they lie; returns its name."""
    import numpy as np
    import SimpleITK as sitk

    fixed, moving = volume(job, "fixed"), volume(job, "moving")
    in_plane = sitk.GetArrayFromImage(field).astype(np.float64)
    rows, columns = np.indices(in_plane.shape[:2], dtype=np.float64)
    here = np.stack([columns, rows], axis=-1) * np.array(fixed.GetSpacing()[:2])

    def world(image: Any, points: Any) -> Any:
        axes = np.array(image.GetDirection()).reshape(3, 3)[:, :2]
        return np.array(image.GetOrigin()) + points @ axes.T

    whole = sitk.GetImageFromArray((world(moving, here + in_plane) - world(fixed, here))[None], isVector=True)
    whole.CopyInformation(fixed)
    sitk.WriteImage(whole, str(job.out / "lifted.nrrd"))
    return "lifted.nrrd"


def as_volume(job: Job, name: str) -> str:
    """Return the name of a transform's file as the referee takes it: that of a slice is lifted first."""
    import SimpleITK as sitk

    if not is_slice(job):
        return name
    path = str(job.out / name)
    if not name.endswith((".h5", ".mat")):
        return lifted(job, sitk.ReadImage(path, sitk.sitkVectorFloat64))
    fixed = sitk.ReadImage(str(job.out / "fixed.nii.gz"))
    grid = fixed.GetSize(), fixed.GetOrigin(), fixed.GetSpacing(), fixed.GetDirection()
    return lifted(job, sitk.TransformToDisplacementField(sitk.ReadTransform(path), sitk.sitkVectorFloat64, *grid))


def greedy(job: Job) -> Done:
    """PICSL greedy through its Python wheel."""
    from picsl_greedy import Greedy2D, Greedy3D

    fixed, moving = nifti_pair(job)
    flat = is_slice(job)
    metric = "NMI" if job.two_modalities else "NCC 2x2" if flat else "NCC 2x2x2"
    matrix, warp, whole = (str(job.out / name) for name in ("affine.mat", "warp.nii.gz", "whole.nii.gz"))
    common = f"-d {2 if flat else 3} -i {fixed} {moving} -m {metric} -n 100x50x10 -threads {job.threads} -V 0"
    program = Greedy2D() if flat else Greedy3D()
    began = time.perf_counter()
    program.execute(f"{common} -a -dof 12 -ia-image-centers -o {matrix}")
    program.execute(f"{common} -it {matrix} -s 1.732vox 0.7071vox -o {warp}")
    seconds = time.perf_counter() - began
    program.execute(f"-d {2 if flat else 3} -rf {fixed} -r {warp} {matrix} -rc {whole} -V 0")
    return Done(seconds, as_volume(job, "whole.nii.gz"), {})


def syn(job: Job) -> Done:
    """ANTs SyN through ANTsPy."""
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(job.threads)
    import ants
    import SimpleITK as sitk

    fixed, moving = nifti_pair(job)
    began = time.perf_counter()
    found = ants.registration(ants.image_read(fixed), ants.image_read(moving), "SyN", random_seed=1)
    seconds = time.perf_counter() - began
    warp, affine = found["fwdtransforms"]
    field = sitk.DisplacementFieldTransform(sitk.ReadImage(warp, sitk.sitkVectorFloat64))
    both = sitk.CompositeTransform([sitk.ReadTransform(affine), field])
    both.FlattenTransform()
    sitk.WriteTransform(both, str(job.out / "both.h5"))
    return Done(seconds, as_volume(job, "both.h5"), {})


COMMON = {
    "FixedInternalImagePixelType": "float", "MovingInternalImagePixelType": "float", "Registration": "MultiResolutionRegistration",
    "FixedImagePyramid": "FixedSmoothingImagePyramid", "MovingImagePyramid": "MovingSmoothingImagePyramid",
    "Interpolator": "LinearInterpolator", "ResampleInterpolator": "FinalBSplineInterpolator", "Resampler": "DefaultResampler",
    "Metric": "AdvancedMattesMutualInformation", "NumberOfHistogramBins": "32", "Optimizer": "AdaptiveStochasticGradientDescent",
    "ImageSampler": "RandomCoordinate", "NumberOfSpatialSamples": "4096", "NewSamplesEveryIteration": "true", "NumberOfResolutions": "4",
    "MaximumNumberOfIterations": "500", "HowToCombineTransforms": "Compose", "WriteResultImage": "false",
    "RequiredRatioOfValidSamples": "0.05",
}  # fmt: skip
STAGES = {
    "affine": {"Transform": "AffineTransform", "AutomaticTransformInitialization": "true", "AutomaticScalesEstimation": "true"},
    "spline": {"Transform": "BSplineTransform", "FinalGridSpacingInPhysicalUnits": "10.0"},
}


def elastix(job: Job) -> Done:
    """Run elastix: the program if there is one, else the wheel."""
    fixed, moving = nifti_pair(job)
    return _elastix_program(job, fixed, moving) if shutil.which("elastix") else _elastix_wheel(job, fixed, moving)


def _elastix_program(job: Job, fixed: str, moving: str) -> Done:
    command = ["elastix", "-f", fixed, "-m", moving, "-out", str(job.out), "-threads", str(job.threads)]
    for name, own in STAGES.items():
        path = job.out / f"{name}.txt"
        path.write_text("\n".join(f"({key} {_quoted(value)})" for key, value in {**COMMON, **own}.items()) + "\n", encoding="utf-8")
        command += ["-p", str(path)]
    began = time.perf_counter()
    _called(command)
    seconds = time.perf_counter() - began
    _called(["transformix", "-def", "all", "-out", str(job.out), "-tp", str(job.out / "TransformParameters.1.txt")])
    field = next(path for path in sorted(job.out.glob("deformationField.*")) if path.suffix != ".raw")
    return Done(seconds, as_volume(job, field.name), {"by": "elastix"})


def _elastix_wheel(job: Job, fixed: str, moving: str) -> Done:
    import itk

    began = time.perf_counter()
    images = [itk.imread(path, itk.F) for path in (fixed, moving)]
    parameters = itk.ParameterObject.New()
    for own in STAGES.values():
        parameters.AddParameterMap({key: [value] for key, value in {**COMMON, **own}.items()})
    _, found = itk.elastix_registration_method(*images, parameter_object=parameters, number_of_threads=job.threads, log_to_console=False)
    seconds = time.perf_counter() - began
    field = itk.transformix_deformation_field(images[1], found)
    itk.imwrite(field, str(job.out / "field.nrrd"))
    return Done(seconds, as_volume(job, "field.nrrd"), {"by": "itk-elastix"})


def _quoted(value: str) -> str:
    return value if value.replace(".", "").isdigit() else f'"{value}"'


def _called(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")


def fireants(job: Job) -> Done:
    """FireANTs on a GPU, as its quick start does it."""
    import torch
    from fireants.io import BatchedImages, Image
    from fireants.registration.affine import AffineRegistration
    from fireants.registration.greedy import GreedyRegistration

    fixed, moving = nifti_pair(job)
    seconds = []
    for _ in range(2):  # the first run compiles and warms up; the second counts
        began = time.perf_counter()
        pair = [BatchedImages([Image.load_file(path)]) for path in (fixed, moving)]
        affine = AffineRegistration([4, 2, 1], [200, 100, 50], *pair, optimizer="Adam", optimizer_lr=3e-3, cc_kernel_size=5)
        affine.optimize()
        deformation = GreedyRegistration(
            scales=[4, 2, 1], iterations=[200, 100, 25], fixed_images=pair[0], moving_images=pair[1], cc_kernel_size=5,
            deformation_type="compositive", smooth_grad_sigma=1, optimizer="adam", optimizer_lr=0.5,
            init_affine=affine.get_affine_matrix().detach(),
        )
        deformation.optimize()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    deformation.save_as_ants_transforms(str(job.out / "warp.nii.gz"))
    more = {"seconds_first": seconds[0], "gpu_gib": torch.cuda.max_memory_allocated() / 2**30}
    return Done(seconds[1], "warp.nii.gz", more)


# --- which, and running -------------------------------------------------------------------------------------------------------------------

TOOLS: dict[str, Callable[[Job], Done]] = {
    "ours": ours, "greedy": greedy, "syn": syn, "elastix": elastix, "fireants": fireants,
}  # fmt: skip
MODULES = {"ours": "napari_deformreg", "greedy": "picsl_greedy", "syn": "ants", "elastix": "itk", "fireants": "fireants"}


def missing(tool: str) -> str | None:
    """Say why a tool cannot run here; None if it can."""
    if tool == "elastix" and shutil.which("elastix"):
        return None
    if importlib.util.find_spec(MODULES[tool]) is None:
        return f"the Python {sys.executable} has no module {MODULES[tool]}"
    if tool == "fireants":
        import torch

        return None if torch.cuda.is_available() else "it needs a CUDA GPU"
    return None


def versions() -> dict[str, str]:
    """Return the versions of the tools and what they stand on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("napari-deformreg", "torch", "numba", "picsl_greedy", "antspyx", "itk-elastix", "fireants", "SimpleITK", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if shutil.which("elastix"):
        found["elastix"] = subprocess.run(["elastix", "--version"], capture_output=True, text=True, check=False).stdout.split()[-1]
    return found


def main() -> None:
    """Run one tool, or say which are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--missing", nargs="*", choices=list(TOOLS))
    parser.add_argument("--tool", choices=list(TOOLS))
    parser.add_argument("--case", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--preset", default="generic")
    parser.add_argument("--effort", default="default")
    parser.add_argument("--masks", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--changes", type=json.loads, default={}, metavar="JSON", help="changes to our settings")
    parser.add_argument("--plain", action="store_true", help="ours without the compiled kernels of the inner loop")
    words = parser.parse_args()
    if words.missing is not None:
        print(json.dumps({"missing": {tool: missing(tool) for tool in words.missing}, "versions": versions()}))
        return
    job = Job(
        words.case, words.out, words.threads, words.preset, words.effort, words.masks, words.device, words.changes, words.plain
    )  # fmt: skip
    done = TOOLS[words.tool](job)
    row = {"seconds": done.seconds, "transform": done.transform, **done.more}
    (words.out / "run.json").write_text(json.dumps(row), encoding="utf-8")


if __name__ == "__main__":
    main()
