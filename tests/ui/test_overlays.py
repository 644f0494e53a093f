"""Arrows and colors against fields whose answer is known."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from napari.utils.colormaps import ensure_colormap
from skimage.color import rgb2lab

from napari_deformreg.space import DisplacementField, Grid
from napari_deformreg.ui import legends, overlays
from napari_deformreg.ui import result_layers as parts
from napari_deformreg.ui.comparing import DIFFERENCE_COLORS
from napari_deformreg.ui.overlays import DrawnField, View
from napari_deformreg.ui.regions import Region
from napari_deformreg.ui.review.places import RING_COLOR

LPS = np.array([[-1.5, 0, 0, 40], [0, -1.0, 0, 50], [0, 0, 3.0, -20], [0, 0, 0, 1]])


def constant_field(vector_mm, shape=(20, 24, 12), affine=LPS):
    return DrawnField.of(DisplacementField(Grid(shape, affine), np.broadcast_to(np.float32(vector_mm), (*shape, 3)).copy()))


def test_arrows_lie_on_the_slice_and_point_the_right_way():
    """Layer axes are z, y, x towards superior, anterior, right, whatever the file's order."""
    field = constant_field((3.0, -2.0, 0.0))
    found = overlays.arrows(field, View(axis=0, index=5), spacing_mm=3.0)
    assert (found.vectors[:, 0, 0] == 5).all()
    inside = (np.abs(found.vectors[:, 0, 1:] - [12, 10]) < 6).all(axis=1)
    drawn_mm = found.vectors[inside, 1] * field.spacing_mm
    np.testing.assert_allclose(drawn_mm, np.broadcast_to([0.0, -2.0, 3.0], drawn_mm.shape), atol=1e-5)
    np.testing.assert_allclose(found.length_mm, np.hypot(3, 2), rtol=1e-6)


def test_the_part_across_the_plane_is_not_drawn_but_counts():
    found = overlays.arrows(constant_field((0.0, 3.0, 4.0)), View(axis=0, index=5), spacing_mm=3.0)
    assert (found.vectors[:, 1, 0] == 0).all()
    np.testing.assert_allclose(found.length_mm, 5.0, rtol=1e-6)


def test_in_three_dimensions_nothing_is_flattened():
    found = overlays.arrows(constant_field((0.0, 3.0, 4.0)), View(axis=0, index=5, slab=3, flat=False), spacing_mm=3.0)
    assert set(found.vectors[:, 0, 0]) == {4, 5, 6}
    assert (found.vectors[:, 1, 0] > 0).all()
    assert (found.vectors.sum(axis=1)[:, 0] <= 11).all()


def test_arrows_are_the_field_at_their_place(rng):
    grid = Grid((10, 12, 8), LPS)
    values = rng.normal(size=(10, 12, 8, 3)).astype(np.float32)
    field = DrawnField.of(DisplacementField(grid, values))
    found = overlays.arrows(field, View(axis=0, index=3, flat=False), spacing_mm=0.1)
    assert len(found.vectors) == 10 * 12 - (np.linalg.norm(values[:, :, 3], axis=-1) < overlays.SMALLEST_ARROW_MM).sum()
    tips = found.vectors.sum(axis=1)
    assert ((tips > -1e-4) & (tips < np.array([8, 12, 10]) - 0.999)).all(), "no tip beyond the rim"
    for (start, direction), length in zip(found.vectors, found.length_mm, strict=True):
        z, y, x = start.astype(int)
        if not (2 < y < 9 and 2 < x < 7 and np.abs(direction).max() < 2):
            continue  # Near the rim arrows may be cut.
        expected = values[9 - x, 11 - y, z]  # Both in-plane axes of an LPS array are flipped.
        np.testing.assert_allclose(direction * field.spacing_mm, expected[::-1], atol=1e-5)
        np.testing.assert_allclose(length, np.linalg.norm(expected), rtol=1e-5)


@pytest.mark.parametrize("slab", [0, 1, 5])
def test_never_more_than_the_limit(slab):
    field = constant_field((1.0, 1.0, 1.0), shape=(60, 60, 40), affine=np.eye(4))
    found = overlays.arrows(field, View(axis=2, index=30, slab=slab, flat=False), spacing_mm=0.5, limit=900)
    assert 300 < len(found.vectors) <= 900
    assert found.spacing_mm > 0.5


def test_denser_arrows_are_more_arrows():
    field = constant_field((1.0, 1.0, 1.0), shape=(60, 60, 40), affine=np.eye(4))
    counts = [len(overlays.arrows(field, View(axis=0, index=3), spacing).vectors) for spacing in (2.0, 4.0, 8.0)]
    assert counts[0] > 3 * counts[1] > 9 * counts[2] / 1.3


@pytest.mark.parametrize(
    ("index", "slab", "expected"), [(0, 3, [0, 1]), (5, 3, [4, 5, 6]), (9, 4, [8, 9]), (5, 1, [5]), (5, 0, [*range(10)])]
)
def test_slabs(index, slab, expected):
    assert list(View(axis=0, index=index, slab=slab).slices(10)) == expected


def test_tiny_displacements_are_left_out():
    assert len(overlays.arrows(constant_field((0.01, 0.0, 0.0)), View(axis=0, index=2), 3.0).vectors) == 0


def test_jacobian_colors_are_diverging_logarithmic_and_clear_at_one():
    colors, places = overlays.jacobian_colors()
    low, high = overlays.JACOBIAN_RANGE

    def color(determinant):
        place = (determinant - low) / (high - low)
        return np.array([np.interp(place, places, colors[:, channel]) for channel in range(4)])

    assert places[0] == 0
    assert places[-1] == 1
    assert (np.diff(places) > 0).all()
    assert color(1.0)[3] < 0.01
    for factor in (1.5, 2.0, 3.0, 4.0):
        shrunk, grown = color(1 / factor), color(factor)
        assert shrunk[2] > shrunk[0], "blue shrinks"
        assert grown[0] > grown[2], "red grows"
        np.testing.assert_allclose(shrunk[3], grown[3], atol=0.05)


def test_longest_is_robust():
    field = constant_field((2.0, 0.0, 0.0), shape=(40, 40, 40), affine=np.eye(4))
    field.displacement_mm[0, 0, 0] = 1000
    assert 1.9 < field.longest_mm() < 2.1


def test_scaled_arrows_start_where_they_were_and_keep_their_true_length():
    field = constant_field((1.5, -1.0, 0.0))
    one, three = (overlays.arrows(field, View(axis=0, index=5), 3.0, scale=scale) for scale in (1.0, 3.0))
    np.testing.assert_array_equal(one.vectors[:, 0], three.vectors[:, 0])
    np.testing.assert_array_equal(one.length_mm, three.length_mm)
    inside = (np.abs(one.vectors[:, 0, 1:] - [12, 10]) < 6).all(axis=1)
    np.testing.assert_allclose(three.vectors[inside, 1], 3 * one.vectors[inside, 1], rtol=1e-6)


def test_bounded_arrows_start_in_the_region():
    field = constant_field((1.5, -1.0, 0.0))
    labels = np.zeros(field.shape, np.int32)
    labels[5, 6:12, 4:9], labels[5, 13:16, 4:9] = 7, 8
    found = overlays.arrows(field, View(axis=0, index=5), 0.1, region=Region("seven", labels, 7))
    assert {(int(y), int(x)) for _, y, x in found.vectors[:, 0]} == {(y, x) for y in range(6, 12) for x in range(4, 9)}
    assert len(overlays.arrows(field, View(axis=0, index=5), 0.1, region=Region("any", labels)).vectors) == 6 * 5 + 3 * 5


def test_lengths_are_colored_as_their_arrows_and_clear_at_none():
    from napari.utils.colormaps import ensure_colormap

    colors = overlays.magnitude_colors()
    assert colors[0, 3] == 0
    assert (colors[9:, 3] == 1).all()
    np.testing.assert_allclose(colors[:, :3], ensure_colormap("turbo").map(np.linspace(0, 1, len(colors)))[:, :3])


@pytest.mark.parametrize("longest_mm", [0.02, 0.2, 0.41, 3.0, 9.8, 62.0])
def test_ticks_of_lengths_are_told_apart_and_right(qapp, longest_mm):
    legend = legends.length_legend()
    legends.show_longest(legend, longest_mm)
    texts = [text for _, text in legend.ticks]
    assert len(set(texts)) == len(texts) == 5
    shown = [float(text.removeprefix("≥ ")) for text in texts]
    np.testing.assert_allclose(shown, [place * longest_mm for place, _ in legend.ticks], atol=longest_mm / 8)


def test_folds_are_apart_from_all_that_lies_below_them_for_the_color_blind_too():
    """CIE 1976 color difference (scikit-image's) to the nearest color of each background; 2.3 is just noticed.

    Dichromats by Machado et al. 2009, table 1 (doi:10.1109/TVCG.2009.113), severity 1.
    """
    steps = np.linspace(0, 1, 33)
    green, magenta = np.meshgrid(steps, steps)
    jacobian, _ = overlays.jacobian_colors()
    backgrounds = {
        "gray": np.stack([steps] * 3, -1),
        "fusion": np.stack([magenta.ravel(), green.ravel(), magenta.ravel()], -1),
        "difference": ensure_colormap(DIFFERENCE_COLORS).map(steps)[:, :3],
        "Jacobian on gray": np.concatenate([jacobian[:, :3] * jacobian[:, 3:] + gray * (1 - jacobian[:, 3:]) for gray in (0, 0.5, 1)]),
        "lines": np.array([to_rgb(name) for name in (parts.FIXED_COLOR, parts.MOVED_COLOR, RING_COLOR, parts.GRID_COLOR)]),
    }
    eyes = {
        "all": np.eye(3),
        "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    }
    for eye, matrix in eyes.items():
        for name, colors in backgrounds.items():
            assert _nearest(np.array(overlays.FOLD_COLOR[:3]), colors, np.array(matrix)) > 15, (eye, name)


def _nearest(color, colors, matrix):
    def seen(values):
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) @ matrix.T
        linear = np.clip(linear, 0, 1)
        return rgb2lab(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))

    return np.linalg.norm(seen(colors) - seen(color[None]), axis=-1).min()
