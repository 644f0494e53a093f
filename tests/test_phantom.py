"""The phantom's promises: an exact truth both ways, images that show it, the same files again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from napari_deformreg.io import read_image, read_labels, read_landmarks, read_transform
from napari_deformreg.phantom import PhantomPair, head_pair, slice_pair, small_pair
from napari_deformreg.phantom.head import LANDMARKS, Head
from napari_deformreg.phantom.shapes import Waves, ellipsoid, tube
from napari_deformreg.space import LabelMap, TransformChain
from napari_deformreg.workflow import sample_pair, write_samples
from napari_deformreg.workflow.samples import SAMPLES

MAKERS: dict[str, Callable[[], PhantomPair]] = {
    "head": lambda: head_pair(spacing_mm=6.0),
    "slice": slice_pair,
    "small": small_pair,
    "small 2-D": lambda: small_pair((40, 36, 1), seed=3),
    "small other contrast": lambda: small_pair((28, 32, 24), seed=5, contrast="different"),
}


@pytest.fixture(scope="module", params=list(MAKERS))
def pair(request: pytest.FixtureRequest) -> PhantomPair:
    return MAKERS[request.param]()


def _foreground(pair: PhantomPair) -> np.ndarray:
    return pair.fixed.grid.voxel_to_world(np.argwhere(pair.fixed_labels.data > 0).astype(float))


def test_truth_is_exact_both_ways(pair: PhantomPair) -> None:
    points = _foreground(pair)
    there = pair.fixed_to_moving.map(points)
    assert np.linalg.norm(pair.moving_to_fixed.map(there) - points, axis=1).max() < 0.05
    back = pair.moving_to_fixed.map(points)
    assert np.linalg.norm(pair.fixed_to_moving.map(back) - points, axis=1).max() < 0.05


def test_landmarks_agree_with_the_truth_and_lie_in_their_images(pair: PhantomPair) -> None:
    assert pair.fixed_landmarks.names == pair.moving_landmarks.names
    carried = pair.fixed_to_moving.map(pair.fixed_landmarks.points)
    assert np.linalg.norm(carried - pair.moving_landmarks.points, axis=1).max() < 0.05
    assert pair.fixed.grid.contains(pair.fixed_landmarks.points).all()
    assert pair.moving.grid.contains(pair.moving_landmarks.points).all()


def test_truth_moves_much_and_never_folds(pair: PhantomPair) -> None:
    points = _foreground(pair)[::5]
    moved = np.linalg.norm(pair.fixed_to_moving.map(points) - points, axis=1)
    assert moved.max() > 2 * pair.fixed.grid.spacing.min()
    steps = 0.05 * np.eye(3)
    slopes = [(pair.fixed_to_moving.map(points + step) - pair.fixed_to_moving.map(points - step)) / 0.1 for step in steps]
    jacobian = np.linalg.det(np.stack(slopes, -1))
    assert jacobian.min() > 0.1
    assert jacobian.max() > 1.04, "some places must grow"
    assert jacobian.min() < 0.96, "others must shrink"


def _agreement(fixed: LabelMap, moving: LabelMap, truth: TransformChain) -> float:
    """Share of fixed voxels inside a structure whose place in moving bears the same label."""
    inside = np.zeros(fixed.grid.shape, dtype=bool)
    cross = ndimage.generate_binary_structure(3, 1)
    if fixed.grid.is_2d:
        cross[:, :, [0, 2]] = False
    for label in fixed.labels:
        inside |= ndimage.binary_erosion(fixed.data == label, cross)
    places = truth.map(fixed.grid.voxel_to_world(np.argwhere(inside).astype(float)))
    assert len(places) > 50
    voxels = np.clip(np.rint(moving.grid.world_to_voxel(places)).astype(int), 0, np.array(moving.grid.shape) - 1)
    return float((moving.data[tuple(voxels.T)] == fixed.data[inside]).mean())


@pytest.mark.parametrize("name", ["small", "small 2-D", "small other contrast", "slice"])
def test_labels_of_moving_pulled_through_the_truth_are_those_of_fixed(name: str) -> None:
    pair = MAKERS[name]()
    assert _agreement(pair.fixed_labels, pair.moving_labels, pair.fixed_to_moving) > 0.97
    assert _agreement(pair.fixed_labels, pair.moving_labels, TransformChain(())) < 0.9, "or the test could not fail"


def test_a_2d_truth_stays_in_its_plane() -> None:
    pair = slice_pair()
    assert pair.fixed.grid.is_2d
    assert pair.moving.grid.is_2d
    points = _foreground(pair)
    assert np.abs(pair.fixed_to_moving.map(points)[:, 2] - points[:, 2]).max() < 1e-9


def test_same_seed_same_pair_other_seed_other_pair() -> None:
    first, again, other = small_pair(seed=7), small_pair(seed=7), small_pair(seed=8)
    assert np.array_equal(first.moving.data, again.moving.data)
    assert np.array_equal(first.fixed_landmarks.points, again.fixed_landmarks.points)
    assert not np.array_equal(first.moving.data, other.moving.data)
    points = _foreground(first)
    assert np.linalg.norm(first.fixed_to_moving.map(points) - other.fixed_to_moving.map(points), axis=1).max() > 1


def test_contrasts_differ_in_the_order_of_tissues() -> None:
    same, different = small_pair(seed=2), small_pair(seed=2, contrast="different")
    fluid, core = 4, 2  # the organ "back", and what surrounds it

    def brighter(pair: PhantomPair) -> bool:
        return bool(pair.moving.data[pair.moving_labels.data == fluid].mean() > pair.moving.data[pair.moving_labels.data == core].mean())

    assert not brighter(same)
    assert brighter(different)


def test_head_asymmetry_is_inverted_exactly() -> None:
    head = Head.random(np.random.default_rng(3))
    points = np.array(list(LANDMARKS.values()))
    assert np.allclose(head.to_symmetric(head.from_symmetric(points)), points, atol=1e-9)


def test_head_shows_what_its_landmarks_name() -> None:
    pair = head_pair(spacing_mm=3.0)
    labels, names = pair.moving_labels, {n: k for k, n in pair.moving_labels.label_names.items()}
    for landmark, structure in {
        "atrium right": "lateral ventricle right", "atrium left": "lateral ventricle left", "caudate head left": "caudate left",
        "pulvinar right": "thalamus right", "hippocampus head left": "hippocampus left",
    }.items():  # fmt: skip
        place = pair.moving_landmarks.points[[pair.moving_landmarks.names.index(landmark)]]
        voxels = pair.moving.grid.voxel_to_world(np.argwhere(labels.data == names[structure]).astype(float))
        assert np.linalg.norm(voxels - place, axis=1).min() < 4.5, landmark


def test_waves_have_unit_variance_and_their_gradient_is_right(rng: np.random.Generator) -> None:
    waves = Waves.random(rng, 20.0, 40)
    points = rng.uniform(-500, 500, size=(4000, 3))
    value, gradient = waves.with_gradient_at(points)
    assert value == pytest.approx(waves.at(points))
    assert value.std() == pytest.approx(1, abs=0.1)
    step = 1e-4
    for axis in range(3):
        shift = step * np.eye(3)[axis]
        assert gradient[:, axis] == pytest.approx((waves.at(points + shift) - waves.at(points - shift)) / (2 * step), abs=1e-5)


def test_distances_are_zero_on_surfaces_and_signed(rng: np.random.Generator) -> None:
    center, radii = np.array([3.0, -2.0, 5.0]), np.array([10.0, 20.0, 15.0])
    direction = rng.normal(size=(100, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    assert np.abs(ellipsoid(center + direction * radii, center, radii)).max() < 1e-9
    assert (ellipsoid(center + 0.5 * direction * radii, center, radii) < 0).all()
    assert ellipsoid(center[None], center, radii)[0] < -9
    assert np.allclose(ellipsoid(4 * direction, np.zeros(3), np.full(3, 3.0)), 1.0)
    assert np.allclose(tube(np.array([[0, 5.0, 0], [0, 0, 30.0]]), ((0, 0, -10), (0, 0, 10)), (2, 2)), [3, 18])


@pytest.mark.parametrize("name", list(SAMPLES))
def test_sample_pairs_are_whole_and_their_files_agree(name: str) -> None:
    pair = sample_pair(name)  # type: ignore[arg-type]
    fixed, moving = read_image(pair.paths.fixed), read_image(pair.paths.moving)
    assert fixed.grid.is_2d == moving.grid.is_2d == (name == "slice")
    labels = read_labels(str(pair.paths.fixed_labels))
    assert labels.grid == fixed.grid
    assert set(labels.labels) <= set(labels.label_names)
    assert _agreement(labels, read_labels(str(pair.paths.moving_labels)), pair.truth()) > 0.97
    # ITK itself, as any other tool would use the truth: LPS points.
    tables = (pair.paths.fixed_landmarks, pair.paths.moving_landmarks)
    points, expected = (read_landmarks(str(table)).points * [-1, -1, 1] for table in tables)
    truth, back = sitk.ReadTransform(str(pair.fixed_to_moving)), sitk.ReadTransform(str(pair.moving_to_fixed))
    there = np.array([truth.TransformPoint(point) for point in points.tolist()])
    assert np.linalg.norm(there - expected, axis=1).max() < 0.05
    assert np.linalg.norm([back.TransformPoint(point) for point in there.tolist()] - points, axis=1).max() < 0.05


def test_sample_data_are_small() -> None:
    folder = Path(str(sample_pair("head").paths.fixed)).parent
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5e6


@pytest.mark.slow
def test_sample_data_are_made_again_as_they_are(tmp_path: Path) -> None:
    write_samples(tmp_path)
    shipped = Path(str(sample_pair("head").paths.fixed)).parent
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in shipped.iterdir()}
    for made in sorted(tmp_path.iterdir()):
        old = shipped / made.name
        if made.name.endswith(".nii.gz"):
            one, two = read_image(made), read_image(old)
            assert one.grid == two.grid
            # A processor whose cosine differs in the last bit may round a voxel the other way.
            assert (one.data != two.data).mean() < 1e-4, made.name
        elif made.suffix == ".h5":
            for one, two in zip(read_transform(made).transforms, read_transform(old).transforms, strict=True):
                points = np.random.default_rng(0).uniform(-80, 80, size=(500, 3))
                assert np.allclose(one.map(points), two.map(points), atol=1e-3)
        else:
            assert made.read_text(encoding="utf-8") == old.read_text(encoding="utf-8")
