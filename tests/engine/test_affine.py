"""The start position and the affine stage find known matrices, in any world; oracles: analytic images, finite differences, SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.spatial.transform import Rotation

from napari_deformreg.engine import affine as stage
from napari_deformreg.engine.affine import align_steps, frames_of
from napari_deformreg.engine.affine_climb import basis_of, moved
from napari_deformreg.engine.affine_similarity import pair_of, similarity
from napari_deformreg.engine.kernels import affine_cpu, affine_reference
from napari_deformreg.engine.start import FIELD_REACH, FIELD_SPREAD, FIELD_STEPS, field_start, places_nothing
from napari_deformreg.engine.tensors import Placed
from napari_deformreg.errors import InputError
from napari_deformreg.result import Control
from napari_deformreg.settings import Settings
from napari_deformreg.space import AffineTransform, Grid
from napari_deformreg.space.orientation import ras_to_lps, ras_to_lps_matrix

RNG = np.random.default_rng(11)
CENTERS = RNG.normal(0, [28, 36, 26], (60, 3))
WIDTHS = RNG.uniform(5, 14, 60)
HEIGHTS = RNG.uniform(0.2, 0.5, 60)


def anatomy(points):
    """An asymmetric body of about 160 x 200 x 150 mm with structures in it, at world points."""
    body = 0.5 / (1 + np.exp(((points / [70, 88, 64]) ** 2).sum(-1) * 8 - 8))
    squares = (points**2).sum(1)[:, None] - 2 * points @ CENTERS.T + (CENTERS**2).sum(1)
    parts = np.exp((-squares / (2 * WIDTHS**2)).astype(np.float32)) @ HEIGHTS.astype(np.float32)
    return body * (0.5 + parts)


def render(grid, to_anatomy=None, contrast=None):
    """The anatomy on a grid; `to_anatomy` carries the grid's world to the anatomy's."""
    points = grid.voxel_to_world(grid.voxel_indices())
    if to_anatomy is not None:
        points = points @ to_anatomy[:3, :3].T + to_anatomy[:3, 3]
    data = anatomy(points).reshape(grid.shape)
    data = np.clip(data / 0.8, 0, 1)
    if contrast is not None:
        data = contrast(data)
    return Placed(torch.from_numpy(data.astype(np.float32))[None, None], grid)


def centered_grid(shape, spacing, turn=None):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) * np.asarray(spacing, float)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def matrix(degrees=(0, 0, 0), shift=(0, 0, 0), scale=1.0):
    out = np.eye(4)
    out[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ np.diag(np.broadcast_to(scale, 3))
    out[:3, 3] = shift
    return out


def finish(steps):
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            return end.value, seen


def miss_mm(alignment, truth, grid):
    """Largest error over the anatomy's extent."""
    points = np.array([[x, y, z] for x in (-60, 60) for y in (-75, 75) for z in (-55, 55)], float)
    if grid.is_2d:
        points = grid.voxel_to_world(grid.voxel_indices()[::50])
    return float(np.linalg.norm(alignment.affine.map(points) - (points @ truth[:3, :3].T + truth[:3, 3]), axis=1).max())


FIXED_GRID = centered_grid((40, 46, 36), (4.8, 4.8, 4.8))
MOVING_GRID = centered_grid((50, 42, 33), (3.6, 5.4, 6))
MULTI = Settings(modality="different")


def moving_for(truth, grid=MOVING_GRID, contrast=None):
    """A moving image, its grid carried along by `truth`, so that the truth is fixed to moving."""
    placed = Grid(grid.shape, matrix(shift=truth[:3, 3]) @ grid.affine)
    return render(placed, np.linalg.inv(truth), contrast)


def inverted(data):
    """Another contrast: neither rising nor falling throughout, with a dark background."""
    return np.clip(np.sin(data * 4.2) * 0.9 + 0.05 * data, 0, 1)


# --- kernels ----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def problem(rng):
    """Random images and a matrix whose samples lie between voxels."""
    moving_shape = (8, 9, 10)
    near = np.array([[0.9, 0.1, 0, 0.3], [-0.1, 1.1, 0.05, 0.2], [0.02, -0.1, 1.2, -0.7]]) + rng.normal(0, 0.01, (3, 4))
    return (
        rng.random((9, 8, 7, 3)).astype(np.float32), rng.random((9, 8, 7)).astype(np.float32),
        rng.random((*moving_shape, 3)).astype(np.float32), rng.random(moving_shape).astype(np.float32), near,
    )  # fmt: skip


def as_channels(image):
    return torch.from_numpy(image).movedim(-1, 0)[None]


def as_image(image):
    return torch.from_numpy(image)[None, None]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("flat", [None, 0, 1, 2])
def test_moments_equal_their_twin(problem, weighted, flat):
    fixed, fixed_weight, moving, moving_weight, near = problem
    if flat is not None:  # a slice: one voxel along an axis
        keep = [slice(0, 1) if n == flat else slice(None) for n in range(3)]
        images = (fixed, fixed_weight, moving, moving_weight)
        fixed, fixed_weight, moving, moving_weight = (np.ascontiguousarray(image[tuple(keep)]) for image in images)
    weight = moving_weight if weighted else None
    got = affine_cpu.moments(fixed, fixed_weight, moving, weight, near)
    twin_weight = None if weight is None else as_image(weight)
    want = affine_reference.moments(
        as_channels(fixed), as_image(fixed_weight), as_channels(moving), twin_weight, torch.from_numpy(near)
    )
    for ours, twin in zip((got[0], got[1], affine_cpu.curvature_matrix(got[2])), want, strict=True):
        np.testing.assert_allclose(ours, twin.numpy(), rtol=1e-4, atol=1e-4 * np.abs(twin.numpy()).max())


@pytest.mark.parametrize("weighted", [False, True])
def test_histogram_and_its_derivative_equal_their_twins(problem, rng, weighted):
    _, fixed_weight, moving, moving_weight, near = problem
    moving, weight = np.ascontiguousarray(moving[..., 0]), moving_weight if weighted else None
    bins, table = rng.integers(0, 16, fixed_weight.shape).astype(np.int32), rng.random((16, 16))
    others = (as_image(fixed_weight), as_image(moving), None if weight is None else as_image(weight), torch.from_numpy(near))
    counts = affine_cpu.histogram(bins, fixed_weight, moving, weight, near, 16)
    np.testing.assert_allclose(counts, affine_reference.histogram(torch.from_numpy(bins), *others, 16).numpy(), atol=1e-5)
    gradient, curvature = affine_cpu.table_derivative(bins, fixed_weight, moving, weight, near, table)
    want = affine_reference.table_derivative(torch.from_numpy(bins), *others, torch.from_numpy(table))
    np.testing.assert_allclose(gradient.ravel(), want[0].numpy(), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(affine_cpu.curvature_matrix(curvature), want[1].numpy(), rtol=1e-4, atol=1e-2)


# --- similarity -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("measure", "tolerance"), [("ncc", 0.02), ("nmi", 0.03), ("mind_ssc", 0.03)])
def test_the_gradient_is_that_of_the_value(measure, tolerance):
    # The fixed grid lies well inside the moving one: where the overlap changes, its own derivative is left out on purpose.
    fixed, moving = render(centered_grid((14, 16, 12), (7, 7, 7))), render(centered_grid((30, 34, 28), (6, 6, 6)), contrast=np.sqrt)
    frames = frames_of(fixed.grid, moving.grid)
    pair = pair_of(fixed, moving, frames, measure)
    local = frames.from_world(matrix((5, -4, 3), (3, 2, -4), 1.05))
    score = similarity(pair, local)
    step, numeric = 2e-4, np.zeros(12)
    for n in range(12):
        change = np.zeros((4, 4))
        change.ravel()[n] = step
        numeric[n] = (similarity(pair, local + change).value - similarity(pair, local - change).value) / (2 * step)
    np.testing.assert_allclose(score.gradient, numeric, atol=tolerance * np.abs(numeric).max())
    assert np.linalg.eigvalsh(score.curvature).min() > -1e-9


def test_correlation_equals_that_of_images_resampled_by_itk():
    fixed, moving = render(FIXED_GRID), render(MOVING_GRID)
    world = matrix((6, -4, 3), (2, 5, -3), 1.1)
    frames = frames_of(fixed.grid, moving.grid)
    ours = similarity(pair_of(fixed, moving, frames, "ncc"), frames.from_world(world)).value
    images = []
    for placed in (fixed, moving):
        image = sitk.GetImageFromArray(np.ascontiguousarray(placed.data[0, 0].numpy().transpose(2, 1, 0)))
        image.SetSpacing(placed.grid.spacing.tolist())
        image.SetDirection(np.diag([-1.0, -1.0, 1.0]).ravel().tolist())
        image.SetOrigin(ras_to_lps(placed.grid.affine[:3, 3]).tolist())
        images.append(image)
    lps = ras_to_lps_matrix(world)
    transform = sitk.AffineTransform(lps[:3, :3].ravel().tolist(), lps[:3, 3].tolist())
    itk = sitk.GetArrayFromImage(sitk.Resample(images[1], images[0], transform, sitk.sitkLinear, -1.0))
    inside = itk >= 0
    want = np.corrcoef(itk[inside], sitk.GetArrayFromImage(images[0])[inside])[0, 1]
    assert ours == pytest.approx(want, abs=2e-3)


def test_rigid_moves_keep_a_rotation_and_slices_keep_their_plane():
    for axes in ((0, 1, 2), (0, 2)):
        local = moved(np.eye(4), np.linspace(0.1, 0.4, basis_of("rigid", np.eye(4), axes).shape[1]), "rigid", axes)
        np.testing.assert_allclose(local[:3, :3] @ local[:3, :3].T, np.eye(3), atol=1e-12)
        other = moved(local, np.linspace(-0.1, 0.2, basis_of("affine", local, axes).shape[1]), "affine", axes)
        for axis in {0, 1, 2} - set(axes):
            np.testing.assert_array_equal(other[axis], np.eye(4)[axis])
            np.testing.assert_array_equal(other[:3, axis], np.eye(3)[axis])


# --- known truths -----------------------------------------------------------------------------------------------------------------------

TRUTHS = {
    "pitch and offset": matrix((20, 0, 0), (0, 160, -120)),
    "roll": matrix((0, -25, 0), (20, -10, 0)),
    "yaw and far": matrix((0, 0, 30), (200, 0, 0)),
    "all axes, scaled": matrix((15, -12, 18), (-200, 90, 60), (1.1, 0.92, 1.05)),
}


@pytest.mark.parametrize("truth", TRUTHS.values(), ids=TRUTHS.keys())
def test_known_matrices_are_found(truth):
    alignment, _ = finish(align_steps(render(FIXED_GRID), moving_for(truth), Settings()))
    assert miss_mm(alignment, truth, FIXED_GRID) < 1.0  # a quarter of a voxel
    assert alignment.similarity_after > 0.99
    assert alignment.notices == ()


@pytest.mark.parametrize("truth", TRUTHS.values(), ids=TRUTHS.keys())
def test_known_matrices_are_found_between_two_contrasts(truth):
    alignment, _ = finish(align_steps(render(FIXED_GRID), moving_for(truth, contrast=inverted), MULTI))
    assert miss_mm(alignment, truth, FIXED_GRID) < 3.0  # under a voxel


@pytest.mark.parametrize("measure", ["nmi", "mind_ssc"])
def test_other_similarities_on_request(measure):
    truth = TRUTHS["pitch and offset"]
    settings = Settings().changed(affine={"similarity": measure})
    alignment, _ = finish(align_steps(render(FIXED_GRID), moving_for(truth), settings))
    assert miss_mm(alignment, truth, FIXED_GRID) < 2.0


def test_different_fields_of_view():
    truth = TRUTHS["pitch and offset"]
    whole = moving_for(truth)
    affine = whole.grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [0, 0, 11]
    top = Placed(whole.data[..., 11:].contiguous(), Grid((50, 42, 22), affine))
    alignment, _ = finish(align_steps(render(FIXED_GRID), top, Settings()))
    assert miss_mm(alignment, truth, FIXED_GRID) < 2.0


def test_rigid_only_turns_and_shifts():
    truth = matrix((10, 5, -8), (12, -9, 6), 1.06)
    settings = Settings().changed(affine={"mode": "rigid"})
    alignment, _ = finish(align_steps(render(FIXED_GRID), moving_for(truth), settings))
    turn = alignment.affine.matrix[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    assert np.degrees(np.linalg.norm(Rotation.from_matrix(turn.T @ matrix((10, 5, -8))[:3, :3]).as_rotvec())) < 1.0


@pytest.mark.parametrize(("settings", "contrast"), [(Settings(), None), (MULTI, inverted)], ids=["one modality", "two"])
def test_world_origins_and_the_place_of_the_headers_do_not_matter(settings, contrast):
    truth = matrix((6, 3, -5), (4, -3, 5), 1.03)
    fixed, moving = render(FIXED_GRID), moving_for(truth, contrast=contrast)
    points = FIXED_GRID.corners()
    here, _ = finish(align_steps(fixed, moving, settings))
    for offset in ([1.7, -2.3, 0.9], [25.0, 30.0, -20.0], [1500.0, -900.0, 400.0]):
        away = Placed(moving.data, Grid(moving.grid.shape, matrix(shift=offset) @ moving.grid.affine))
        there, _ = finish(align_steps(fixed, away, settings))
        change = there.affine.map(points) - offset - here.affine.map(points)
        assert np.abs(change).max() < 1e-4 * 3.6  # the same start for all, whatever the headers say


def test_a_header_between_two_worlds_is_taken_for_the_position():
    truth = matrix((6, 3, -5), (4, -3, 5), 1.03)
    fixed, moving = render(FIXED_GRID), moving_for(truth)
    away = matrix((0, 0, 90), (500, 40, -30))
    there = Placed(moving.data, Grid(moving.grid.shape, away @ moving.grid.affine))
    for changes in ({"mode": "none"}, {"start": "header"}):
        settings = Settings().changed(affine=changes)
        one, _ = finish(align_steps(fixed, moving, settings))
        other, _ = finish(align_steps(fixed, there, settings, AffineTransform(away)))
        np.testing.assert_allclose(other.affine.matrix, away @ one.affine.matrix, atol=1e-5)


def test_a_mask_hides_what_is_outside():
    truth = TRUTHS["roll"]
    fixed, moving = render(FIXED_GRID), moving_for(truth)
    masked = []
    for image, place in ((fixed, np.eye(4)), (moving, np.linalg.inv(truth))):
        points = image.grid.voxel_to_world(image.grid.voxel_indices()) @ place[:3, :3].T + place[:3, 3]
        inside = ((points / [76, 95, 70]) ** 2).sum(-1).reshape(image.grid.shape) < 1
        junk = np.random.default_rng(len(masked)).random(image.grid.shape)  # bright and different in both
        data = np.where(inside, image.data[0, 0].numpy(), junk)
        masked.append(Placed(as_image(data.astype(np.float32)), image.grid, as_image(inside.astype(np.float32))))
    alignment, _ = finish(align_steps(masked[0], masked[1], Settings()))
    assert miss_mm(alignment, truth, FIXED_GRID) < 2.0


def test_identical_images_stay_where_they_are():
    for settings in (Settings(), MULTI):
        alignment, _ = finish(align_steps(render(FIXED_GRID), render(FIXED_GRID), settings))
        np.testing.assert_allclose(alignment.affine.matrix, np.eye(4), atol=1e-9)
        assert alignment.similarity_after >= alignment.similarity_before


def test_two_contrasts_in_one_space_stay_where_they_are():
    alignment, _ = finish(align_steps(render(FIXED_GRID), render(MOVING_GRID, contrast=inverted), MULTI))
    assert miss_mm(alignment, np.eye(4), FIXED_GRID) < 0.5


def test_the_same_input_gives_the_same_result():
    runs = [finish(align_steps(render(FIXED_GRID), moving_for(TRUTHS["roll"]), Settings()))[0] for _ in range(2)]
    np.testing.assert_array_equal(runs[0].affine.matrix, runs[1].affine.matrix)


# --- slices -----------------------------------------------------------------------------------------------------------------------------


def slice_grid(normal, turn=None):
    shape = tuple(1 if n == normal else 60 for n in range(3))
    return centered_grid(shape, (3, 3, 3), turn)


@pytest.mark.parametrize("normal", [0, 1, 2])
def test_slices_are_aligned_within_their_planes(normal):
    oblique = Rotation.from_euler("xyz", (8, -6, 4), degrees=True).as_matrix()
    fixed_grid, plain = slice_grid(normal), slice_grid(normal, oblique)
    angles = np.zeros(3)
    angles[normal] = 22
    within = matrix(angles, np.where(np.arange(3) == normal, 0, 14.0))
    # The moving slice shows the turned fixed slice, and hangs obliquely somewhere else in the world.
    flat = render(slice_grid(normal), np.linalg.inv(within))
    placed = Grid(plain.shape, matrix(shift=(150, 40, -70)) @ plain.affine)
    moving = Placed(flat.data, placed)
    truth = placed.affine @ flat.grid.world_to_voxel_matrix @ within
    alignment, _ = finish(align_steps(render(fixed_grid), moving, Settings()))
    assert miss_mm(alignment, truth, fixed_grid) < 1.0
    voxels = placed.world_to_voxel(alignment.affine.map(fixed_grid.voxel_to_world(fixed_grid.voxel_indices())))
    assert np.abs(voxels[:, normal]).max() < 1e-9  # exactly in the moving plane, so that ITK samples it


def test_slices_across_each_other_and_a_slice_with_a_volume_are_refused():
    with pytest.raises(InputError, match="one orientation"):
        next(align_steps(render(slice_grid(0)), render(slice_grid(2)), Settings()))
    with pytest.raises(InputError, match="one orientation"):
        next(align_steps(render(FIXED_GRID), render(slice_grid(2)), Settings()))


# --- modes, refusals, control -----------------------------------------------------------------------------------------------------------


def test_no_alignment_on_request_and_refusal_without_overlap():
    settings = Settings().changed(affine={"mode": "none"})
    alignment, seen = finish(align_steps(render(FIXED_GRID), moving_for(matrix((5, 0, 0))), settings))
    np.testing.assert_allclose(alignment.affine.matrix, np.eye(4), atol=1e-9)
    assert seen == []
    for changes in ({"mode": "none"}, {"start": "header"}):
        with pytest.raises(InputError, match="no overlap"):
            finish(align_steps(render(FIXED_GRID), moving_for(matrix(shift=(600, 0, 0))), Settings().changed(affine=changes)))


def noise(grid, seed):
    data = np.random.default_rng(seed).random(grid.shape).astype(np.float32)
    return Placed(as_image(data), grid)


def test_images_that_do_not_resemble_each_other_stay_near_the_headers_or_are_refused():
    grid = centered_grid((24, 24, 24), (2, 2, 2))
    away = Grid(grid.shape, matrix(shift=(300, 0, 0)) @ grid.affine)
    for settings in (Settings(), MULTI):
        alignment, _ = finish(align_steps(noise(grid, 0), noise(grid, 1), settings))
        assert alignment.notices[0] == stage.UNSURE
        np.testing.assert_allclose(alignment.affine.matrix[:3, :3], np.eye(3), atol=1e-9)
        with pytest.raises(InputError, match="no overlap"):
            finish(align_steps(noise(grid, 0), noise(away, 1), settings))
    centered, _ = finish(align_steps(noise(grid, 0), noise(away, 1), Settings().changed(affine={"start": "center"})))
    assert np.abs(centered.affine.matrix[:3, 3] - [300, 0, 0]).max() < 24


def in_one_corner(shape, spacing, corner=(0, 0, 0), turn=None):
    """A grid of which one corner's voxel center lies at the world's origin."""
    affine = centered_grid(shape, spacing, turn).affine.copy()
    affine[:3, 3] = -affine[:3, :3] @ (np.array(corner) * (np.array(shape) - 1))
    return Grid(shape, affine)


def test_fields_of_different_sizes_in_one_corner_tell_no_position():
    def told(fixed, moving):
        return not places_nothing(fixed, moving, frames_of(fixed, moving))

    small, large = (20, 24, 18), (30, 31, 29)
    for corner in ((0, 0, 0), (1, 1, 0), (1, 0, 1)):  # first voxels of RAS, LPS, PIR-like files in canonical order
        assert not told(in_one_corner(small, (2, 2, 2), corner), in_one_corner(large, (2, 2, 2.5), corner))
    assert told(centered_grid(small, (2, 2, 2)), centered_grid(large, (2, 2, 2)))
    assert told(in_one_corner(small, (2, 2, 2)), in_one_corner((30, 31, 18), (2, 2, 2)))  # as high: a crop of two axes
    assert told(in_one_corner(small, (2, 2, 2)), in_one_corner(large, (2, 2, 2), turn=matrix((0, 0, 8))[:3, :3]))
    moved_on = Grid(large, matrix(shift=(1, 0, 0)) @ in_one_corner(large, (2, 2, 2)).affine)
    assert told(in_one_corner(small, (2, 2, 2)), moved_on)
    assert not told(in_one_corner((20, 24, 1), (2, 2, 2)), in_one_corner((30, 31, 1), (2, 2, 2)))


@pytest.mark.parametrize("measure", ["ncc", "nmi"])
def test_the_likeliest_shift_is_the_true_one_where_the_images_tell_it_and_small_where_they_do_not(measure):
    grid = centered_grid((24, 24, 24), (2, 2, 2))
    frames = frames_of(grid, grid)
    step = 2 * FIELD_REACH / (FIELD_STEPS - 1) * frames.radius_mm
    rough = noise(grid, 0).data
    for _ in range(2):
        rough = torch.nn.functional.avg_pool3d(rough, 3, 1, 1)
    fixed = Placed((rough - rough.min()) / (rough.max() - rough.min()), grid)
    shifted = Placed(torch.roll(fixed.data, (4, -2), (2, 4)), grid)  # by 8 and -4 mm: what was at x lies at x + shift now
    best, _ = finish(field_start((fixed, shifted), frames, measure))
    np.testing.assert_allclose(best.local[:3, 3] * frames.radius_mm, (8, 0, -4), atol=1.05 * step)  # the prior draws a step inwards
    nothing, _ = finish(field_start((fixed, noise(grid, 5)), frames, measure))
    assert np.linalg.norm(nothing.local[:3, 3]) < 3 * FIELD_SPREAD
    assert not nothing.is_sure


def test_images_alike_in_nothing_and_placed_by_nothing_are_laid_middle_on_middle():
    fixed, moving = in_one_corner((22, 26, 20), (2, 2, 2)), in_one_corner((34, 36, 33), (2, 2, 2))
    centers = moving.center - fixed.center
    for settings in (Settings(), MULTI):
        alignment, seen = finish(align_steps(noise(fixed, 0), noise(moving, 1), settings))
        assert alignment.notices == (stage.UNSURE, stage.BY_FIELDS)
        np.testing.assert_allclose(alignment.affine.matrix[:3, :3], np.eye(3), atol=1e-9)
        assert np.linalg.norm(alignment.affine.matrix[:3, 3] - centers) < 3 * FIELD_SPREAD * frames_of(fixed, moving).radius_mm
        assert [step.fraction for step in seen] == sorted(step.fraction for step in seen)
    asked, _ = finish(align_steps(noise(fixed, 0), noise(moving, 1), MULTI.changed(affine={"start": "header"})))
    assert stage.BY_FIELDS not in asked.notices


def test_steps_tell_the_way_and_finishing_early_keeps_the_best():
    truth = TRUTHS["pitch and offset"]
    full, seen = finish(align_steps(render(FIXED_GRID), moving_for(truth), Settings()))
    fractions = [step.fraction for step in seen]
    assert len(seen) > 20
    assert fractions == sorted(fractions)
    assert fractions[0] >= 0
    assert fractions[-1] <= 1
    assert {step.stage for step in seen} == {"affine"}
    steps = align_steps(render(FIXED_GRID), moving_for(truth), Settings())
    while next(steps).fraction < 0.3:
        pass
    with pytest.raises(StopIteration) as end:
        steps.send(Control.FINISH_NOW)
    early = end.value.value
    assert early.similarity_before < early.similarity_after <= full.similarity_after
