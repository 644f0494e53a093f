"""The stages of a registration in their order: prepare, align, search, refine, repair, invert."""

from __future__ import annotations

from collections.abc import Generator
from importlib.metadata import version

import torch
from torch import Tensor

from ..errors import OutOfMemoryError
from ..result import Control, Provenance, RegistrationResult, Status, Step
from ..settings import Settings
from ..space import AffineTransform, DisplacementField, Grid, LabelMap, LandmarkPairs, Volume
from ..space.jacobian import displacement_vox_to_mm
from ..space.orientation import axis_codes, reorient
from ..space.point_fits import fit_start
from .affine import align_steps
from .case import Case, Run, prepared_case
from .flows import flow_displacement, inverse_displacement
from .folding import invert_field, repair
from .kernels import gpu_check
from .kernels.ahead import loading_kernels
from .model_start import settled_model
from .refine_stage import refine_steps
from .start_stage import start_steps
from .tensors import choose_device, describe_device, guarded, to_array

Steps = Generator[Step, Control | None, RegistrationResult]


def register_steps(
    fixed: Volume,
    moving: Volume,
    settings: Settings | None = None,
    *,
    fixed_mask: LabelMap | None = None,
    moving_mask: LabelMap | None = None,
    landmarks: LandmarkPairs | None = None,
    fixed_labels: LabelMap | None = None,
    moving_labels: LabelMap | None = None,
) -> Steps:
    """Register a moving volume to a fixed one, step by step.

    Close the generator to cancel; send `Control.FINISH_NOW` to end refinement with the best so far.

    Parameters
    ----------
    fixed, moving : Volume
        Of any orientation and spacing; both 3-D, or both one slice.
    settings : Settings, optional
        The generic preset when left out.
    fixed_mask, moving_mask : LabelMap, optional
        Non-zero voxels count, the others do not.
    landmarks, fixed_labels, moving_labels : optional
        Drive the registration only as far as ``settings.refine.landmark_weight`` and ``label_weight`` say; with ``affine.start`` as
        landmarks the pairs give the start position.

    Yields
    ------
    Step
        At least once an optimizer step.

    Returns
    -------
    RegistrationResult

    Raises
    ------
    InputError
        If an image is constant or the two show nothing in common.
    EngineError
        If the computation itself fails.
    """
    chosen = settings or Settings()
    device = choose_device(chosen.device)
    arguments = (fixed, moving, chosen, fixed_mask, moving_mask, landmarks, fixed_labels, moving_labels)
    try:
        with guarded():
            return (yield from _run(device, (), *arguments))
    except OutOfMemoryError as error:
        if device.type == "cpu":
            raise
        notice = f"{error} The whole registration was repeated on the CPU."
    with guarded():
        return (yield from _run(torch.device("cpu"), (notice,), *arguments))


def register(
    fixed: Volume,
    moving: Volume,
    settings: Settings | None = None,
    *,
    fixed_mask: LabelMap | None = None,
    moving_mask: LabelMap | None = None,
    landmarks: LandmarkPairs | None = None,
    fixed_labels: LabelMap | None = None,
    moving_labels: LabelMap | None = None,
) -> RegistrationResult:
    """Register without looking at the steps; see `register_steps` for the parameters."""
    steps = register_steps(
        fixed, moving, settings, fixed_mask=fixed_mask, moving_mask=moving_mask, landmarks=landmarks, fixed_labels=fixed_labels,
        moving_labels=moving_labels,
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: RegistrationResult = end.value
            return result


def _run(
    device: torch.device, notices: tuple[str, ...], fixed: Volume, moving: Volume, settings: Settings, fixed_mask: LabelMap | None,
    moving_mask: LabelMap | None, landmarks: LandmarkPairs | None, fixed_labels: LabelMap | None, moving_labels: LabelMap | None,
) -> Steps:
    with loading_kernels():
        model, remarks = settled_model(settings, fixed.grid)
        run = Run(settings, settings.at_effort, device, model, notices=[*notices, *remarks])
        compiling = "for a minute or so" if device.type == "cpu" else "its kernels, and each process checks those of the GPU once"
        run.heed((yield run.placed(Step("prepare", message=f"the images; the first run on a machine compiles {compiling}"), 0.0)))
        with run.timed("prepare"):
            case = prepared_case(device, fixed, moving, run.settings, (fixed_mask, moving_mask), landmarks, (fixed_labels, moving_labels))
    affine = yield from _align(case, run)
    start = yield from start_steps(case, affine, run)
    flows, status = yield from refine_steps(case, affine, start, run)
    return (yield from _export(fixed, case, affine, flows, status, run))


def _align(case: Case, run: Run) -> Generator[Step, Control | None, AffineTransform]:
    with run.timed("affine"):
        steps = align_steps(case.fixed, case.moving, run.settings, _position(case, run.settings))
        count = 0
        while True:
            try:
                step = next(steps) if not run.finish_now else steps.send(Control.FINISH_NOW)
            except StopIteration as end:
                run.notices.extend(end.value.notices)
                affine: AffineTransform = end.value.affine
                return affine
            count += 1
            part = (step.level + step.index / max(step.count, 1)) / max(step.levels, 1)
            run.heed((yield run.placed(step, part)))


def _position(case: Case, settings: Settings) -> AffineTransform:
    """Return how the images lie to each other before the affine stage: as the headers say, or as landmark pairs do."""
    if settings.affine.start != "landmarks" or case.landmarks is None:
        return case.worlds.header
    return fit_start(case.landmarks, affine=settings.affine.mode != "rigid")


def _export(
    fixed: Volume, case: Case, affine: AffineTransform, flows: list[Tensor], status: Status, run: Run
) -> Steps:
    """Bring the velocities to the fixed image's full resolution, integrate, repair and invert."""
    grid = case.worlds.fixed.header_grid
    flows = [velocity.cpu() for velocity in flows]  # the repair runs on the CPU, and a full-resolution field need not fit on the GPU
    only = flows[0] if len(flows) == 1 else None
    run.heed((yield run.placed(Step("folds", message="Checking for folds at full resolution"), 0.0)))
    with run.timed("folds"):
        forward = flow_displacement(flows, grid.shape, run.effort.integrate_full)
        left = 0
        if run.settings.folds.repair:
            forward, report = repair(forward, run.settings.folds.margin)
            left = report.folds_left
            if report.folds_before:
                run.notices.append(report.text)
    run.heed((yield run.placed(Step("inverse", message="Inverting the deformation"), 0.0)))
    with run.timed("inverse"):
        backward, _ = invert_field(
            forward, inverse_displacement(flows, grid.shape, run.effort.integrate_full), run.effort.inverse_residual_vox
        )  # fmt: skip
    displacement, inverse = _to_world(forward, grid, fixed.grid), _to_world(backward, grid, fixed.grid)
    yield run.placed(Step("inverse", message="Registered"), 1.0)
    return RegistrationResult(
        affine=case.worlds.to_header(affine),
        displacement=displacement,
        inverse_displacement=inverse,
        velocity_vox=None if only is None else to_array(only),
        velocity_grid=None if only is None else grid.resized((only.shape[2], only.shape[3], only.shape[4])),
        status=Status.FOLDS_LEFT if left else status, history=tuple(run.history), settings=run.told,
        provenance=Provenance(
            version=version("napari-deformreg"), device=describe_device(run.device), seconds=dict(run.seconds),
            notices=(*run.notices, *gpu_check.notices(run.device)),
            libraries={name: version(name) for name in ("torch", "numpy", "numba")}, start=run.start,
        ),
    )


def _to_world(field: Tensor, grid: Grid, original: Grid) -> DisplacementField:
    """Turn voxels of the canonical grid into world mm on the fixed image's own grid."""
    turned, _ = reorient(field[0].movedim(0, -1).numpy(), grid, axis_codes(original))
    return DisplacementField(original, displacement_vox_to_mm(turned, grid))
