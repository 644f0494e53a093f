"""What is under the cursor, against SimpleITK on an oblique anisotropic pair."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from grids import oblique_grid, oriented_grid, smooth_field

from napari_deformreg.space import AffineTransform, LabelMap, Volume
from napari_deformreg.ui.layers import Placement
from napari_deformreg.ui.pictures import ResultPicture
from napari_deformreg.ui.probe import Probe, reading_lines

FLIP = np.array([-1.0, -1.0, 1.0])


def as_itk(data, grid):
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.moveaxis(data, (0, 1, 2), (2, 1, 0))), isVector=data.ndim == 4)
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin((FLIP * grid.affine[:3, 3]).tolist())
    image.SetDirection((FLIP[:, None] * grid.direction).ravel().tolist())
    return image


@pytest.fixture(scope="module", params=[oblique_grid(), oriented_grid("PSR", spacing=(1.0, 1.5, 2.5))], ids=["oblique", "PSR"])
def case(request):
    grid, rng = request.param, np.random.default_rng(4)
    images = {name: Volume(rng.normal(size=grid.shape).astype(np.float32), grid, name) for name in ("fixed", "moved", "before", "jacobian")}
    matrix = np.eye(4)
    matrix[:3, :3] += rng.normal(0, 0.05, (3, 3))
    matrix[:3, 3] = (5, -3, 12)
    return images, ResultPicture(
        images["fixed"],
        images["moved"],
        smooth_field(grid, rng, 4.0),
        AffineTransform(matrix),
        images["jacobian"],
        LabelMap(np.zeros(grid.shape, np.int32), grid, "folds"),
        {},
        moving_before=images["before"],
    )


def test_values_and_mapped_point_are_simpleitks(case):
    images, picture = case
    grid, rng = picture.displacement.grid, np.random.default_rng(5)
    points = grid.voxel_to_world(rng.uniform(0, np.array(grid.shape) - 1, (40, 3)))
    probe = Probe(picture)
    itk = {name: as_itk(volume.data, grid) for name, volume in images.items()}
    field = sitk.DisplacementFieldTransform(sitk.Cast(as_itk(picture.displacement.displacement_mm * FLIP, grid), sitk.sitkVectorFloat64))
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((np.outer(FLIP, FLIP) * picture.affine.matrix[:3, :3]).ravel().tolist())
    affine.SetTranslation((FLIP * picture.affine.matrix[:3, 3]).tolist())
    for point in points:
        lps = (FLIP * point).tolist()
        reading = probe.at(point)
        for name in images:
            expected = itk[name].EvaluateAtPhysicalPoint(lps, sitk.sitkNearestNeighbor)
            assert getattr(reading, name) == pytest.approx(expected, abs=1e-6)
        moved = np.array(field.TransformPoint(lps))
        np.testing.assert_allclose(reading.displacement_mm, FLIP * (moved - lps), atol=1e-4)
        np.testing.assert_allclose(reading.mapped_mm, FLIP * affine.TransformPoint(moved.tolist()), atol=1e-4)


def test_the_voxel_that_is_drawn_under_the_cursor_is_read(case):
    """napari draws the array z, y, x on its own axes; the place of a drawn voxel gives this voxel's value."""
    _, picture = case
    placement = Placement(picture.displacement.grid)
    drawn = placement.to_layer_array(picture.moved.data)
    arguments = placement.layer_arguments
    rng = np.random.default_rng(6)
    for _ in range(40):
        voxel = np.array([rng.integers(n) for n in drawn.shape])
        place = voxel * arguments["scale"] + arguments["translate"] + rng.uniform(-0.45, 0.45, 3) * arguments["scale"]
        assert Probe(picture).at_drawn(tuple(place)).moved == pytest.approx(float(drawn[tuple(voxel)]))


def test_outside_the_image_nothing_is_made_up(case):
    _, picture = case
    reading = Probe(picture).at(np.array([1e4, 0, 0]))
    assert (reading.fixed, reading.moved, reading.jacobian) == (None, None, None)
    np.testing.assert_array_equal(reading.displacement_mm, 0)
    texts = dict(reading_lines(reading))
    assert texts["fixed"] == texts["volume"] == "–"


def test_a_reading_in_words(case):
    _, picture = case
    reading = replace(
        Probe(picture).at(np.zeros(3)),
        fixed=84.0,
        jacobian=0.93,
        displacement_mm=np.array([3.0, 0, -4.0]),
        world_mm=np.array([1.0, -2, 3.25]),
    )
    texts = dict(reading_lines(reading))
    assert texts["fixed"] == "84"
    assert texts["volume"] == "0.93 (-7 %)"
    assert texts["moves by"] == "5.0 mm (+3.0, +0.0, -4.0)"
    assert texts["here"] == "1.0, -2.0, 3.2 mm"
    assert dict(reading_lines(replace(reading, jacobian=-0.1)))["volume"] == "-0.10 (folded)"
    assert set(dict(reading_lines(None)).values()) == {"–"}
